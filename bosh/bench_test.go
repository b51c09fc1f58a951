package bosh

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"rollcall/internal/front"
	"rollcall/internal/ns"
	"rollcall/internal/servertest"
	"rollcall/server"
)

// plainHandler is a Handler outside of a bubble.
func plainHandler(t testing.TB, change ...func(*Config)) *Handler {
	t.Helper()
	c := testConfig()
	c.Log = slog.New(slog.DiscardHandler)
	for _, f := range change {
		f(&c)
	}
	srv := servertest.New(t, servertest.Options{
		Directory: servertest.NewDirectory().AddUser("alice", "").AddUser("bob", ""), Log: c.Log,
	})
	h := New(srv.Server, server.Listener{PlainWithoutTLS: true}, c)
	t.Cleanup(func() {
		srv.Stop()
		if err := h.Shutdown(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	})
	return h
}

// BenchmarkCycle is one request with a chat message and its answer: the message
// comes back with the request held before.
func BenchmarkCycle(b *testing.B) {
	h := plainHandler(b)
	c := newWire(h, "alice", "web")
	send := func(payload string) chan string {
		c.rid++
		body := fmt.Sprintf("<body xmlns='%s' sid='%s' rid='%d'>%s</body>", ns.HTTPBind, c.sid, c.rid, payload)
		done := make(chan string, 1)
		go func() { done <- c.post(body) }()
		return done
	}
	chat := message("alice@example.com/web", "1")
	held := send("")
	b.ReportAllocs()
	for b.Loop() {
		next := send(chat)
		if w := <-held; !strings.Contains(w, "<message ") {
			b.Fatal(w)
		}
		held = next
	}
	b.StopTimer()
	send("<presence xmlns='jabber:client' type='unavailable'/>")
	<-held
}

// listen serves h over connections of the operating system.
func listen(b *testing.B, h *Handler) (address string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	f := front.New(front.Config{
		Held: h, Paths: []string{"/http-bind"}, HeaderTime: time.Minute, BodyTime: BodyTime,
		ReplyTime: ReplyTime, IdleTime: time.Minute, HeaderBytes: 16 << 10, Log: h.cfg.Log,
	})
	served := make(chan error, 1)
	go func() { served <- f.Serve(ln) }()
	b.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // nobody waits for clients that are not there any more
		_ = f.Shutdown(ctx)
		if err := <-served; err != nil {
			b.Error(err)
		}
	})
	return ln.Addr().String()
}

// lane is a connection of a client that allocates nothing.
type lane struct {
	net.Conn
	b   *testing.B
	out []byte
	in  []byte
}

// lanes opens the two connections of a client.
func lanes(b *testing.B, address string) (two [2]*lane) {
	for i := range two {
		nc, err := net.Dial("tcp", address)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { nc.Close() })
		two[i] = &lane{Conn: nc, b: b, in: make([]byte, 8<<10)}
	}
	return two
}

// post sends a body, which begin is the beginning of, up to the rid.
func (l *lane) post(begin string, rid int64, rest string) {
	var digits [20]byte
	number := strconv.AppendInt(digits[:0], rid, 10)
	l.out = append(l.out[:0], "POST /http-bind HTTP/1.1\r\nHost: example.com\r\nContent-Type: text/xml; charset=utf-8\r\nContent-Length: "...)
	l.out = strconv.AppendInt(l.out, int64(len(begin)+len(number)+len(rest)), 10)
	l.out = append(append(append(append(l.out, "\r\n\r\n"...), begin...), number...), rest...)
	if _, err := l.Write(l.out); err != nil {
		l.b.Fatal(err)
	}
}

// reply reads a response and returns its body.
func (l *lane) reply() []byte {
	for n := 0; ; {
		more, err := l.Read(l.in[n:])
		if err != nil && err != io.EOF {
			l.b.Fatal(err)
		}
		n += more
		head, body, _ := bytes.Cut(l.in[:n], []byte("\r\n\r\n"))
		_, length, _ := bytes.Cut(head, []byte("Content-Length: "))
		length, _, _ = bytes.Cut(length, []byte("\r\n"))
		if want, err := strconv.Atoi(string(length)); err == nil && len(body) == want {
			return body
		}
		if more == 0 {
			l.b.Fatalf("%q", l.in[:n])
		}
	}
}

