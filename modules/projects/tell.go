package projects

import (
	"slices"
	"strconv"
	"sync"

	"rollcall/internal/jid"
	"rollcall/internal/ns"
	"rollcall/internal/xmlscan"
	"rollcall/server"
	"rollcall/storage"
)

// extension encodes the <x/> that goes with every presence to a co-member: the
// user's state over all connections after the change, the store's revision, and
// the projects that the two share (none in an unavailable presence).
type extension struct {
	status storage.Show
	rev    uint64
	listed []string // the projects that buf lists
	buf    []byte
	common []string // scratch
}

// extension is one to begin with reset, and to give back with free.
func (m *Module) extension() *extension {
	x, _ := m.extensions.Get().(*extension)
	if x == nil {
		x = new(extension)
	}
	return x
}

func (m *Module) free(x *extension) { m.extensions.Put(x) }

// reset begins anew with what p's state is now; p.fan is held.
func (x *extension) reset(p *person) {
	x.begin(storage.Show(p.status), p.told())
	if len(p.shown) == 0 {
		// The store may know of a connection that this node is going to hear of, but it
		// may also be behind: what was told last has to be right.
		x.status = storage.Offline
	}
}

func (x *extension) begin(status storage.Show, rev uint64) {
	x.status, x.rev, x.buf = status, rev, x.buf[:0]
}

// encode returns the extension for somebody who belongs to the projects of b while
// the user belongs to those of a. It is good until the next call.
func (x *extension) encode(a, b []string, available bool) []byte {
	x.common = x.common[:0]
	if available {
		x.common = shared(x.common, a, b)
	}
	return x.encodeList(x.common)
}

func (x *extension) encodeList(projects []string) []byte {
	if len(x.buf) > 0 && slices.Equal(x.listed, projects) {
		return x.buf
	}
	x.listed = append(x.listed[:0], projects...)
	b := append(x.buf[:0], "<x xmlns='"+ns.Project+"' status='"...)
	b = strconv.AppendInt(b, int64(x.status), 10)
	b = append(b, "' rev='"...)
	b = strconv.AppendUint(b, x.rev, 10)
	if len(projects) == 0 {
		x.buf = append(b, "'/>"...)
		return x.buf
	}
	b = append(b, "'>"...)
	for _, id := range projects {
		b = append(b, "<proj id='"...)
		b = xmlscan.AppendAttr(b, id)
		b = append(b, "'/>"...)
	}
	x.buf = append(b, "</x>"...)
	return x.buf
}

// announce tells a presence of p to everybody of this node who belongs to one of the
// projects; p.fan and, for reading, c.ties are held.
func (c *community) announce(b *server.Batch, p *person, pr *server.Presence, projects []string) {
	x := c.m.extension()
	defer c.m.free(x)
	x.reset(p)
	seen := p.seenIn()
	for _, id := range projects {
		r := c.room(id)
		if r == nil {
			continue
		}
		r.mu.RLock()
		for _, o := range r.people {
			if o == p {
				continue
			}
			for s := range o.conns.readers() {
				// After it was found to read: it belongs to these as long as ties is held.
				theirs := o.projects()
				if firstShared(projects, theirs) != id {
					break // told in another of the projects they share
				}
				if w := s.welcome.Load(); w == nil || w.knows(p) {
					b.SendPresence(s.session, pr, x.encode(seen, theirs, pr.Available))
				} else {
					w.meet(c.m, b, p, theirs, s.session)
				}
			}
		}
		r.mu.RUnlock()
	}
}

// announceEnd tells that what was seen of an address is over, or what is seen of it
// now if another connection has it: when the last word was that of the one that is
// gone, or the user's state changed. p.fan is held.
func (c *community) announceEnd(b *server.Batch, p *person, gone *server.Presence, last, changed bool, projects []string) {
	switch twin := p.shownAt(gone.JID); {
	case twin == nil:
		c.announce(b, p, gone, projects)
	case last || changed:
		c.announce(b, p, twin.presence, projects)
	}
}

// announceStatus tells of a user's state that changed though no connection did, with
// the last presence of all; p.fan is held.
func (c *community) announceStatus(b *server.Batch, p *person, projects []string) {
	if n := len(p.shown); n > 0 {
		c.announce(b, p, p.shown[n-1].presence, projects)
	}
}

