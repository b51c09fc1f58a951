package rollcall;

/** What a check finds wrong. */
final class Failure extends Exception {
	private static final long serialVersionUID = 1;

	Failure(String what) {
		super(what);
	}

	static void must(boolean condition, String what) throws Failure {
		if (!condition) {
			throw new Failure(what);
		}
	}

	static void same(Object actual, Object expected, String what) throws Failure {
		must(expected.equals(actual), what + ": got " + actual + ", want " + expected);
	}
}
