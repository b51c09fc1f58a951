// Package last tells how long ago users were last connected, and how long the server has
// been running (XEP-0012).
//
// Only who may see a user's presence is told. What is known of users who are gone is
// kept as one document each, and written a moment later by a goroutine of its own
// (writer.go): many may leave at once.
package last

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"mellium.im/xmpp/stanza"

	"rollcall/internal/jid"
	"rollcall/internal/ns"
	"rollcall/internal/xmlscan"
	"rollcall/server"
	"rollcall/storage"
)

// Options are what a Module is made of.
type Options struct {
	// Documents keeps what is known of users.
	Documents storage.Documents
	// Owners says whether a user who is said to be removed is gone for good.
	Owners storage.Owners
}

// documentKey is what a record is stored under.
const documentKey = "last"

// record is the end of a user's last connection.
type record struct {
	At     int64  `json:"at"` // Unix time in seconds
	Status string `json:"status,omitempty"`
}

// maxStatus bounds what is kept of a status, in bytes.
const maxStatus = 1024

// Module implements server.Module.
type Module struct {
	o       Options
	host    *server.Host
	domains []string
	began   time.Time
	writer  *writer

	mu sync.Mutex
	// words are the last words of connections that are there and not available, by Conn;
	// those that said nothing are not in it.
	words map[string]string
}

var (
	_ server.Module    = (*Module)(nil)
	_ server.Validator = (*Module)(nil)
	_ server.Stopper   = (*Module)(nil)
)

// New makes the module.
func New(o Options) *Module { return &Module{o: o, words: make(map[string]string)} }

// Name implements server.Module.
func (m *Module) Name() string { return "last" }

// Validate implements server.Validator.
func (m *Module) Validate() error {
	if m.o.Documents == nil || m.o.Owners == nil {
		return errors.New("no store")
	}
	return nil
}

// The priorities of hook handlers.
const (
	prioritySet    = 200
	priorityRemove = 200
	priorityChange = 100
)

// Start implements server.Module.
func (m *Module) Start(h *server.Host) error {
	m.host, m.domains, m.began = h, h.Domains(), time.Now()
	lost := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "rollcall_last_lost_total", Help: "Ends of users' last connections that were not stored.",
	})
	if err := h.Metrics(lost); err != nil {
		return err
	}
	h.Declare(server.Protocol{
		Number: "XEP-0012", Title: "Last Activity", Version: "2.0", Notes: "of users for those who may see their presence",
		Features: []string{ns.LastActivity},
	})
	for scope, f := range map[server.Scope]server.IQHandler{server.ToServer: m.uptime, server.ToSelf: m.own, server.ToOther: m.other} {
		if err := h.HandleIQ(scope, ns.LastActivity, "query", f); err != nil {
			return err
		}
	}
	err := h.GuardIQ(ns.LastActivity, "query", func(_ context.Context, iq *server.IQ) error { return m.allowed(iq) })
	if err != nil {
		return err
	}
	h.OnSetPresence(prioritySet, m.setPresence)
	h.OnRemoveConnection(priorityRemove, m.removeConnection)
	h.OnDirectoryChange(priorityChange, func(ctx context.Context, e *server.DirectoryChange) {
		if e.Kind == storage.UserRemoved {
			m.removeUser(ctx, e.User)
		}
	})
	m.writer = newWriter(m.o.Documents, h.Log(), lost)
	return nil
}

// Stop implements server.Stopper: what is known by now is stored.
func (m *Module) Stop(ctx context.Context) error { return m.writer.stop(ctx) }

// ago is the answer about something that ended, or began, at a time.
func ago(at time.Time, status string) server.Payload {
	seconds := max(0, int64(time.Since(at)/time.Second))
	b := []byte("<query xmlns='" + ns.LastActivity + "' seconds='")
	b = append(strconv.AppendInt(b, seconds, 10), '\'')
	if status == "" {
		return server.Raw(append(b, '/', '>'))
	}
	b = xmlscan.AppendText(append(b, '>'), status)
	return server.Raw(append(b, "</query>"...))
}

