package bosh

import (
	"net/netip"
	"strings"
	"sync"
	"time"

	"rollcall/internal/forwarded"
	"rollcall/internal/jid"
)

const (
	// failurePeriod is how long a failed attempt counts at least; it counts for no
	// longer than twice that.
	failurePeriod = time.Minute
	// maxFailures is how many sources of failures are remembered in a period.
	maxFailures = 10000
	// maxName bounds what is kept and logged of a name, in bytes.
	maxName = 256
)

// failures counts failed attempts by source, in two periods: the one under way and the
// one before it. The zero value is ready.
type failures struct {
	mu          sync.Mutex
	now, before map[string]int
	began       time.Time
}

// turn begins a new period if it is time. The caller has the lock.
func (f *failures) turn() {
	switch past := time.Since(f.began); {
	case past >= 2*failurePeriod:
		f.now, f.before = nil, nil
	case past >= failurePeriod || len(f.now) >= maxFailures:
		f.now, f.before = nil, f.now
	default:
		return
	}
	f.began = time.Now()
}

// perAddress is how many times more failures one address may have than one user at
// it: people behind one address are not kept out by one of them.
const perAddress = 10

// begin counts an attempt as failed until it is forgiven, unless there were as many as
// the limit already.
func (f *failures) begin(sources [2]string, limit int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.turn()
	if f.count(sources[0]) >= limit || f.count(sources[1]) >= perAddress*limit {
		return false
	}
	if f.now == nil {
		f.now = make(map[string]int)
	}
	for _, source := range sources {
		f.now[source]++
	}
	return true
}

// count is how often a source has failed. The caller has the lock.
func (f *failures) count(source string) int { return f.now[source] + f.before[source] }

// forgive takes an attempt back.
func (f *failures) forgive(sources [2]string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, source := range sources {
		f.forgiveOne(source)
	}
}

func (f *failures) forgiveOne(source string) {
	for _, m := range []map[string]int{f.now, f.before} {
		switch m[source] {
		case 0:
			continue
		case 1:
			delete(m, source)
		default:
			m[source]--
		}
		return
	}
}

// failureSources are a user at an address, and the address, in one of the ways in
// which both can be written. An IPv6 network of one customer counts as one address.
func failureSources(remote, local, domain string) [2]string {
	if ip, ok := forwarded.Address(remote); ok {
		bits := ip.BitLen()
		if ip.Is6() {
			bits = 64
		}
		remote = netip.PrefixFrom(ip, bits).Masked().String()
	}
	user := local + "@" + domain
	if account, err := jid.New(local, domain, ""); err == nil {
		user = account.String()
	}
	return [2]string{remote + " " + clipName(user), remote}
}

// clipName bounds a name for the log and for counting.
func clipName(name string) string { return strings.ToValidUTF8(name[:min(len(name), maxName)], "") }
