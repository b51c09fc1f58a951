package projects

import (
	"slices"
	"strconv"
	"sync"

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

// reset begins anew with what p's state is now; p.fan is held.
func (x *extension) reset(p *person) {
	x.status, x.rev, x.buf = p.status, p.told(), x.buf[:0]
	if len(p.shown) == 0 {
		// The store may know of a connection that this node is going to hear of, but it
		// may also be behind: what was told last has to be right.
		x.status = storage.Offline
	}
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
	var x extension
	x.reset(p)
	seen := p.seenIn()
	for _, id := range projects {
		r := c.room(id)
		if r == nil {
			continue
		}
		r.mu.RLock()
		for o := range r.people {
			v := o.view.Load()
			if o == p || len(v.readers) == 0 {
				continue
			}
			if firstShared(projects, v.projects) != id {
				continue // told in another of the projects they share
			}
			extra := x.encode(seen, v.projects, pr.Available)
			for _, s := range v.readers {
				if s.welcome == nil || s.welcome.knows(p) {
					b.SendPresence(s.Session, pr, extra)
				} else {
					s.welcome.meet(b, p, v.projects, s.Session)
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
	var now, stranger extension
	moved := union(minus(before, after), minus(after, before))
	for _, id := range moved {
		r := c.room(id)
		if r == nil {
			continue
		}
		r.mu.RLock()
		for o := range r.people {
			v := o.view.Load()
			if o == p || len(v.readers) == 0 || firstShared(moved, v.projects) != id {
				continue
			}
			was, is := firstShared(before, v.projects) != "", firstShared(after, v.projects) != ""
			for _, s := range v.readers {
				switch {
				case is && !was && s.welcome != nil && !s.welcome.knows(p):
					s.welcome.meet(b, p, v.projects, s.Session)
				case is && !was:
					p.present(b, &now, v.projects, s.Session)
				case was && !is:
					p.end(b, &stranger, s.Session)
				}
			}
		}
		r.mu.RUnlock()
	}
}

// present tells a session all that is shown of p; its user belongs to projects. fan is
// held.
func (p *person) present(b *server.Batch, x *extension, projects []string, s *server.Session) {
	x.reset(p)
	extra := x.encode(p.seenIn(), projects, true)
	for _, cn := range p.shown {
		b.SendPresence(s, cn.presence, extra)
	}
}

// end tells a session that all that was shown of p is gone: a stranger's state is 0.
// fan is held.
func (p *person) end(b *server.Batch, x *extension, s *server.Session) {
	x.rev = p.told()
	extra := x.encodeList(nil)
	for _, cn := range p.shown {
		b.SendPresence(s, server.Unavailable(cn.jid, cn.presence.At), extra)
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
func (w *welcome) meet(b *server.Batch, p *person, projects []string, s *server.Session) {
	w.mu.Lock()
	w.met = append(w.met, p)
	w.mu.Unlock()
	p.present(b, new(extension), projects, s)
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
	projects := p.view.Load().projects
	w := new(welcome)
	cn.reads, cn.welcome = true, w
	p.publish(projects)
	list := c.others(p, projects)
	w.mu.Lock()
	w.list = list
	w.mu.Unlock()
	var x extension
	for _, o := range list {
		c.greet(b, &x, o, projects, cn.session, w)
	}
	cn.welcome = nil
	p.publish(projects)
}

func (c *community) greet(b *server.Batch, x *extension, o *person, projects []string, s *server.Session, w *welcome) {
	o.fan.Lock()
	defer o.fan.Unlock()
	if w.turn(o) && firstShared(o.seenIn(), projects) != "" {
		o.present(b, x, projects, s)
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
	o.present(b, x, projects, s)
	return true
}

// conceal tells readers that what they saw of o is gone; c.ties is held.
func (c *community) conceal(b *server.Batch, o *person, readers []reader) {
	o.fan.Lock()
	defer o.fan.Unlock()
	var x extension
	for _, s := range readers {
		o.end(b, &x, s.Session)
	}
}