// user is a client with a session.
type user struct {
	lanes [2]*lane
	begin string // of a body
	rid   int64
}

// logIn has a client log in, and say more.
func logIn(b *testing.B, address, name, resource string, more ...string) *user {
	u := &user{lanes: lanes(b, address), rid: 1000}
	l := u.lanes[0]
	l.post("<body xmlns='"+ns.HTTPBind+"' xmlns:xmpp='"+ns.XBOSH+"' "+usualAttrs+" rid='", u.rid, "'/>")
	_, sid, _ := strings.Cut(string(l.reply()), " sid='")
	sid, _, _ = strings.Cut(sid, "'")
	u.begin = "<body xmlns='" + ns.HTTPBind + "' sid='" + sid + "' rid='"
	for _, rest := range append([]string{
		"'>" + plain(name) + "</body>", "' xmlns:xmpp='" + ns.XBOSH + "' xmpp:restart='true'/>",
		"'>" + bind(resource) + "</body>",
	}, more...) {
		u.rid++
		l.post(u.begin, u.rid, rest)
		if got := l.reply(); !bytes.Contains(got, []byte("</body>")) {
			b.Fatalf("%s was answered %s", rest, got)
		}
	}
	return u
}

// BenchmarkCycleOverTCP is BenchmarkCycle with real connections: a message comes on one,
// and goes with the request held on the other.
func BenchmarkCycleOverTCP(b *testing.B) {
	u := logIn(b, listen(b, plainHandler(b)), "alice", "web", "'><presence xmlns='jabber:client'/></body>")
	chat := "'>" + message("alice@example.com/web", "1") + "</body>"
	u.rid++
	u.lanes[0].post(u.begin, u.rid, "'/>")
	b.ReportAllocs()
	held, free := u.lanes[0], u.lanes[1]
	for b.Loop() {
		u.rid++
		free.post(u.begin, u.rid, chat)
		held, free = free, held
		if bytes.Contains(free.reply(), []byte("<message ")) {
			continue
		}
		// The server did not know yet that the reply before was taken.
		if got := held.reply(); !bytes.Contains(got, []byte("<message ")) {
			b.Fatalf("%s", got)
		}
		u.rid++
		held.post(u.begin, u.rid, "'/>")
	}
}

// BenchmarkIdle tells what a session has on the heap that waits with one request held
// and one connection free, the client's two connections included, which are about 700 B.
func BenchmarkIdle(b *testing.B) {
	const sessions = 500
	address := listen(b, plainHandler(b))
	live := func() uint64 {
		var m runtime.MemStats
		for range 3 { // pools need more than one
			runtime.GC()
		}
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	all := make([]*user, 0, sessions*(b.N+1))
	var most uint64
	for b.Loop() {
		before := live()
		for range sessions {
			u := logIn(b, address, "bob", strconv.Itoa(len(all)))
			u.rid++
			u.lanes[1].post(u.begin, u.rid, "'/>")
			for i, l := range u.lanes {
				u.lanes[i] = &lane{Conn: l.Conn}
			}
			all = append(all, u)
		}
		most = live() - before
	}
	b.ReportMetric(float64(most)/sessions, "B/session")
	runtime.KeepAlive(all)
}

// BenchmarkParse parses the body of a message.
func BenchmarkParse(b *testing.B) {
	text := []byte("<body xmlns='" + ns.HTTPBind + "' sid='ABCDEFGHIJKLMNOPQRSTUVWXYZ' rid='4711'>" +
		message("alice@example.com/web", strings.Repeat("x", 180)) + "</body>")
	h := plainHandler(b)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		in := h.newBody()
		in.raw = append(in.raw, text...)
		if err := in.parse(testLimits); err != nil {
			b.Fatal(err)
		}
		h.recycle(in)
	}
}
