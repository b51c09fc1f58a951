package test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"rollcall/internal/transcript"
	"rollcall/server"
)

// witness is a module that writes down what the hooks tell.
type witness struct {
	mu     sync.Mutex
	events []string
	conns  map[string]string // name by connection id
	more   chan struct{}     // closed and renewed at each event
}

func newWitness() *witness {
	return &witness{conns: make(map[string]string), more: make(chan struct{})}
}

func (w *witness) Name() string { return "witness" }

func (w *witness) Start(h *server.Host) error {
	h.OnUserAvailable(10, func(_ context.Context, e *server.UserAvailable) {
		w.add("user_available %s %s", w.conn(e.Session.Conn()), e.Session.JID())
	})
	h.OnSetPresence(10, func(_ context.Context, e *server.SetPresence) {
		w.add("set_presence %s %s available=%t show=%q priority=%d was=%t", w.conn(e.Session.Conn()), e.Presence.JID,
			e.Presence.Available, e.Presence.Show, e.Presence.Priority, e.WasAvailable)
	})
	h.OnRemoveConnection(10, func(_ context.Context, e *server.RemoveConnection) {
		last := "none"
		if e.Last != nil {
			last = fmt.Sprintf("%q", e.Last.Show)
		}
		for _, s := range h.Sessions(e.JID.Bare()) {
			if s.Conn() == e.Conn {
				w.add("still in the registry: %s", w.conn(e.Conn))
			}
		}
		reason := e.Reason.String()
		if e.Reason == server.ReasonLost || e.Reason == server.ReasonInactive {
			// A cut cable shows in its own way on each transport.
			reason = "gone"
		}
		w.add("remove_connection %s %s last=%s reason=%s", w.conn(e.Conn), e.JID, last, reason)
	})
	return nil
}

// conn names connections in the order they show up.
func (w *witness) conn(id string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.conns[id] == "" {
		w.conns[id] = fmt.Sprintf("#%d", len(w.conns)+1)
	}
	return w.conns[id]
}

func (w *witness) add(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, fmt.Sprintf(format, args...))
	close(w.more)
	w.more = make(chan struct{})
}

// awaitRemoval waits until a connection was removed: a client learns of its end
// before the hooks do.
func (w *witness) awaitRemoval(ctx context.Context) error {
	for {
		w.mu.Lock()
		done := slices.ContainsFunc(w.events, func(e string) bool { return strings.HasPrefix(e, "remove_connection") })
		more := w.more
		w.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// expect waits for as many events as are wanted and compares them.
func (w *witness) expect(t *testing.T, want ...string) {
	t.Helper()
	limit := time.After(10 * time.Second)
	for {
		w.mu.Lock()
		got, more := slices.Clone(w.events), w.more
		w.mu.Unlock()
		if len(got) >= len(want) {
			if !slices.Equal(got, want) {
				t.Errorf("hooks told\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
			}
			return
		}
		select {
		case <-more:
		case <-limit:
			t.Fatalf("hooks told only\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
		}
	}
}

const (
	available = "set_presence %s alice@localhost/%s available=true show=\"\" priority=0 was=false"
	removed   = "remove_connection %s alice@localhost/%s last=%s reason=%s"
)

// TestHooks is the contract of server/hooks.go, for every way a session can end.
func TestHooks(t *testing.T) {
	scripts := []struct {
		name   string
		script string
		want   []string
	}{
		{"polite logout", `
alice sends:
    <presence type='unavailable'/>
alice receives:
    <presence from='{alice}' to='{alice}' type='unavailable'/>
alice disconnects
`, []string{
			`set_presence #1 alice@localhost/web available=false show="" priority=0 was=true`,
			fmt.Sprintf(removed, "#1", "web", "none", "client"),
		}},
		{"end without good-bye", `
alice disconnects
`, []string{fmt.Sprintf(removed, "#1", "web", `""`, "client")}},
		{"dropped", `
alice sends:
    <presence><show>away</show></presence>
alice receives:
    <presence from='{alice}' to='{alice}'><show>away</show></presence>
alice drops
`, []string{
			`set_presence #1 alice@localhost/web available=true show="away" priority=0 was=true`,
			fmt.Sprintf(removed, "#1", "web", `"away"`, "gone"),
		}},
		{"stream error", `
alice sends:
    <message from='bob@localhost' to='bob@localhost'/>
alice is closed with invalid-from
`, []string{fmt.Sprintf(removed, "#1", "web", `""`, "stream-error")}},
		{"resource conflict", `
again connects
alice is closed with conflict
again sends:
    <presence/>
again receives:
    <presence from='{again}' to='{again}'/>
again disconnects
`, []string{
			fmt.Sprintf(removed, "#1", "web", `""`, "replaced"),
			"user_available #2 alice@localhost/web",
			fmt.Sprintf(available, "#2", "web"),
			fmt.Sprintf(removed, "#2", "web", `""`, "client"),
		}},
		{"two resources", `
phone connects
phone sends:
    <presence/>
phone receives in any order:
    <presence from='{phone}' to='{phone}'/>
    <presence from='{alice}' to='{phone}'/>
alice receives:
    <presence from='{phone}' to='{alice}'/>
phone disconnects
alice receives:
    <presence from='{phone}' to='{alice}' type='unavailable'/>
do await a removal
alice disconnects
`, []string{
			"user_available #2 alice@localhost/phone",
			fmt.Sprintf(available, "#2", "phone"),
			fmt.Sprintf(removed, "#2", "phone", `""`, "client"),
			fmt.Sprintf(removed, "#1", "web", `""`, "client"),
		}},
		{"never available", `
phone connects
phone disconnects
do await a removal
alice disconnects
`, []string{
			fmt.Sprintf(removed, "#2", "phone", "none", "client"),
			fmt.Sprintf(removed, "#1", "web", `""`, "client"),
		}},
		{"back again", `
alice sends:
    <presence type='unavailable'/>
    <presence type='unavailable'/>
    <presence/>
alice receives:
    <presence from='{alice}' to='{alice}' type='unavailable'/>
    <presence from='{alice}' to='{alice}'/>
alice disconnects
`, []string{
			`set_presence #1 alice@localhost/web available=false show="" priority=0 was=true`,
			"user_available #1 alice@localhost/web",
			fmt.Sprintf(available, "#1", "web"),
			fmt.Sprintf(removed, "#1", "web", `""`, "client"),
		}},
		{"server shutdown", `
do shutdown
alice is closed with system-shutdown
`, []string{fmt.Sprintf(removed, "#1", "web", `""`, "shutdown")}},
	}
	const cast = `# hooks

alice: alice@localhost/web password=secret
again: alice@localhost/web password=secret
phone: alice@localhost/phone password=secret

alice connects
alice sends:
    <presence/>
alice receives:
    <presence from='{alice}' to='{alice}'/>
`
	overEach(t, func(t *testing.T, tr transport) {
		for _, test := range scripts {
			t.Run(test.name, func(t *testing.T) {
				w := newWitness()
				target := tr.of(start(t, options{modules: []server.Module{w}}))
				target.Actions["await a removal"] = w.awaitRemoval
				script, err := transcript.Parse(test.name, cast+test.script)
				if err != nil {
					t.Fatal(err)
				}
				transcript.Run(t, target, script)
				w.expect(t, append([]string{
					"user_available #1 alice@localhost/web",
					fmt.Sprintf(available, "#1", "web"),
				}, test.want...)...)
			})
		}
	})
}
