package register

import (
	"net/netip"
	"sync"
	"time"
)

// refill is how long an empty bucket takes to be full.
const refill = time.Hour

// bucket holds what may still be done (a token bucket, filled when it is looked at).
type bucket struct {
	tokens float64
	at     time.Time
}

// fill adds what time has brought, up to size.
func (b *bucket) fill(size float64, now time.Time) {
	b.tokens = min(size, b.tokens+size*float64(now.Sub(b.at))/float64(refill))
	b.at = now
}

// limiter bounds how often something is done in an hour: by one key and in total. It
// keeps one bucket for each key that is not full; since every one of them cost a token of
// the total, there are never more than some twice that number.
type limiter struct {
	each, total float64

	mu    sync.Mutex
	all   bucket
	keys  map[string]*bucket
	sweep int // when there are so many keys, those that are full are dropped
}

func newLimiter(each, total int, now time.Time) *limiter {
	return &limiter{
		each: float64(each), total: float64(total),
		all:  bucket{float64(total), now},
		keys: make(map[string]*bucket), sweep: minSweep,
	}
}

// minSweep is the number of keys that are not worth looking through.
const minSweep = 64

// take takes a token for key, and returns 0, or how long to wait for one.
func (l *limiter) take(key string, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all.fill(l.total, now)
	own, known := l.keys[key]
	if !known {
		own = &bucket{l.each, now}
	}
	own.fill(l.each, now)
	switch {
	case own.tokens < 1:
		return until(own.tokens, l.each)
	case l.all.tokens < 1:
		return until(l.all.tokens, l.total)
	}
	own.tokens--
	l.all.tokens--
	if !known {
		l.keys[key] = own
		l.drop(now)
	}
	return 0
}

// until is how long a bucket takes to have a token.
func until(tokens, size float64) time.Duration {
	return time.Duration((1 - tokens) / size * float64(refill))
}

// drop forgets keys whose buckets are full again.
func (l *limiter) drop(now time.Time) {
	if len(l.keys) < l.sweep {
		return
	}
	for key, b := range l.keys {
		if b.fill(l.each, now); b.tokens >= l.each {
			delete(l.keys, key)
		}
	}
	l.sweep = max(minSweep, 2*len(l.keys))
}

// network is what counts as one address: networks of IPv6 are given to one customer whole.
func network(remote string) string {
	ip, err := netip.ParseAddr(remote)
	if err != nil {
		at, err := netip.ParseAddrPort(remote)
		if err != nil {
			return remote
		}
		ip = at.Addr()
	}
	if ip = ip.Unmap().WithZone(""); ip.Is6() {
		if p, err := ip.Prefix(64); err == nil {
			return p.String()
		}
	}
	return ip.String()
}
