package server_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"rollcall/conf"
	"rollcall/internal/servertest"
	"rollcall/server"
)

// line is a transport that keeps what it is given until it is flushed, as a write.
type line struct {
	sink
	mu     sync.Mutex
	queued []string
	writes [][]string
}

func (l *line) Write(el []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queued = append(l.queued, string(el))
	return nil
}

func (l *line) Flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queued) > 0 {
		l.writes = append(l.writes, l.queued)
		l.queued = nil
	}
}

// taken returns what was written since the last call.
func (l *line) taken() [][]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.writes
	l.writes = nil
	return w
}

const coalesce = 5 * time.Millisecond

// pair are two available connections of a user: the one is told what the other says.
func pair(t *testing.T) (watch *line, say func(text string)) {
	t.Helper()
	s := servertest.New(t, servertest.Options{
		Directory: people(), Session: &conf.Session{ResourceConflict: conf.ConflictReplace, Coalesce: coalesce},
	})
	watch = new(line)
	bind(t, s, watch, "watch")
	other := bind(t, s, sink{}, "other")
	time.Sleep(10 * coalesce) // nothing of that is a storm any more
	watch.taken()
	return watch, func(text string) {
		turn := other.Begin()
		defer turn.End()
		turn.Element(element(t, text))
	}
}

// bind returns an available session.
func bind(t *testing.T, s *servertest.Server, conn server.Transport, resource string) *server.Session {
	session := s.NewSession(conn, &server.Listener{})
	turn := session.Begin()
	defer turn.End()
	open := server.StreamHeader{To: "example.com", Version: "1.0"}
	turn.Open(open)
	turn.Element(element(t, plain("alice", servertest.Password)))
	turn.Open(open)
	turn.Element(element(t, "<iq xmlns='jabber:client' type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>"+
		resource+"</resource></bind></iq>"))
	turn.Element(element(t, "<presence xmlns='jabber:client'/>"))
	return session
}

func status(n int) string {
	return fmt.Sprintf("<presence xmlns='jabber:client'><status>s%d</status></presence>", n)
}

// A change goes out with its turn when there was none lately.
func TestOneChangeDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		watch, say := pair(t)
		for i := range 3 {
			say(status(i))
			if got := watch.taken(); len(got) != 1 || len(got[0]) != 1 {
				t.Errorf("change %d was written as %q", i, got)
			}
			time.Sleep(2 * coalesce)
		}
	})
}

// Amid a storm few writes carry all there is, in its order, and the last does not wait
// for anything to follow it.
func TestStormIsGathered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		watch, say := pair(t)
		const changes = 200
		for i := range changes {
			say(status(i))
			if i%50 == 49 {
				time.Sleep(coalesce / 2)
			}
		}
		time.Sleep(2 * coalesce)
		next := 0
		writes := watch.taken()
		for _, w := range writes {
			for _, el := range w {
				if want := fmt.Sprintf("<status>s%d<", next); !strings.Contains(el, want) {
					t.Fatalf("%s where %s was due", el, want)
				}
				next++
			}
		}
		if next != changes || len(writes) > changes/4+3 {
			t.Errorf("%d of %d changes in %d writes", next, changes, len(writes))
		}
	})
}

// What is no presence waits for nobody, and takes along what waits.
func TestMessageEndsALull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		watch, say := pair(t)
		say(status(1))
		say(status(2))
		say("<message xmlns='jabber:client' to='alice@example.com/watch'/>")
		got := watch.taken()
		if len(got) != 2 || len(got[1]) != 2 || !strings.Contains(got[1][0], "s2") || !strings.HasPrefix(got[1][1], "<message") {
			t.Errorf("written: %q", got)
		}
	})
}

// The last word of a connection that ends is not lost.
func TestStormAndTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		watch, say := pair(t)
		say(status(1))
		say(status(2))
		say("<presence xmlns='jabber:client' type='unavailable'/>")
		time.Sleep(2 * coalesce)
		got := watch.taken()
		if last := got[len(got)-1]; !strings.Contains(last[len(last)-1], "unavailable") {
			t.Errorf("written: %q", got)
		}
	})
}