func get(iq *server.IQ) error {
	if iq.Set() {
		return server.Error(stanza.ServiceUnavailable, "the last activity cannot be set")
	}
	return nil
}

// uptime answers section 5.
func (m *Module) uptime(_ context.Context, iq *server.IQ) (server.Payload, error) {
	return ago(m.began, ""), get(iq)
}

// own answers who asks about themselves, and is there.
func (m *Module) own(_ context.Context, iq *server.IQ) (server.Payload, error) {
	return ago(time.Now(), ""), get(iq)
}

// other answers section 3.
func (m *Module) other(ctx context.Context, iq *server.IQ) (server.Payload, error) {
	if err := errors.Join(get(iq), m.allowed(iq)); err != nil {
		return nil, err
	}
	if m.host.IsConnected(iq.To) {
		return ago(time.Now(), ""), nil
	}
	r, err := m.recordOf(ctx, m.key(iq.To))
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return nil, server.Error(stanza.ServiceUnavailable, "nothing is known")
	case err != nil:
		return nil, err
	}
	return ago(time.Unix(r.At, 0), r.Status), nil
}

// allowed returns the error for who may not see the presence of whom they ask about
// (sections 3 and 4).
func (m *Module) allowed(iq *server.IQ) error {
	if m.host.MaySee(iq.From.Bare(), iq.To.Bare()) {
		return nil
	}
	return server.Error(stanza.Forbidden, "")
}

func (m *Module) recordOf(ctx context.Context, key string) (r record, err error) {
	if r, ok := m.writer.pending(key); ok {
		return r, nil
	}
	data, err := m.o.Documents.Document(ctx, key, documentKey)
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(data, &r)
}

// setPresence remembers the words that a client leaves with.
func (m *Module) setPresence(_ context.Context, e *server.SetPresence) {
	conn, words := e.Session.Conn(), ""
	if !e.Presence.Available {
		words = status(e.Presence)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if words == "" {
		delete(m.words, conn)
		return
	}
	m.words[conn] = words
}

// status is the first status of a presence (RFC 6121 section 4.7.2.2), as far as it is
// kept.
func status(p *server.Presence) string {
	for c := range xmlscan.Children([]byte(p.Content()), ns.Client) {
		if string(c.Space) == ns.Client && string(c.Local) == "status" {
			return cut(xmlscan.Text(c.Inner))
		}
	}
	return ""
}

// cut is the beginning of a text that is too long, in whole characters.
func cut(text string) string {
	if len(text) <= maxStatus {
		return text
	}
	end := 0
	for i := range text {
		if i > maxStatus {
			break
		}
		end = i
	}
	return text[:end]
}

// removeConnection notes the end of a user's last connection to this node. One that the
// user has to another node ends later, and is noted then.
func (m *Module) removeConnection(_ context.Context, e *server.RemoveConnection) {
	m.mu.Lock()
	words := m.words[e.Conn]
	delete(m.words, e.Conn)
	m.mu.Unlock()
	bare := e.JID.Bare()
	if e.Reason == server.ReasonUserRemoved || len(m.host.Sessions(bare)) > 0 {
		return
	}
	m.writer.add(m.key(bare), record{At: time.Now().Unix(), Status: words})
}

// key is what a user is called in the store: one serves all virtual hosts, and the first
// one's users are called as they are everywhere.
func (m *Module) key(bare jid.JID) string {
	if bare.Domain() == m.domains[0] {
		return bare.Local()
	}
	return bare.String()
}

// removeUser forgets an account that is gone, at every virtual host.
func (m *Module) removeUser(ctx context.Context, id string) {
	there, err := m.o.Owners.UserExists(ctx, id)
	for i, domain := range m.domains {
		if err != nil || there {
			break
		}
		key := id
		if i > 0 {
			key = id + "@" + domain
		}
		m.writer.drop(key)
		err = m.o.Documents.PutDocument(ctx, key, documentKey, nil, storage.DocumentLimit{})
	}
	if err != nil {
		m.host.Log().Error("what is known of a removed user stays in the store", "user", id, "err", err)
	}
}
