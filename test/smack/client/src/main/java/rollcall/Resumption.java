package rollcall;

import static rollcall.Failure.must;
import static rollcall.Failure.same;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.function.Predicate;

import org.jivesoftware.smack.ReconnectionManager;
import org.jivesoftware.smack.packet.Presence;
import org.jivesoftware.smackx.ping.PingManager;
import org.jxmpp.jid.Jid;

import rollcall.Events.Event;

/** Connections that are cut under Smack (XEP-0198). alice's goes through a cable, bob's never breaks. */
final class Resumption {
	private static final int BREAKS = 10;

	private final Options options;
	private final Checks checks;
	private final Cable cable;
	private final Person alice;
	private final Person bob;

	Resumption(Options options, Checks checks) throws Exception {
		this.options = options;
		this.checks = checks;
		cable = new Cable(options.server());
		alice = onCable();
		bob = new Person(options, "bob");
	}

	private Person onCable() throws Exception {
		return new Person(options, "alice", cable.port(), options.password(), null);
	}

	void all() throws Exception {
		if (!checks.check("stream management is on", this::start)) {
			return;
		}
		checks.check("the connection is cut, and the session goes on", () -> goesOn(cable::pull));
		checks.check("the network changes, which the server does not notice, and the session goes on", () -> goesOn(cable::change));
		checks.check(BREAKS + " breaks under load, with Smack's own reconnection", this::load);
		checks.check("an app that was killed gets what it missed", this::killed);
		checks.check("who does not come back is gone, and gets the messages at the next login", this::gone);
		bob.quit();
		cable.close();
	}

	private String start() throws Exception {
		int a = alice.events.now();
		int b = bob.events.now();
		appear(alice);
		appear(bob);
		alice.events.expect(a, "available", bob.address.toString(), "available");
		bob.events.expect(b, "available", alice.address.toString(), "available");
		must(alice.connection.isSmEnabled(), "it is not enabled");
		must(alice.connection.isSmResumptionPossible(), "the session cannot be resumed");
		return "for " + alice.connection.getMaxSmResumptionTime() + " s";
	}

	private static void appear(Person person) throws Exception {
		person.login();
		person.show(Presence.Mode.available);
	}

	/** One break, with messages before, meanwhile and after. */
	private String goesOn(Runnable breaks) throws Exception {
		int a = alice.events.now();
		int b = bob.events.now();
		Talk toAlice = new Talk(bob, alice);
		Talk toBob = new Talk(alice, bob);
		toAlice.say(10);
		toBob.say(10);
		// What is said now arrives nowhere, but both ends think that it does.
		cable.mute();
		toAlice.say(10);
		toBob.say(10);
		alice.events.expect(a, 20, e -> e.kind().equals("sent"), "messages sent");
		breaks.run();
		alice.events.expect(a, e -> e.kind().equals("broken"), "the end of the connection");
		bob.show(Presence.Mode.dnd);
		toAlice.say(10);
		must(PingManager.getInstanceFor(bob.connection).pingMyServer(), "no answer of the server");
		cable.plug();
		alice.login();
		alice.events.expect(a, "resumed", "", "");
		alice.events.expect(a, "available", bob.address.toString(), "dnd");
		toAlice.heard(a);
		toBob.heard(b);
		nothingSeen(a, b);
		bob.show(Presence.Mode.available);
		alice.events.expect(a, "available", bob.address.toString(), "available");
		return "";
	}

	/** Nobody leaves: bob hears nothing of alice, who is as she was, and alice hears what is so of bob. */
	private void nothingSeen(int a, int b) throws Failure {
		same(bob.events.since(b, e -> e.who().equals(alice.address.toString()) && !e.kind().equals("message") && !e.kind().equals("sent")),
			List.of(), "what bob saw of alice");
		same(alice.events.since(a, e -> e.kind().equals("unavailable") || e.kind().equals("authenticated")), List.of(), "what alice saw");
	}

