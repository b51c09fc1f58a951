package rollcall;

import java.util.logging.Level;
import java.util.logging.Logger;

/** Tests a server with Smack over TCP, with STARTTLS. The people are those of the tests in Go. */
public final class Main {
	/** Kept, as a logger that nobody knows loses what is set. It would tell of each connection that is cut. */
	private static final Logger BROKEN = Logger.getLogger("org.jivesoftware.smack.AbstractXMPPConnection");

	private Main() {
	}

	public static void main(String[] args) throws Exception {
		BROKEN.setLevel(Level.OFF);
		Options options = Options.read();
		Checks checks = new Checks();
		Basics basics = new Basics(options, checks);
		if (basics.logins()) { // nothing else makes sense without
			basics.rosters();
			basics.presences();
			basics.messages();
			basics.queries();
			basics.quit();
			new Mobile(options, checks).all();
			new Resumption(options, checks).all();
		}
		System.exit(checks.finish());
	}
}
