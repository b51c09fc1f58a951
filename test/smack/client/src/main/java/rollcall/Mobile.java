package rollcall;

import static rollcall.Failure.must;
import static rollcall.Failure.same;

import java.util.Arrays;
import java.util.List;
import java.util.Random;

import org.jivesoftware.smack.XMPPException.XMPPErrorException;
import org.jivesoftware.smack.packet.Presence;
import org.jivesoftware.smack.packet.StanzaError;
import org.jivesoftware.smackx.blocking.BlockingCommandManager;
import org.jivesoftware.smackx.carbons.CarbonManager;
import org.jivesoftware.smackx.csi.ClientStateIndicationManager;
import org.jivesoftware.smackx.iqlast.LastActivityManager;
import org.jivesoftware.smackx.iqprivate.PrivateDataManager;
import org.jivesoftware.smackx.iqprivate.packet.DefaultPrivateData;
import org.jivesoftware.smackx.ping.PingManager;
import org.jivesoftware.smackx.vcardtemp.VCardManager;
import org.jivesoftware.smackx.vcardtemp.packet.VCard;

/** What apps on phones use besides. bob shares a project with alice, and another one with carol. */
final class Mobile {
	private final Options options;
	private final Checks checks;
	private final Person alice;
	private final Person desk;
	private final Person bob;

	Mobile(Options options, Checks checks) throws Exception {
		this.options = options;
		this.checks = checks;
		alice = new Person(options, "alice");
		desk = new Person(options, "alice", "desk");
		bob = new Person(options, "bob");
	}

	void all() throws InterruptedException {
		if (!checks.check("alice with two devices, and bob", this::start)) {
			return;
		}
		checks.check("carbons: what one device hears and says, the other one hears", this::carbons);
		checks.check("client states: presence waits, of each person the latest", this::states);
		checks.check("blocking", this::blocking);
		checks.check("vCards", this::cards);
		checks.check("private data", this::secrets);
		checks.check("last activity", this::last);
		checks.check("messages for somebody who is not there, with the time", this::offline);
		bob.quit();
		alice.quit();
	}

	private String start() throws Exception {
		alice.login();
		alice.show(Presence.Mode.available);
		desk.login();
		desk.show(Presence.Mode.available);
		bob.login();
		int a = alice.events.now();
		bob.show(Presence.Mode.available);
		alice.events.expect(a, "available", bob.address.toString(), "available");
		bob.events.expect(0, "available", alice.address.toString(), "available");
		return "";
	}

	private String carbons() throws Exception {
		CarbonManager manager = CarbonManager.getInstanceFor(desk.connection);
		must(manager.isSupportedByServer(), "the server does not have them");
		manager.addCarbonCopyReceivedListener((direction, copy, wrapping) ->
			desk.events.add("carbon " + direction, copy.getFrom().asBareJid().toString(), copy.getBody()));
		manager.enableCarbons();
		int a = alice.events.now();
		int d = desk.events.now();
		int b = bob.events.now();
		bob.say(alice.connection.getUser(), "only to your phone");
		alice.events.expect(a, "message", bob.address.toString(), "only to your phone");
		desk.events.expect(d, "carbon received", bob.address.toString(), "only to your phone");
		alice.say(bob.address, "from my phone");
		bob.events.expect(b, "message", alice.address.toString(), "from my phone");
		desk.events.expect(d, "carbon sent", alice.address.toString(), "from my phone");
		manager.disableCarbons();
		bob.say(alice.connection.getUser(), "no copy of this");
		alice.events.expect(a, "message", bob.address.toString(), "no copy of this");
		bob.say(desk.connection.getUser(), "the last one");
		desk.events.expect(d, "message", bob.address.toString(), "the last one");
		same(desk.events.since(d, e -> e.kind().startsWith("carbon")).size(), 2, "copies");
		desk.quit();
		return "";
	}

	private String states() throws Exception {
		must(ClientStateIndicationManager.isSupported(alice.connection), "the server does not offer them");
		ClientStateIndicationManager.inactive(alice.connection);
		int a = alice.events.now();
		// The server has heard it when it hears what comes after it.
		int b = bob.events.now();
		alice.say(bob.address, "I put the phone away");
		bob.events.expect(b, "message", alice.address.toString(), "I put the phone away");
		for (Presence.Mode mode : List.of(Presence.Mode.away, Presence.Mode.xa, Presence.Mode.dnd)) {
			bob.show(mode);
		}
		bob.say(alice.address, "look");
		alice.events.expect(a, "message", bob.address.toString(), "look");
		alice.events.expect(a, "available", bob.address.toString(), "dnd");
		same(alice.events.since(a, e -> e.kind().equals("available")).stream().map(Events.Event::what).toList(), List.of("dnd"), "what alice was told of bob");
		ClientStateIndicationManager.active(alice.connection);
		alice.say(bob.address, "here I am");
		bob.events.expect(b, "message", alice.address.toString(), "here I am");
		for (Presence.Mode mode : List.of(Presence.Mode.away, Presence.Mode.available)) {
			bob.show(mode);
			alice.events.expect(a, "available", bob.address.toString(), mode.toString());
		}
		return "";
	}

