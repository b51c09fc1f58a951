// Package chaos shows that nothing is lost on a network that does everything wrong:
// real servers behind proxies that delay, reorder, repeat and cut, as a seed says.
package chaos

import (
	"context"
	"encoding/xml"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"rollcall/cmd/rollcall/app"
	"rollcall/conf"
	"rollcall/internal/auth"
	"rollcall/server"
	"rollcall/storage"
)

// The long runs: go test ./test/chaos -run TestBOSH -messages 100000 -timeout 30m.
var (
	seedFlag     = flag.Uint64("seed", 3, "what goes wrong, and when")
	messagesFlag = flag.Int("messages", 3000, "messages of TestBOSH")
	clientsFlag  = flag.Int("clients", 8, "clients of TestBOSH")
	troubleFlag  = flag.Float64("trouble", 1, "how much more often than usual requests of TestBOSH go wrong; up to 3")
	pairsFlag    = flag.Int("pairs", 1000, "pairs of requests of TestTwoRequestsAtOnce")
)

const (
	host     = "localhost"
	password = "secret"
)

func name(i int) string { return fmt.Sprintf("user%02d", i) }

func bare(user string) string { return user + "@" + host }

// house is a running server whose users, name(0) to name(users-1), all share one
// project.
type house struct {
	*app.App
	*watch
}

// watch is a module that tells when sessions come and go.
type watch struct {
	host    *server.Host
	changed chan struct{} // of capacity 1
}

func (w *watch) Name() string { return "watch" }

func (w *watch) Start(h *server.Host) error {
	w.host = h
	h.OnUserAvailable(0, func(context.Context, *server.UserAvailable) { w.notify() })
	h.OnRemoveConnection(0, func(context.Context, *server.RemoveConnection) { w.notify() })
	return nil
}

func (w *watch) notify() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// sessions are the bound resources that the server knows.
func (w *watch) sessions() map[string]bool {
	all := map[string]bool{}
	for s := range w.host.All() {
		all[s.JID().String()] = true
	}
	return all
}

func start(t *testing.T, users int, change func(*conf.Config)) *house {
	t.Helper()
	c := conf.Default()
	c.DataDir = t.TempDir()
	c.Listen.TCP, c.Listen.Metrics = nil, ""
	c.Listen.HTTP = []conf.HTTPListener{{Address: "127.0.0.1:0", TLS: conf.TLSNone, PlainWithoutTLS: true, BOSH: true}}
	if change != nil {
		change(c)
	}
	w := &watch{changed: make(chan struct{}, 1)}
	a, err := app.Start(t.Context(), app.Options{
		Config: c, Modules: []server.Module{w},
		Log: slog.New(slog.NewTextHandler(testLog(t), &slog.HandlerOptions{Level: slog.LevelInfo})),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := a.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
	})
	fill(t, a.Store(), users)
	return &house{a, w}
}

func fill(t *testing.T, store storage.Admin, users int) {
	t.Helper()
	credentials, err := auth.NewCredentials(password, auth.MinIterations)
	if err != nil {
		t.Fatal(err)
	}
	var records []storage.Record
	project := storage.ProjectRecord{Project: storage.Project{ID: "all", Name: "All"}}
	for i := range users {
		project.Members = append(project.Members, name(i))
		records = append(records, storage.Record{User: &storage.UserRecord{
			User: storage.User{ID: name(i), Name: name(i)}, Credentials: &credentials,
		}})
	}
	if err := store.Import(t.Context(), append(records, storage.Record{Project: &project})); err != nil {
		t.Fatal(err)
	}
}

func (h *house) http() string {
	_, addrs := h.Addresses()
	return addrs[0].String()
}

// testLog keeps the end of what is logged for a test that fails.
func testLog(t *testing.T) io.Writer {
	l := newTail(300)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the server's log:\n%s", l)
		}
	})
	return l
}

// tail keeps the last lines that are written.
type tail struct {
	mu    sync.Mutex
	lines []string
	next  int
}

func newTail(n int) *tail { return &tail{lines: make([]string, n)} }

func (l *tail) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines[l.next%len(l.lines)] = string(p)
	l.next++
	return len(p), nil
}

func (l *tail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b strings.Builder
	for i := range l.lines {
		b.WriteString(l.lines[(l.next+i)%len(l.lines)])
	}
	return b.String()
}

// await waits until the server's sessions are those wanted.
func (h *house) await(t *testing.T, ctx context.Context, want map[string]bool) {
	t.Helper()
	for {
		got := h.sessions()
		if maps.Equal(got, want) {
			return
		}
		select {
		case <-h.changed:
		case <-ctx.Done():
			t.Errorf("sessions: %v, want %v", got, want)
			return
		}
	}
}

func escape(s string) string {
	var b strings.Builder
	// A builder takes everything.
	_ = xml.EscapeText(&b, []byte(s))
	return b.String()
}
