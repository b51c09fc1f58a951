package rollcall;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.regex.Pattern;

import org.igniterealtime.smack.inttest.Configuration;
import org.igniterealtime.smack.inttest.FailedTest;
import org.igniterealtime.smack.inttest.SmackIntegrationTestFramework;
import org.igniterealtime.smack.inttest.SmackIntegrationTestFramework.TestRunResult;
import org.igniterealtime.smack.inttest.SmackIntegrationTestFramework.TestRunResultProcessor;
import org.igniterealtime.smack.inttest.SuccessfulTest;
import org.igniterealtime.smack.inttest.TestNotPossible;
import org.igniterealtime.smack.inttest.XmppConnectionDescriptor;
import org.igniterealtime.smack.inttest.XmppConnectionManager;
import org.jivesoftware.smack.c2s.ModularXmppClientToServerConnection;
import org.jivesoftware.smack.c2s.ModularXmppClientToServerConnectionConfiguration;
import org.jivesoftware.smack.tcp.XMPPTCPConnection;
import org.jivesoftware.smack.tcp.XMPPTCPConnectionConfiguration;

/**
 * Runs Smack's integration test framework on a server whose port is not the usual one, writes
 * the result of every test down, and fails when a test that has to pass did not.
 *
 * <p>The framework's own settings are system properties, as ever ({@code -Dsinttest.service=}).
 * Ours are {@code rollcall.port}, {@code rollcall.must} (a file that names the tests that have
 * to pass, one a line; all that are possible if it is not given) and {@code rollcall.report} (where the list of all
 * results goes).
 */
public final class Integration {
	/**
	 * A class of tests that at its end undoes the subscriptions of its two people, but does not wait until they are
	 * undone. The order of classes is another one in every run: when one came next that needs subscriptions it could
	 * take these for its own, and fail. So it runs alone, after the others.
	 */
	private static final String HASTY = "EntityCapsTest";

	/**
	 * Failures of tests that race with Smack itself, whatever the server does: what they say begins like this. Such a
	 * test runs again, alone; one that fails in another way does not.
	 */
	private static final Map<String, String> RACES = Map.of(
		// It learns what was sent from a listener that Smack calls later, in a thread of its own, and may look
		// before that.
		"EntityCapsTest.testPreventDiscoInfo (Normal)",
		"failed: org.opentest4j.AssertionFailedError: Expected '[^']*' to have made a disco/info request ",
		// It takes the first presence that comes from the other one for the request, also the unsubscribe that its own
		// preparation has caused and does not wait for.
		"RosterIntegrationTest.testPresenceDeliveredToRecipient (Normal)",
		"failed: org.opentest4j.AssertionFailedError: Unexpected presence type .* expected: <subscribe> but was: <unsubscribe>",
		// The test before may end before Smack's roster, which takes pushes in a thread of its own, has the item that
		// this one is to remove first; then it stays, and is not added.
		"RosterIntegrationTest.testRosterPushAfterSubscriptionRequest (Normal)",
		"failed: java.util.concurrent.TimeoutException: Timeout after .* Expected the server to send a roster push back to ",
		// It connects again. What another thread put into the queue of the writer when that had just been cleared
		// goes out at the head of the new stream, before the header (ArrayBlockingQueueWithShutdown.put does not
		// look whether the queue was shut down): no server can take that.
		"LowLevelRosterIntegrationTest.testPresenceEventListenersOffline (LowLevel, tcp)",
		"failed: org.jivesoftware.smack.XMPPException.StreamErrorException: invalid-namespace ");
	private static final int TRIES = 3;

	private final Map<String, String> results = new TreeMap<>();

	private Integration() {
	}

	public static void main(String[] args) throws Exception {
		usePort(Integer.getInteger("rollcall.port", 5222));
		Integration all = new Integration();
		if (System.getProperty("sinttest.enabledTests") == null) {
			System.setProperty("sinttest.disabledTests", HASTY);
			all.run(args);
			System.clearProperty("sinttest.disabledTests");
			System.setProperty("sinttest.enabledTests", HASTY);
		}
		all.run(args);
		for (int i = 1; i < TRIES; i++) {
			for (String test : all.lost()) {
				System.out.println("again: " + test + ": " + all.results.get(test));
				System.setProperty("sinttest.enabledTests", test.replaceAll(" .*", ""));
				all.run(args);
			}
		}
		System.exit(all.judge() ? 0 : 1);
	}