	private String load() throws Exception {
		ReconnectionManager manager = ReconnectionManager.getInstanceFor(alice.connection);
		manager.setReconnectionPolicy(ReconnectionManager.ReconnectionPolicy.FIXED_DELAY);
		manager.setFixedDelay(1);
		manager.enableAutomaticReconnection();
		int a = alice.events.now();
		int b = bob.events.now();
		Talk toAlice = new Talk(bob, alice);
		Talk toBob = new Talk(alice, bob);
		ExecutorService executor = Executors.newSingleThreadExecutor();
		try {
			for (int i = 0; i < BREAKS; i++) {
				int since = alice.events.now();
				Future<Void> load = executor.submit((Callable<Void>) () -> {
					toAlice.say(100);
					return null;
				});
				toBob.say(10);
				cable.mute();
				toBob.say(5);
				alice.events.expect(a, toBob.said.size(), e -> e.kind().equals("sent"), "messages sent");
				if (i % 2 == 0) {
					cable.pull();
				} else {
					cable.change();
				}
				alice.events.expect(since, e -> e.kind().equals("broken"), "the end of the connection");
				load.get();
				cable.plug();
				alice.events.expect(since, "resumed", "", "");
			}
		} catch (ExecutionException e) {
			throw new Failure("bob cannot say anything: " + e.getCause());
		} finally {
			executor.shutdownNow();
			manager.disableAutomaticReconnection();
		}
		toAlice.heard(a);
		toBob.heard(b);
		nothingSeen(a, b);
		return toAlice.said.size() + " and " + toBob.said.size() + " messages";
	}

	private String killed() throws Exception {
		int a = alice.events.now();
		Talk before = new Talk(bob, alice);
		cable.mute();
		before.say(5);
		must(PingManager.getInstanceFor(bob.connection).pingMyServer(), "no answer of the server");
		cable.pull();
		alice.events.expect(a, e -> e.kind().equals("broken"), "the end of the connection");
		before.say(5);
		must(PingManager.getInstanceFor(bob.connection).pingMyServer(), "no answer of the server");
		cable.plug();
		// The new one knows nothing of the session, and takes its resource.
		Person again = onCable();
		appear(again);
		before.listener = again;
		before.heardAll(0);
		must(bob.roster.getPresence(alice.address).isAvailable(), "bob's roster says that alice is not there");
		again.quit();
		return "";
	}

	private String gone() throws Exception {
		Person brief = onCable();
		brief.connection.setPreferredResumptionTime(2);
		int b = bob.events.now();
		appear(brief);
		bob.events.expect(b, "available", alice.address.toString(), "available");
		same(brief.connection.getMaxSmResumptionTime(), 2, "the time to come back");
		Talk talk = new Talk(bob, brief);
		cable.mute();
		talk.say(3);
		must(PingManager.getInstanceFor(bob.connection).pingMyServer(), "no answer of the server");
		b = bob.events.now();
		cable.pull();
		bob.events.expect(b, "unavailable", alice.address.toString(), "");
		talk.say(3);
		must(PingManager.getInstanceFor(bob.connection).pingMyServer(), "no answer of the server");
		cable.plug();
		Person later = onCable();
		appear(later);
		int missed = talk.said.size();
		talk.listener = later;
		talk.heardAll(0);
		same(later.events.since(0, e -> e.kind().equals("kept")).size(), missed, "messages with the time when they were sent");
		later.quit();
		return "";
	}

	/** Numbered messages of one person to another, to the address of the connection and to that of the user in turn. */
	private static final class Talk {
		private final Person speaker;
		private final Jid full;
		private final List<String> said = new ArrayList<>();
		private Person listener;

		Talk(Person speaker, Person listener) {
			this.speaker = speaker;
			this.listener = listener;
			full = listener.connection.getUser();
		}

		void say(int count) throws Exception {
			for (int i = 0; i < count; i++) {
				String text = speaker.address.getLocalpart() + " " + said.size();
				said.add(text);
				speaker.say(said.size() % 2 == 0 ? full : listener.address, text);
			}
		}

		/** Everything was heard once, in order. */
		void heard(int since) throws Exception {
			same(listen(since), said, "what " + listener.address + " heard");
		}

		/** Everything was heard once. */
		void heardAll(int since) throws Exception {
			same(listen(since).stream().sorted().toList(), said.stream().sorted().toList(), "what " + listener.address + " heard");
		}

		/** What was heard until everything had been, the server had nothing more to tell, and one more came. */
		private List<String> listen(int since) throws Exception {
			String from = speaker.address.toString();
			Predicate<Event> ours = e -> from.equals(e.who()) && e.kind().equals("message");
			listener.events.expect(since, said.size(), ours, "messages of " + from);
			must(PingManager.getInstanceFor(listener.connection).pingMyServer(), "no answer of the server");
			say(1);
			String last = said.get(said.size() - 1);
			listener.events.expect(since, ours.and(e -> e.what().equals(last)), "the last message of " + from);
			return listener.events.since(since, ours).stream().map(Event::what).toList();
		}
	}
}
