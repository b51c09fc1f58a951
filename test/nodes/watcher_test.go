package nodes

import (
	"fmt"
	"sync"
	"testing"
)

// watcher is a client that writes down what it is told of each other connection.
type watcher struct {
	*client
	mu      sync.Mutex
	seen    map[string]*contact // by full address
	changed int                 // counts what came
	pongs   map[string]bool
	twice   []string
}

// contact is what a watcher was told of a connection.
type contact struct {
	available bool
	show      string
	status    string // the project module's
	serial    string // of the presence, where its sender numbers them
	came, left,
	repeated int // the same presence again
	rev uint64
}

func newWatcher() *watcher {
	return &watcher{seen: make(map[string]*contact), pongs: make(map[string]bool)}
}

// watch logs a watcher in, which is not available yet.
func watch(address, user, resource string) (*watcher, error) {
	w := newWatcher()
	var err error
	w.client, err = login(address, user, resource, w.take)
	return w, err
}

func (w *watcher) take(st *stanza) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changed++
	if st.XMLName.Local == "iq" {
		w.pongs[st.ID] = true
	}
	if st.XMLName.Local != "presence" || st.Type != "" && st.Type != "unavailable" {
		return
	}
	c := w.seen[st.From]
	if c == nil {
		c = new(contact)
		w.seen[st.From] = c
	}
	switch {
	case st.Type == "unavailable":
		if !c.available {
			c.repeated++
		}
		c.left++
	case !c.available:
		c.came++
	case c.show == st.Show && c.serial == st.Status:
		c.repeated++
		w.twice = append(w.twice, fmt.Sprintf("%s: %s was %+v", w.jid, st.Inner, *c))
	}
	c.available, c.show, c.serial = st.Type == "", st.Show, st.Status
	c.status, c.rev = st.Project.Status, st.Project.Rev
}

// of copies what is known of a connection.
func (w *watcher) of(full string) contact {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c := w.seen[full]; c != nil {
		return *c
	}
	return contact{}
}

// available counts the available connections of others.
func (w *watcher) available() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for full, c := range w.seen {
		if c.available && full != w.jid {
			n++
		}
	}
	return n
}

// left counts the others that went.
func (w *watcher) left() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.seen {
		n += c.left
	}
	return n
}

func (w *watcher) repeated() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.seen {
		n += c.repeated
	}
	return n
}

// forget empties the list.
func (w *watcher) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.seen)
}

// settle returns when what was sent before has arrived: the server answers in order.
func (w *watcher) settle(t testing.TB, id string) {
	t.Helper()
	mustSend(t, w.client, "<iq type='get' id='"+id+"' to='"+host+"'><ping xmlns='urn:xmpp:ping'/></iq>")
	until(t, "an answer to a ping", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.pongs[id]
	})
}
