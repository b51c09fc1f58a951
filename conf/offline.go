package conf

// Offline is modules/offline (XEP-0160).
type Offline struct {
	Enabled  bool     `yaml:"enabled"`
	Messages int      `yaml:"messages"` // of one user
	Bytes    Size     `yaml:"bytes"`    // of one user
	Overflow Overflow `yaml:"overflow" enum:"drop-oldest bounce"`
}

// Overflow says what happens when more would wait for a user than may.
type Overflow string

// The ways to deal with too much.
const (
	OverflowDropOldest Overflow = "drop-oldest" // the oldest messages make room
	OverflowBounce     Overflow = "bounce"      // the sender is told
)

func checkOffline(o Offline, r *report) {
	between(r, "modules.offline.messages", o.Messages, 1, 1_000_000)
	between(r, "modules.offline.bytes", o.Bytes, 64*KiB, GiB)
}
