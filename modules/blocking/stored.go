package blocking

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"mellium.im/xmpp/stanza"

	"rollcall/internal/jid"
	"rollcall/server"
	"rollcall/storage"
)

// due is what is between the lists that count and those in the store.
type due struct {
	mu sync.Mutex
	// load says that what other nodes told may be lost.
	load bool
	// users' lists in the store may lack what another node, or this one, changed.
	users map[jid.JID]struct{}
	// stored is when this node last stored a user's list, for as long as another one may
	// have done the same without knowing.
	stored map[jid.JID]time.Time
	// told are those whom changes at other nodes are about that may be many, by user.
	told map[jid.JID]map[jid.JID]struct{}
}

// lately is how long a change may take to come to another node, generously.
const lately = time.Minute

// noteStored notes that this node has stored a list, if there are others.
func (m *Module) noteStored(user jid.JID) {
	if len(m.host.Nodes()) == 0 {
		return
	}
	m.due.mu.Lock()
	defer m.due.mu.Unlock()
	maps.DeleteFunc(m.due.stored, func(_ jid.JID, at time.Time) bool { return time.Since(at) > lately })
	m.due.stored[user] = time.Now()
}

// settleSoon has the store get a list that this node and another one may have changed at
// once: each stored what it knew.
func (m *Module) settleSoon(user jid.JID) {
	m.due.mu.Lock()
	at, ok := m.due.stored[user]
	if ok = ok && time.Since(at) <= lately; ok {
		m.due.users[user] = struct{}{}
	}
	m.due.mu.Unlock()
	if ok {
		m.reading.again(m.host.Context(), m.catchUp)
	}
}

// tellSoon has the user and those whom changes are about told what they see of each other.
func (m *Module) tellSoon(user jid.JID, about []jid.JID) {
	m.due.mu.Lock()
	if m.due.told[user] == nil {
		m.due.told[user] = make(map[jid.JID]struct{})
	}
	for _, j := range about {
		m.due.told[user][j] = struct{}{}
	}
	m.due.mu.Unlock()
	m.reading.again(m.host.Context(), m.catchUp)
}

// tellDue is tell for what is due.
func (m *Module) tellDue(user jid.JID, about []jid.JID) {
	b := m.host.NewBatch()
	defer b.Flush()
	lock := m.lock(user)
	lock.Lock()
	defer lock.Unlock()
	m.tell(b, user, about)
}

// loadSoon has the lists read from the store.
func (m *Module) loadSoon() {
	m.due.mu.Lock()
	m.due.load = true
	m.due.mu.Unlock()
	m.reading.again(m.host.Context(), m.catchUp)
}

// catchUp does what is due. What fails stays so.
func (m *Module) catchUp(ctx context.Context) error {
	m.due.mu.Lock()
	load, users, told := m.due.load, m.due.users, m.due.told
	m.due.load, m.due.users, m.due.told = false, make(map[jid.JID]struct{}), make(map[jid.JID]map[jid.JID]struct{})
	m.due.mu.Unlock()
	for user, about := range told {
		m.tellDue(user, slices.Collect(maps.Keys(about)))
	}
	var failed error
	for user := range users {
		if err := m.settle(ctx, user); err != nil {
			failed = err
			m.due.mu.Lock()
			m.due.users[user] = struct{}{}
			m.due.mu.Unlock()
		}
	}
	if load {
		if err := m.load(ctx); err != nil {
			failed = err
			m.due.mu.Lock()
			m.due.load = true
			m.due.mu.Unlock()
		}
	}
	if failed != nil {
		m.host.Log().Warn("block lists are not what they are in the store", "err", failed)
	}
	return failed
}

// settle stores a list unless the store has it.
func (m *Module) settle(ctx context.Context, user jid.JID) error {
	lock := m.lock(user)
	lock.Lock()
	defer lock.Unlock()
	var there []jid.JID
	data, err := m.o.Documents.Document(ctx, m.key(user), documentKey)
	switch {
	case err == nil:
		if there, err = decode(data); err != nil {
			m.host.Log().Error("a block list cannot be read, and is written anew", "user", user.String(), "err", err)
		}
	case !errors.Is(err, storage.ErrNotFound):
		return err
	}
	now, was := m.lists.of(user), newList(there)
	if len(now.addresses()) == len(was.addresses()) {
		same := true
		for _, j := range was.addresses() {
			same = same && now.has(j)
		}
		if same {
			return nil
		}
	}
	return m.store(ctx, user, now.addresses())
}

// store keeps a list.
func (m *Module) store(ctx context.Context, user jid.JID, list []jid.JID) error {
	var data []byte
	if len(list) > 0 {
		texts := make([]string, len(list))
		for i, j := range list {
			texts[i] = j.String()
		}
		var err error
		if data, err = json.Marshal(texts); err != nil {
			return err
		}
	}
	// What one user may have of all kinds is not this module's to say: fits bounds it.
	err := m.o.Documents.PutDocument(ctx, m.key(user), documentKey, data, storage.DocumentLimit{})
	if errors.Is(err, storage.ErrFull) {
		return server.Error(stanza.PolicyViolation, "nothing is kept for you")
	}
	return err
}

// key is what a user is called in the store: one serves all virtual hosts, and the first
// one's users are called as they are everywhere.
func (m *Module) key(user jid.JID) string {
	if user.Domain() == m.domains[0] {
		return user.Local()
	}
	return user.String()
}

// user undoes key.
func (m *Module) user(key string) (jid.JID, error) {
	if strings.Contains(key, "@") {
		return jid.Parse(key)
	}
	return jid.New(key, m.domains[0], "")
}

// removeUser forgets the lists of an account that is gone, at every virtual host.
func (m *Module) removeUser(ctx context.Context, id string) {
	there, err := m.o.Owners.UserExists(ctx, id)
	if err != nil {
		m.host.Log().Error("whether a user is gone for good is not known: the block list stays", "user", id, "err", err)
		return
	}
	if there {
		return
	}
	for _, domain := range m.domains {
		user, err := jid.New(id, domain, "")
		if err != nil {
			continue // nobody could log in by that name
		}
		m.forget(ctx, user)
	}
}

func (m *Module) forget(ctx context.Context, user jid.JID) {
	lock := m.lock(user)
	lock.Lock()
	defer lock.Unlock()
	if m.lists.of(user) == nil {
		return
	}
	m.set(user, nil)
	if err := m.store(ctx, user, nil); err != nil {
		m.host.Log().Error("the block list of a removed user stays in the store", "user", user.String(), "err", err)
	}
}