// reveal tells who sees p by the projects of after and did not by those of before all
// that is shown, and who sees p no longer that it is gone; p.fan and c.ties are held.
func (c *community) reveal(b *server.Batch, p *person, before, after []string) {
	if len(p.shown) == 0 {
		return
	}
	now, stranger := c.m.extension(), c.m.extension()
	defer c.m.free(now)
	defer c.m.free(stranger)
	moved := union(minus(before, after), minus(after, before))
	for _, id := range moved {
		r := c.room(id)
		if r == nil {
			continue
		}
		r.mu.RLock()
		for _, o := range r.people {
			if o == p {
				continue
			}
			for s := range o.conns.readers() {
				theirs := o.projects()
				if firstShared(moved, theirs) != id {
					break
				}
				was, is := firstShared(before, theirs) != "", firstShared(after, theirs) != ""
				w := s.welcome.Load()
				switch {
				case is && !was && w != nil && !w.knows(p):
					w.meet(c.m, b, p, theirs, s.session)
				case is && !was:
					p.present(b, now, theirs, s.session, anything)
				case was && !is:
					p.end(c.m, b, stranger, s.session)
				}
			}
		}
		r.mu.RUnlock()
	}
}

// present tells a session what is shown of those of p's connections that it wants, and
// returns how many those are; its user belongs to projects. fan is held.
func (p *person) present(b *server.Batch, x *extension, projects []string, s *server.Session, wants func(jid.JID) bool) (n int) {
	x.reset(p)
	extra := x.encode(p.seenIn(), projects, true)
	for _, cn := range p.shown {
		if wants(cn.jid()) {
			b.SendPresence(s, cn.presence, extra)
			n++
		}
	}
	return n
}

func anything(jid.JID) bool { return true }

// end tells a session that all that was shown of p is gone: a stranger's state is 0.
// fan is held.
func (p *person) end(m *Module, b *server.Batch, x *extension, s *server.Session) {
	x.begin(storage.Offline, p.told())
	extra := x.encodeList(nil)
	for _, cn := range p.shown {
		b.SendPresence(s, server.Unavailable(cn.jid(), cn.presence.At), extra)
	}
	if m.o.Ended != nil && len(p.shown) > 0 {
		m.o.Ended(b, s, p.bare)
	}
}

// welcome is what a session was told already while it is being told of everybody, so
// that it learns of each person once: from the welcome, or from the person's news.
type welcome struct {
	mu   sync.Mutex
	list []*person // whom it is told of
	next int       // that many of them it was told of
	met  []*person // those who had news before it was their turn
}

// knows reports whether the session was told of a person, whose fan is held.
func (w *welcome) knows(p *person) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Contains(w.met, p) || slices.Contains(w.list[:w.next], p)
}

// meet tells the session of a person, whose fan is held, out of turn.
func (w *welcome) meet(m *Module, b *server.Batch, p *person, projects []string, s *server.Session) {
	w.mu.Lock()
	w.met = append(w.met, p)
	w.mu.Unlock()
	x := m.extension()
	defer m.free(x)
	p.present(b, x, projects, s, anything)
}

// turn reports whether the session is to be told of the next person on the list, whose
// fan is held.
func (w *welcome) turn(p *person) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next++
	return !slices.Contains(w.met, p)
}

// welcome makes a newcomer a reader, and tells it of everybody whom the user sees;
// p.mu is held.
func (c *community) welcome(b *server.Batch, p *person, cn *conn) {
	c.ties.RLock()
	defer c.ties.RUnlock()
	projects := p.projects()
	w := new(welcome)
	cn.welcome.Store(w)
	cn.reads.Store(true)
	list := c.others(p, projects)
	w.mu.Lock()
	w.list = list
	w.mu.Unlock()
	x := c.m.extension()
	defer c.m.free(x)
	for _, o := range list {
		c.greet(b, x, o, projects, cn.session, w)
	}
	cn.welcome.Store(nil)
}

func (c *community) greet(b *server.Batch, x *extension, o *person, projects []string, s *server.Session, w *welcome) {
	o.fan.Lock()
	defer o.fan.Unlock()
	if w.turn(o) && firstShared(o.seenIn(), projects) != "" {
		o.present(b, x, projects, s, anything)
	}
}

// describe tells a session all that is shown of o, if o is seen in one of its user's
// projects, and reports whether there was anything; c.ties is held, for reading at
// least. x is scratch.
func (c *community) describe(b *server.Batch, x *extension, o *person, projects []string, s *server.Session) bool {
	o.fan.Lock()
	defer o.fan.Unlock()
	if len(o.shown) == 0 || firstShared(o.seenIn(), projects) == "" {
		return false
	}
	o.present(b, x, projects, s, anything)
	return true
}

// conceal tells p's sessions that what they saw of o is gone; c.ties is held.
func (c *community) conceal(b *server.Batch, o, p *person) {
	o.fan.Lock()
	defer o.fan.Unlock()
	x := c.m.extension()
	defer c.m.free(x)
	for r := range p.conns.readers() {
		o.end(c.m, b, x, r.session)
	}
}
