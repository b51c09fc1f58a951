package rollcall;

/** Tests a server with Smack over TCP, with STARTTLS. The people are those of the tests in Go. */
public final class Main {
	private Main() {
	}

	public static void main(String[] args) throws Exception {
		Options options = Options.read();
		Checks checks = new Checks();
		Basics basics = new Basics(options, checks);
		if (basics.logins()) { // nothing else makes sense without
			basics.rosters();
			basics.presences();
			basics.messages();
			basics.queries();
			basics.quit();
			new Resumption(options, checks).all();
		}
		System.exit(checks.finish());
	}
}
