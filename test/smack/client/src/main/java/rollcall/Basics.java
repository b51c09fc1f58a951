package rollcall;

import static rollcall.Failure.must;
import static rollcall.Failure.same;

import java.util.List;
import java.util.Set;

import org.jivesoftware.smack.packet.Presence;
import org.jivesoftware.smack.packet.StanzaError;
import org.jivesoftware.smack.roster.RosterEntry;
import org.jivesoftware.smack.roster.packet.RosterPacket.ItemType;
import org.jivesoftware.smack.sasl.SASLErrorException;
import org.jivesoftware.smackx.disco.ServiceDiscoveryManager;
import org.jivesoftware.smackx.iqversion.VersionManager;
import org.jivesoftware.smackx.ping.PingManager;

/** Login, the roster, presence, messages and queries. alice and bob share a project that dave is not in. */
final class Basics {
	private final Options options;
	private final Checks checks;
	private final Person alice;
	private final Person bob;
	private final Person dave;

	Basics(Options options, Checks checks) throws Exception {
		this.options = options;
		this.checks = checks;
		alice = new Person(options, "alice");
		bob = new Person(options, "bob");
		dave = new Person(options, "dave");
	}

	/** Says whether the three are there. */
	boolean logins() throws InterruptedException {
		if (!checks.check("STARTTLS and SCRAM login", () -> {
			alice.login();
			must(alice.connection.isSecureConnection(), "the connection is not encrypted");
			same(alice.connection.getUsedSaslMechansism(), "SCRAM-SHA-1", "mechanism");
			return alice.connection.getUsedSaslMechansism();
		})) {
			return false;
		}
		checks.check("login with PLAIN", () -> {
			Person person = new Person(options, "carol", options.server().getPort(), options.password(), "PLAIN").login();
			same(person.connection.getUsedSaslMechansism(), "PLAIN", "mechanism");
			person.quit();
			return "";
		});
		checks.check("a wrong password is refused", () -> refused("alice"));
		checks.check("an unknown user is refused", () -> refused("nobody-of-that-name"));
		return checks.check("the others log in", () -> {
			bob.login();
			dave.login();
			return "";
		});
	}

	private String refused(String name) throws Exception {
		Person person = new Person(options, name, options.server().getPort(), "wrong", null);
		try {
			person.login();
		} catch (SASLErrorException e) {
			same(e.getSASLFailure().getSASLError().toString(), "not-authorized", "the failure");
			return "";
		} finally {
			person.connection.disconnect();
		}
		throw new Failure("logged in with a wrong password");
	}

	void rosters() throws InterruptedException {
		checks.check("the roster has the people of the project, and is loaded", () -> {
			alice.roster.reloadAndWait();
			RosterEntry entry = alice.roster.getEntry(bob.address);
			must(entry != null, "bob is not in it: " + alice.roster.getEntries());
			same(entry.getType(), ItemType.both, "subscription");
			List<String> groups = entry.getGroups().stream().map(group -> group.getName()).toList();
			same(groups, List.of("Apollo"), "groups");
			return entry.getName();
		});
		checks.check("nobody else is in it", () -> {
			dave.roster.reloadAndWait();
			same(dave.roster.getEntryCount(), 0, "dave's contacts");
			same(alice.roster.getEntryCount(), 1, "alice's contacts");
			return "";
		});
	}

