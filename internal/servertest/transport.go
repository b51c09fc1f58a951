package servertest

import (
	"sync"

	"github.com/beevik/etree"

	"rollcall/server"
)

// transport is a connection whose other end is a Client.
type transport struct {
	mu      sync.Mutex
	info    server.Info
	full    bool // Write fails
	discard bool // Write forgets
	headers []server.StreamHeader
	queued  [][]byte // written, not flushed
	arrived []*etree.Element
	broken  error // why something that arrived could not be read
	close   *server.Close
	news    chan struct{} // has room for one; filled when something arrived
}

var _ server.Transport = (*transport)(nil)

// Info implements server.Transport.
func (t *transport) Info() server.Info { return t.info }

// Open implements server.Transport.
func (t *transport) Open(h server.StreamHeader) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.headers = append(t.headers, h)
}

// Write implements server.Transport.
func (t *transport) Write(el []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.close != nil:
		return nil
	case t.full:
		return server.ErrOutboxFull
	case t.discard:
		return nil
	}
	t.queued = append(t.queued, append([]byte(nil), el...))
	return nil
}

// Flush implements server.Transport.
func (t *transport) Flush() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.flush()
}

func (t *transport) flush() {
	for _, raw := range t.queued {
		el, err := parse(string(raw))
		if err != nil {
			t.broken = err
			break
		}
		t.arrived = append(t.arrived, el)
	}
	t.queued = nil
	select {
	case t.news <- struct{}{}:
	default:
	}
}

// Close implements server.Transport.
func (t *transport) Close(c server.Close) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.close == nil {
		t.close = &c
		t.flush()
	}
}
