package blocking

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"sync"
	"time"

	"rollcall/internal/jid"
	"rollcall/internal/packed"
	"rollcall/server"
)

// What the module tells itself on other nodes.
const (
	itemChange byte = iota + 1 // a list has changed
	itemProbe                  // a user's sessions there are to be told of others
)

var errUnknown = errors.New("an item of an unknown kind")

// Joined implements server.Peers: what the node told may be lost, but the store has it.
func (m *Module) Joined(_ *server.Batch, _ string) {
	m.loadSoon()
}

// Left implements server.Peers.
func (m *Module) Left(*server.Batch, string) {}

// Told implements server.Peers.
func (m *Module) Told(b *server.Batch, node string, data []byte) {
	if err := m.told(b, data); err != nil {
		m.host.Log().Error("another node cannot be understood", "node", node, "err", err)
	}
}

func (m *Module) told(b *server.Batch, data []byte) error {
	if len(data) == 0 {
		return packed.ErrShort
	}
	r := packed.NewReader(data[1:])
	user, err := jid.Parse(r.String())
	if err != nil {
		return err
	}
	switch data[0] {
	case itemChange:
		c := change{block: r.Bool()}
		if c.items, err = readAddresses(r); err != nil {
			return err
		}
		about, err := readAddresses(r)
		if err == nil {
			m.changed(b, user, c, about)
		}
		return err
	case itemProbe:
		contacts, err := readAddresses(r)
		if err == nil {
			m.probe(b, user, contacts)
		}
		return err
	}
	return errUnknown
}

// changed does what another node told: about are those whom its list did not have before,
// or did.
func (m *Module) changed(b *server.Batch, user jid.JID, c change, about []jid.JID) {
	lock := m.lock(user)
	lock.Lock()
	defer lock.Unlock()
	if len(about) > 0 {
		// Not what was asked for: what this node stored meanwhile is no part of it.
		effect := change{block: c.block, items: about}
		var now []jid.JID
		now, about = effect.of(m.lists.of(user).addresses())
		m.set(user, now)
	}
	m.push(b, user, c)
	if slices.ContainsFunc(about, m.isWide) {
		m.tellSoon(user, about) // the node must not wait for what may take long
	} else {
		m.tell(b, user, about)
	}
	m.settleSoon(user)
}

func (c *change) append(dst []byte, user jid.JID, about []jid.JID) []byte {
	dst = packed.AppendString(dst, user.String())
	dst = appendAddresses(packed.AppendBool(dst, c.block), c.items)
	return appendAddresses(dst, about)
}

func appendAddresses(dst []byte, list []jid.JID) []byte {
	dst = packed.AppendUint(dst, uint64(len(list)))
	for _, j := range list {
		dst = packed.AppendString(dst, j.String())
	}
	return dst
}

func readAddresses(r *packed.Reader) (list []jid.JID, err error) {
	for range r.Len() {
		j, err := jid.Parse(r.String())
		if err != nil {
			return nil, err
		}
		list = append(list, j)
	}
	return list, r.Err()
}

// lock is the one for changes of a user's list, which is nearly always the user's alone.
func (m *Module) lock(user jid.JID) *sync.Mutex {
	h := fnv.New32a()
	_, _ = h.Write([]byte(user.String())) // never fails
	return &m.changes[h.Sum32()%uint32(len(m.changes))]
}

// set makes a list count.
func (m *Module) set(user jid.JID, items []jid.JID) {
	m.reading.touch(user.String())
	m.lists.set(user, items)
}

// load makes the lists in the store those that count, apart from those that change
// meanwhile.
func (m *Module) load(ctx context.Context) error {
	m.reading.begin()
	found := make(map[string][]jid.JID)
	err := m.o.Documents.EachDocument(ctx, documentKey, func(key string, data []byte) {
		user, err := m.user(key)
		if err == nil {
			found[user.String()], err = decode(data)
		}
		if err != nil {
			m.host.Log().Error("a block list cannot be read", "user", key, "err", err)
		}
	})
	return m.reading.end(func(touched map[string]struct{}) error {
		if err != nil {
			return fmt.Errorf("block lists: %w", err)
		}
		for _, user := range m.lists.all() {
			if _, ok := found[user]; !ok {
				found[user] = nil
			}
		}
		for text, items := range found {
			if _, changed := touched[text]; changed {
				continue
			}
			user, err := jid.Parse(text)
			if err != nil {
				return err
			}
			m.lists.set(user, items)
		}
		return nil
	})
}

func decode(data []byte) (items []jid.JID, err error) {
	var texts []string
	if err := json.Unmarshal(data, &texts); err != nil {
		return nil, err
	}
	for _, text := range texts {
		j, err := jid.Parse(text)
		if err != nil {
			return nil, err
		}
		items = append(items, j)
	}
	return items, nil
}

// reading keeps lists that change while they are read from the store from becoming what
// they were, and reads again when that is needed.
type reading struct {
	mu      sync.Mutex
	touched map[string]struct{} // that changed since the reading began; nil while nothing is read
	running bool
	wanted  bool
	stopped bool
	ended   chan struct{} // closed when what runs has ended
	cancel  context.CancelFunc
}

func (r *reading) begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.touched = make(map[string]struct{})
}

func (r *reading) end(f func(touched map[string]struct{}) error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer func() { r.touched = nil }()
	return f(r.touched)
}

func (r *reading) touch(user string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.touched != nil {
		r.touched[user] = struct{}{}
	}
}

// retry is how long after a failure the store is asked again.
const retry = 5 * time.Second

// again runs f on a goroutine of its own, once more if it runs already, until it
// succeeds.
func (r *reading) again(ctx context.Context, f func(context.Context) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wanted = true
	if r.running || r.stopped {
		return
	}
	r.running, r.ended = true, make(chan struct{})
	ctx, r.cancel = context.WithCancel(ctx)
	go func() {
		defer close(r.ended)
		for r.next(ctx) {
			if f(ctx) == nil {
				continue
			}
			select {
			case <-time.After(retry):
				r.want()
			case <-ctx.Done():
			}
		}
	}()
}

func (r *reading) want() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wanted = true
}

// next reports whether there is something to do.
func (r *reading) next(ctx context.Context) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.wanted || ctx.Err() != nil {
		r.running = false
		r.cancel()
		return false
	}
	r.wanted = false
	return true
}

func (r *reading) stop(ctx context.Context) error {
	r.mu.Lock()
	r.stopped = true
	ended := r.ended
	if r.cancel != nil {
		r.cancel()
	}
	r.mu.Unlock()
	if ended == nil {
		return nil
	}
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