	void presences() throws InterruptedException {
		checks.check("a co-member who comes is seen, and sees who is there", () -> {
			int a = alice.events.now();
			int b = bob.events.now();
			alice.show(Presence.Mode.available);
			bob.show(Presence.Mode.available);
			alice.events.expect(a, "available", bob.address.toString(), "available");
			bob.events.expect(b, "available", alice.address.toString(), "available");
			must(alice.roster.getPresence(bob.address).isAvailable(), "alice's roster says that bob is not there");
			return "";
		});
		for (Presence.Mode mode : List.of(Presence.Mode.away, Presence.Mode.dnd, Presence.Mode.xa, Presence.Mode.chat, Presence.Mode.available)) {
			checks.check("a co-member is " + mode, () -> {
				int since = alice.events.now();
				bob.show(mode);
				alice.events.expect(since, "available", bob.address.toString(), mode.toString());
				same(alice.roster.getPresence(bob.address).getMode(), mode, "what alice's roster says");
				return "";
			});
		}
		checks.check("what old clients say is said in words that Smack knows", () -> {
			int since = alice.events.now();
			bob.connection.sendStanza(new Raw("<presence><show>busy</show></presence>"));
			alice.events.expect(since, "available", bob.address.toString(), "dnd");
			since = alice.events.now();
			bob.connection.sendStanza(new Raw("<presence><show>leave</show></presence>"));
			alice.events.expect(since, "available", bob.address.toString(), "away");
			must(alice.connection.isAuthenticated(), "alice has lost her connection");
			return "";
		});
		checks.check("a co-member who goes is seen to go, and come again", () -> {
			int since = alice.events.now();
			bob.connection.sendStanza(bob.connection.getStanzaFactory().buildPresenceStanza().ofType(Presence.Type.unavailable).build());
			alice.events.expect(since, "unavailable", bob.address.toString(), "");
			must(!alice.roster.getPresence(bob.address).isAvailable(), "alice's roster says that bob is there");
			since = alice.events.now();
			bob.show(Presence.Mode.available);
			alice.events.expect(since, "available", bob.address.toString(), "available");
			return "";
		});
		checks.check("nobody else sees any of it", () -> {
			dave.show(Presence.Mode.available);
			PingManager.getInstanceFor(dave.connection).pingMyServer();
			Set<String> members = Set.of(alice.address.toString(), bob.address.toString());
			same(dave.events.since(0, e -> members.contains(e.who())), List.of(), "what dave saw");
			PingManager.getInstanceFor(alice.connection).pingMyServer();
			same(alice.events.since(0, e -> e.who().equals(dave.address.toString())), List.of(), "what alice saw");
			return "";
		});
	}

	void messages() throws InterruptedException {
		checks.check("a message and its answer", () -> {
			int a = alice.events.now();
			int b = bob.events.now();
			alice.say(bob.address, "the lift is stuck");
			bob.events.expect(b, "message", alice.address.toString(), "the lift is stuck");
			bob.say(alice.connection.getUser(), "I am coming");
			alice.events.expect(a, "message", bob.address.toString(), "I am coming");
			return "";
		});
	}

	void queries() throws InterruptedException {
		checks.check("ping: the server, a co-member, and the server's own", () -> {
			PingManager ping = PingManager.getInstanceFor(alice.connection);
			must(ping.pingMyServer(), "no answer of the server");
			must(ping.ping(bob.connection.getUser()), "no answer of bob");
			must(ping.ping(alice.address), "no answer of one's own account");
			return "";
		});
		checks.check("version", () -> {
			var version = VersionManager.getInstanceFor(alice.connection).getVersion(options.domain());
			same(version.getName(), "rollcall", "name");
			return version.getName() + " " + version.getVersion();
		});
		checks.check("service discovery", () -> {
			var manager = ServiceDiscoveryManager.getInstanceFor(alice.connection);
			must(manager.serverSupportsFeature("urn:xmpp:ping"), "no ping among the features");
			var items = manager.discoverItems(options.domain()).getItems();
			must(items.stream().anyMatch(item -> item.getEntityID().toString().startsWith("wtmuc.")), "the service of the projects is not among " + items);
			return "";
		});
		checks.check("an unknown request is answered with an error", () -> {
			var request = new Request();
			request.setTo(options.domain());
			try {
				alice.connection.sendIqRequestAndWaitForResponse(request);
			} catch (org.jivesoftware.smack.XMPPException.XMPPErrorException e) {
				same(e.getStanzaError().getCondition(), StanzaError.Condition.service_unavailable, "the error");
				return "";
			}
			throw new Failure("it was answered");
		});
	}

	void quit() throws InterruptedException {
		checks.check("who logs out is seen to go", () -> {
			int since = alice.events.now();
			bob.quit();
			alice.events.expect(since, "unavailable", bob.address.toString(), "");
			alice.quit();
			dave.quit();
			return "";
		});
	}
}
