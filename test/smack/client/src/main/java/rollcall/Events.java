package rollcall;

import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Predicate;

/** Everything that somebody was told, in order. */
final class Events {
	/** Longer than anything takes on a busy machine. */
	static final Duration DEADLINE = Duration.ofSeconds(30);

	/**
	 * Something that happened.
	 *
	 * @param kind as in message, available, resumed
	 * @param who the bare address that it came from, or ""
	 * @param what the text of a message, the mode of presence, or ""
	 */
	record Event(String kind, String who, String what) {
	}

	private final String name;
	private final List<Event> list = new ArrayList<>();

	Events(String name) {
		this.name = name;
	}

	synchronized void add(String kind, String who, String what) {
		list.add(new Event(kind, who, what));
		notifyAll();
	}

	/** The number of the next event. */
	synchronized int now() {
		return list.size();
	}

	/** What came from a number on and is as wanted. */
	synchronized List<Event> since(int number, Predicate<Event> want) {
		return list.subList(number, list.size()).stream().filter(want).toList();
	}

	/** The first event from a number on that is as wanted, now or later. */
	Event expect(int since, Predicate<Event> want, String what) throws Failure, InterruptedException {
		return expect(since, 1, want, what).get(0);
	}

	Event expect(int since, String kind, String who, String what) throws Failure, InterruptedException {
		Event wanted = new Event(kind, who, what);
		return expect(since, wanted::equals, wanted.toString());
	}

	/** What came from a number on and is as wanted, as soon as there are so many. */
	synchronized List<Event> expect(int since, int count, Predicate<Event> want, String what)
			throws Failure, InterruptedException {
		Instant end = Instant.now().plus(DEADLINE);
		for (;;) {
			List<Event> found = since(since, want);
			if (found.size() >= count) {
				return found;
			}
			long left = Duration.between(Instant.now(), end).toMillis();
			if (left <= 0) {
				throw new Failure(name + " waited in vain for " + count + " of " + what + "; seen: " + list.subList(since, list.size()));
			}
			wait(left);
		}
	}
}
