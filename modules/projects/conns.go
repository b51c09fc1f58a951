package projects

import (
	"iter"
	"slices"
	"sync/atomic"
	"time"

	"rollcall/internal/jid"
	"rollcall/server"
)

// conn is one connection of a person. It is made for each person who is online, so it
// has only what all connections need.
type conn struct {
	session *server.Session // nil for a connection that is gone, and for one to another node
	away    *away           // what is known of such a one, nil for others
	next    atomic.Pointer[conn]
	reads   atomic.Bool // the session is told of others
	welcome atomic.Pointer[welcome]
	// presence is what others were told; guarded by the person's fan.
	presence *server.Presence
}

// away is a connection without a session.
type away struct {
	id    string
	jid   jid.JID     // guarded by the person's fan
	peer  *peer       // the other node; nil for a connection to this one
	grace *time.Timer // running while a gone connection still counts; written under mu and fan
	// replaced says that it is gone because a newer connection took the address.
	replaced bool
}

func (c *conn) id() string {
	if c.away != nil {
		return c.away.id
	}
	return c.session.Conn()
}

func (c *conn) jid() jid.JID {
	if c.away != nil {
		return c.away.jid
	}
	return c.session.JID()
}

// here reports whether the connection is to this node, or was.
func (c *conn) here() bool { return c.away == nil || c.away.peer == nil }

// waits reports whether the connection is gone and counts for a while.
func (c *conn) waits() bool { return c.away != nil && c.away.grace != nil }

func (c *conn) replaced() bool { return c.away != nil && c.away.replaced }

// conns is a list of connections, most often of one. One goroutine at a time changes
// it; others may walk over it meanwhile, and see or miss what comes and goes.
type conns struct{ first atomic.Pointer[conn] }

func (l *conns) all() iter.Seq[*conn] {
	return func(yield func(*conn) bool) {
		for c := l.first.Load(); c != nil && yield(c); {
			c = c.next.Load()
		}
	}
}

// readers walks over the sessions that are told of others.
func (l *conns) readers() iter.Seq[*conn] {
	return func(yield func(*conn) bool) {
		for c := l.first.Load(); c != nil; c = c.next.Load() {
			if c.reads.Load() && !yield(c) {
				return
			}
		}
	}
}

func (l *conns) empty() bool { return l.first.Load() == nil }

// find returns the connection of that id, or nil.
func (l *conns) find(id string) *conn {
	for c := range l.all() {
		if c.id() == id {
			return c
		}
	}
	return nil
}

func (l *conns) has(c *conn) bool { return l.place(c).Load() == c }

// place is where the list points to c, or its end.
func (l *conns) place(c *conn) *atomic.Pointer[conn] {
	at := &l.first
	for x := at.Load(); x != nil && x != c; x = at.Load() {
		at = &x.next
	}
	return at
}

func (l *conns) add(c *conn) { l.place(nil).Store(c) }

// remove takes c out, if it is in. Who is at it goes on from there.
func (l *conns) remove(c *conn) {
	if at := l.place(c); at.Load() == c {
		at.Store(c.next.Load())
	}
}

// replace puts c in the place of old.
func (l *conns) replace(old, c *conn) {
	c.next.Store(old.next.Load())
	l.place(old).Store(c)
}

// list copies the list.
func (l *conns) list() []*conn { return slices.Collect(l.all()) }
