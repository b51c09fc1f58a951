package rollcall;

/** Runs checks, prints one line for each, and remembers what failed. */
final class Checks {
	private int passed;
	private int failed;

	/** A check says what it found in a few words, or "". */
	interface Check {
		String run() throws Exception;
	}

	/** Says whether the check has passed. */
	boolean check(String name, Check check) throws InterruptedException {
		String said;
		try {
			said = check.run();
		} catch (InterruptedException e) {
			throw e;
		} catch (Exception e) {
			failed++;
			System.out.println("not ok - " + name + ": " + e);
			if (!(e instanceof Failure)) {
				e.printStackTrace(System.out);
			}
			return false;
		}
		passed++;
		System.out.println("ok - " + name + (said.isEmpty() ? "" : " (" + said + ")"));
		return true;
	}

	/** Prints the sum, and returns the exit code. */
	int finish() {
		System.out.println(passed + " passed, " + failed + " failed");
		return failed > 0 || passed == 0 ? 1 : 0;
	}
}
