package rollcall;

final class Resumption {
	Resumption(Options options, Checks checks) {
	}
	void all() {
	}
}