	/** The tests that lost a race. */
	private List<String> lost() {
		return RACES.keySet().stream().filter(this::lost).toList();
	}

	private boolean lost(String test) {
		return RACES.containsKey(test) && Pattern.compile(RACES.get(test)).matcher(results.getOrDefault(test, "")).lookingAt();
	}

	/** Takes a result down. What failed without a race has failed, even if it passes in another run. */
	private void note(String test, String how) {
		if (lost(test) || !results.getOrDefault(test, "").startsWith("failed")) {
			results.put(test, how);
		}
	}

	/** Runs the framework once, and takes its results down. */
	private void run(String[] args) throws Exception {
		Configuration config = Configuration.newConfiguration(args);
		TestRunResult result = new SmackIntegrationTestFramework(config).run();
		for (TestRunResultProcessor processor : config.testRunResultProcessors) {
			processor.process(result);
		}
		for (SuccessfulTest test : result.getSuccessfulTests()) {
			note(test.concreteTest.toString(), "passed");
		}
		for (TestNotPossible test : result.getNotPossibleTests()) {
			note(test.concreteTest.toString(), "impossible: " + line(test.testNotPossibleException));
		}
		result.getImpossibleTestClasses().forEach((test, why) -> note(test.getSimpleName(), "impossible: " + line(why)));
		for (FailedTest test : result.getFailedTests()) {
			note(test.concreteTest.toString(), "failed: " + line(test.failureReason));
		}
	}

	/**
	 * The framework knows no setting for the port: so its kinds of connections over TCP get one
	 * here. Those over WebSocket go, as they would ask the domain's HTTPS server where to.
	 */
	private static void usePort(int port) throws NoSuchMethodException {
		for (String nickname : List.of("modular-websocket-okhttp", "modular-websocket-java11", "modular-nocompress", "modular")) {
			XmppConnectionManager.removeConnectionDescriptor(nickname);
		}
		XmppConnectionManager.addConnectionDescriptor(XmppConnectionDescriptor
			.buildWith(XMPPTCPConnection.class, XMPPTCPConnectionConfiguration.class, XMPPTCPConnectionConfiguration.Builder.class)
			.withNickname("tcp")
			.applyExtraConfiguration(builder -> builder.setPort(port))
			.build());
		XmppConnectionManager.addConnectionDescriptor(XmppConnectionDescriptor
			.buildWith(ModularXmppClientToServerConnection.class, ModularXmppClientToServerConnectionConfiguration.class,
				ModularXmppClientToServerConnectionConfiguration.Builder.class)
			.withNickname("modular")
			.applyExtraConfiguration(builder -> builder.setPort(port))
			.build());
		// Otherwise it takes the one that it was built with.
		System.getProperties().putIfAbsent("sinttest.defaultConnection", "tcp");
	}

	/** Writes the report, and says whether everything that has to pass has passed. */
	private boolean judge() throws IOException {
		StringBuilder report = new StringBuilder();
		results.forEach((test, how) -> report.append(test).append(": ").append(how).append('\n'));
		String path = System.getProperty("rollcall.report");
		if (path != null) {
			Files.writeString(Path.of(path), report);
		}
		System.out.print(report);
		TreeSet<String> wrong = new TreeSet<>();
		for (String test : required()) {
			if (!"passed".equals(results.get(test))) {
				wrong.add(test);
			}
		}
		wrong.forEach(test -> System.out.println("not ok - " + test + " has to pass: " + results.getOrDefault(test, "it did not run")));
		long passed = count("passed");
		long failed = count("failed");
		long impossible = count("impossible");
		System.out.println(passed + " passed, " + failed + " failed, " + impossible + " skipped");
		return wrong.isEmpty() && passed > 0;
	}

	private long count(String kind) {
		return results.values().stream().filter(how -> how.startsWith(kind)).count();
	}

	/** The names of the tests that have to pass. */
	private Iterable<String> required() throws IOException {
		String path = System.getProperty("rollcall.must");
		if (path == null) {
			return results.keySet().stream().filter(test -> results.get(test).startsWith("failed")).toList();
		}
		List<String> lines = Files.readAllLines(Path.of(path));
		return lines.stream().map(String::strip).filter(line -> !line.isEmpty() && !line.startsWith("#")).toList();
	}

	private static String line(Throwable why) {
		return String.valueOf(why).replaceAll("\\s+", " ");
	}
}
