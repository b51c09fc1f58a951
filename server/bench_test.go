package server_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"rollcall/server"
)

// turns are the stanzas of a turn: what alice sends, and how many elements go to
// herself, her other connection, and bob for it.
var turns = []struct {
	name        string
	in          []string // in turn
	own, mobile int
	bob         int
}{
	{name: "message/full", in: []string{chat("bob@example.com/web-0123456789")}, bob: 1},
	{name: "message/bare", in: []string{chat("bob@example.com")}, bob: 1},
	{name: "message/nobody", in: []string{chat("eve@example.com")}, own: 1},
	{name: "iq/server", in: []string{"<iq to='example.com' type='get' id='p-17'><ping xmlns='urn:xmpp:ping'/></iq>"}, own: 1},
	{name: "iq/client", in: []string{"<iq to='bob@example.com/web-0123456789' type='get' id='p-17'><ping xmlns='urn:xmpp:ping'/></iq>"}, bob: 1},
	{name: "presence/own", in: []string{"<presence><show>dnd</show></presence>", "<presence/>"}, own: 1, mobile: 1},
	{name: "presence/direct", in: []string{"<presence to='bob@example.com/web-0123456789'><show>dnd</show></presence>"}, bob: 1},
}

// chat is a message of 200 bytes or a little more.
func chat(to string) string {
	m := "<message to='" + to + "' type='chat' id='m-0000000017'><body></body></message>"
	return strings.Replace(m, "<body>", "<body>"+strings.Repeat("x", max(0, 200-len(m))), 1)
}

// BenchmarkTurn is one stanza from the client's bytes to the bytes for others.
func BenchmarkTurn(b *testing.B) {
	for _, turn := range turns {
		b.Run(turn.name, func(b *testing.B) {
			c := newCore(b)
			alice, mobile := c.dial(b, "alice@example.com/web-0123456789"), c.dial(b, "alice@example.com/mobile")
			bob := c.dial(b, "bob@example.com/web-0123456789")
			in := make([][]byte, len(turn.in))
			for i, text := range turn.in {
				in[i] = []byte(text)
			}
			own, other, bobs := alice.writes, mobile.writes, bob.writes
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				alice.send(b, in[i%len(in)])
				i++
			}
			if alice.writes-own != i*turn.own || mobile.writes-other != i*turn.mobile || bob.writes-bobs != i*turn.bob {
				b.Errorf("%d turns, and %d, %d and %d elements", i, alice.writes-own, mobile.writes-other, bob.writes-bobs)
			}
		})
	}
}

// BenchmarkRouter is a message from one session to one of many, each time another.
func BenchmarkRouter(b *testing.B) {
	for _, n := range []int{1, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("users=%d", n), func(b *testing.B) {
			c := newCore(b)
			c.crowd(b, n, "<presence/>")
			alice := c.dial(b, "alice@example.com/web-0123456789")
			const messages = 1 << 12
			in := make([][]byte, messages)
			for i := range in {
				in[i] = []byte(chat(user(b, i*7919%n).String()))
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				alice.send(b, in[i%messages])
				i++
			}
		})
	}
}

// BenchmarkFanout is one presence to many connections.
func BenchmarkFanout(b *testing.B) {
	for _, n := range []int{50, 10_000} {
		b.Run(fmt.Sprintf("sessions=%d", n), func(b *testing.B) {
			c := newCore(b)
			list := c.crowd(b, n, "<presence/>")
			alice := c.dial(b, "alice@example.com/web-0123456789")
			alice.send(b, []byte("<presence><show>dnd</show><status>in a meeting</status></presence>"))
			p, extra := alice.Presence(), []byte("<x xmlns='urn:example:projects' rev='17'><proj id='p0001'/></x>")
			batch := c.host.NewBatch()
			b.ReportAllocs()
			for b.Loop() {
				for _, s := range list {
					batch.SendPresence(s, p, extra)
				}
				batch.Flush()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/presence")
		})
	}
}

// BenchmarkSessions reports what a session weighs in the core: live bytes of the heap,
// without its transport and its modules.
func BenchmarkSessions(b *testing.B) {
	for _, state := range []struct{ name, presence string }{
		{"bound", ""},
		{"available", "<presence/>"},
		{"away", "<presence><show>away</show><status>lunch</status><priority>5</priority></presence>"},
	} {
		b.Run(state.name, func(b *testing.B) {
			const n = 200_000
			for b.Loop() {
				c := newCore(b)
				before := live()
				list := c.crowd(b, n, state.presence)
				b.ReportMetric(float64(live()-before)/n-8, "B/session") // 8 are the list's
				runtime.KeepAlive(list)
				c.leave(list)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/session")
		})
	}
}

func (c *core) leave(list []*server.Session) {
	for _, s := range list {
		turn := s.Begin()
		turn.Hangup()
		turn.End()
	}
}

// live is how many bytes of the heap are in use.
func live() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what pools held is gone after the second
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