	private String blocking() throws Exception {
		BlockingCommandManager manager = BlockingCommandManager.getInstanceFor(alice.connection);
		must(manager.isSupportedByServer(), "the server does not have it");
		same(manager.getBlockList(), List.of(), "who is blocked at first");
		int a = alice.events.now();
		int b = bob.events.now();
		manager.blockContacts(List.of(bob.address));
		bob.events.expect(b, "unavailable", alice.address.toString(), "");
		bob.say(alice.address, "can you hear me?");
		bob.events.expect(b, "refused", alice.address.toString(), "service-unavailable");
		same(manager.getBlockList(), List.of(bob.address), "who is blocked");
		b = bob.events.now();
		manager.unblockContacts(List.of(bob.address));
		bob.events.expect(b, "available", alice.address.toString(), "available");
		bob.say(alice.address, "and now?");
		alice.events.expect(a, "message", bob.address.toString(), "and now?");
		same(alice.events.since(a, e -> e.kind().equals("message")).size(), 1, "messages that alice heard");
		same(manager.getBlockList(), List.of(), "who is blocked at last");
		return "";
	}

	private String cards() throws Exception {
		byte[] picture = new byte[8000];
		new Random(1).nextBytes(picture);
		VCard card = new VCard();
		card.setFirstName("Alice");
		card.setNickName("Allie & <co>");
		card.setEmailHome("alice@example.org");
		card.setAvatar(picture, "image/png");
		VCardManager.getInstanceFor(alice.connection).saveVCard(card);
		for (VCard seen : List.of(VCardManager.getInstanceFor(alice.connection).loadVCard(),
				VCardManager.getInstanceFor(bob.connection).loadVCard(alice.address))) {
			same(seen.getFirstName(), card.getFirstName(), "the name");
			same(seen.getNickName(), card.getNickName(), "the nickname");
			same(seen.getEmailHome(), card.getEmailHome(), "the address");
			must(Arrays.equals(seen.getAvatar(), picture), "it is another picture");
		}
		return "";
	}

	/** Smack writes the values as they are: they have to be XML. */
	private String secrets() throws Exception {
		DefaultPrivateData data = new DefaultPrivateData("prefs", "urn:example:prefs");
		data.setValue("colour", "green");
		PrivateDataManager.getInstanceFor(alice.connection).setPrivateData(data);
		same(colour(alice), "green", "what alice finds");
		must(colour(bob) == null, "bob finds it too");
		return "";
	}

	private static String colour(Person person) throws Exception {
		var found = PrivateDataManager.getInstanceFor(person.connection).getPrivateData("prefs", "urn:example:prefs");
		return ((DefaultPrivateData) found).getValue("colour");
	}

	/** carol has logged in and out before. */
	private String last() throws Exception {
		LastActivityManager manager = LastActivityManager.getInstanceFor(bob.connection);
		long up = manager.getLastActivity(options.domain()).lastActivity;
		long away = manager.getLastActivity(options.address("carol")).lastActivity;
		must(away <= up, "carol was there before the server: " + away + " s");
		same(manager.getLastActivity(alice.address).lastActivity, 0L, "alice's, who is there");
		try {
			LastActivityManager.getInstanceFor(alice.connection).getLastActivity(options.address("carol"));
		} catch (XMPPErrorException e) {
			same(e.getStanzaError().getCondition(), StanzaError.Condition.forbidden, "what alice is told about carol");
			return "carol's " + away + " s of " + up + " s";
		}
		throw new Failure("alice may know when carol was there");
	}

	private String offline() throws Exception {
		Person carol = new Person(options, "carol");
		List<String> said = List.of("one", "two", "three");
		for (String text : said) {
			bob.say(carol.address, text);
		}
		carol.login();
		carol.show(Presence.Mode.available);
		carol.events.expect(0, "message", bob.address.toString(), "three");
		same(carol.events.since(0, e -> e.kind().equals("kept")).stream().map(Events.Event::what).toList(), said, "what carol gets");
		// What the server asked before this, Smack has answered.
		must(PingManager.getInstanceFor(carol.connection).pingMyServer(), "no answer of the server");
		carol.quit();
		Person later = new Person(options, "carol").login();
		later.show(Presence.Mode.available);
		int b = bob.events.now();
		later.say(bob.address, "I am back");
		bob.events.expect(b, "message", carol.address.toString(), "I am back");
		bob.say(later.address, "welcome");
		later.events.expect(0, "message", bob.address.toString(), "welcome");
		same(later.events.since(0, e -> e.kind().equals("kept")).size(), 0, "what carol gets again");
		must(PingManager.getInstanceFor(later.connection).pingMyServer(), "no answer of the server");
		later.quit();
		return "";
	}
}
