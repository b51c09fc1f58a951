package server

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"mellium.im/xmpp/stanza"
	"mellium.im/xmpp/stream"

	"rollcall/internal/xmlscan"
)

// Phase is how far a stream has to have come for something to be offered.
type Phase uint8

// The phases.
const (
	BeforeLogin Phase = iota // authentication comes next
	AfterLogin               // binding comes next
)

// offer is a stream feature of a module.
type offer struct {
	phase  Phase
	append func(s *Session, dst []byte) []byte
}

// offerTable holds the stream features of modules in the order of registration.
type offerTable struct {
	mu   sync.Mutex // of writers
	list atomic.Pointer[[]*offer]
}

func (t *offerTable) change(f func([]*offer) []*offer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []*offer
	if p := t.list.Load(); p != nil {
		list = slices.Clone(*p)
	}
	list = f(list)
	t.list.Store(&list)
}

// append appends what modules offer in a phase.
func (t *offerTable) append(s *Session, phase Phase, dst []byte) []byte {
	list := t.list.Load()
	if list == nil {
		return dst
	}
	for _, o := range *list {
		if o.phase == phase {
			dst = o.append(s, dst)
		}
	}
	return dst
}

// StreamFeature adds to the features of streams that have come to a phase (RFC 6120
// section 4.3.2). f appends an encoded element, or nothing where the module offers
// nothing to this one. It runs on the session's turn.
func (h *Host) StreamFeature(phase Phase, f func(s *Session, dst []byte) []byte) {
	added := &offer{phase, f}
	h.srv.offers.change(func(list []*offer) []*offer { return append(list, added) })
	h.undo = append(h.undo, func() {
		h.srv.offers.change(func(list []*offer) []*offer {
			return slices.DeleteFunc(list, func(o *offer) bool { return o == added })
		})
	})
}

// Nonza is a top-level element of a bound session that is no stanza. It lasts until its
// handler returns.
type Nonza struct {
	Batch   *Batch
	Session *Session
	Element *xmlscan.Element
}

// NonzaHandler takes a Nonza, on the session's turn.
type NonzaHandler func(ctx context.Context, n *Nonza)

type nonzaKey struct{ space, name string }

// nonzaTable finds who takes an element that is no stanza.
type nonzaTable struct {
	mu      sync.Mutex // of writers
	entries atomic.Pointer[map[nonzaKey]NonzaHandler]
}

func (t *nonzaTable) change(f func(map[nonzaKey]NonzaHandler)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := make(map[nonzaKey]NonzaHandler)
	if had := t.entries.Load(); had != nil {
		m = maps.Clone(*had)
	}
	f(m)
	t.entries.Store(&m)
}

func (t *nonzaTable) find(space, name []byte) NonzaHandler {
	if m := t.entries.Load(); m != nil {
		return (*m)[nonzaKey{string(space), string(name)}]
	}
	return nil
}

// HandleNonza takes top-level elements that are no stanzas, from bound sessions; others
// of them end the stream. It fails when somebody else takes them.
func (h *Host) HandleNonza(space, name string, f NonzaHandler) error {
	key, taken := nonzaKey{space, name}, false
	h.srv.nonzas.change(func(m map[nonzaKey]NonzaHandler) {
		if _, taken = m[key]; !taken {
			m[key] = f
		}
	})
	if taken {
		return fmt.Errorf("<%s xmlns='%s'/> is taken already", name, space)
	}
	h.undo = append(h.undo, func() {
		h.srv.nonzas.change(func(m map[nonzaKey]NonzaHandler) { delete(m, key) })
	})
	return nil
}

// nonza gives an element that is no stanza to who takes it.
func (s *Session) nonza(t *Turn, el *xmlscan.Element) {
	f := s.srv.nonzas.find(el.Space, el.Local)
	if f == nil {
		// RFC 6120 section 4.9.3.24.
		s.close(t, StreamError(stream.UnsupportedStanzaType, nil))
		return
	}
	s.srv.guard("element "+string(el.Space), s, func() {
		f(s.srv.ctx, &Nonza{Batch: &t.Batch, Session: s, Element: el})
	})
}

// early is the scope of requests before authentication.
const early Scope = 1 << 7

// HandleEarlyIQ answers requests of clients that have not authenticated, whose child is
// name in namespace space. Their From is zero; Session.Domain is the virtual host. It
// fails when somebody else answers them.
func (h *Host) HandleEarlyIQ(space, name string, f IQHandler) error {
	key := iqKey{space, name, early}
	if err := h.srv.iqs.add(iqEntry{key, h.module.Name(), f}); err != nil {
		return err
	}
	h.undo = append(h.undo, func() { h.srv.iqs.remove(key) })
	return nil
}

// earlyIQ answers a request before authentication, if anybody does.
func (s *Session) earlyIQ(t *Turn, el *xmlscan.Element) bool {
	typ := typeOf(el.Attr("type"))
	entry, ok := s.srv.iqs.find(el.ChildSpace, el.ChildLocal, early)
	if !ok || typ != "get" && typ != "set" {
		return false
	}
	st := &t.stanza
	*st = Stanza{Batch: &t.Batch, Session: s, Kind: IQStanza, Type: typ, Element: el}
	if d := s.srv.domain(s.Domain()); d != nil {
		st.To = d.address // which answers, whomever the client named
	}
	if len(el.Attr("id")) == 0 || el.Children != 1 {
		st.Reply(Error(stanza.BadRequest, ""))
		return true
	}
	payload, err := s.run(t, st, entry)
	if err == nil && s.phase != closed {
		err = st.result(payload)
	}
	if err != nil {
		st.refuse(s.srv, err, "iq", entry.space, "module", entry.module)
	}
	return true
}

// run runs a handler in its own scope and survives its panic.
func (s *Session) run(t *Turn, st *Stanza, entry iqEntry) (payload Payload, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.srv.panicked("iq "+entry.space, p, "conn", s.conn)
			err = errPanicked
		}
	}()
	t.iq = IQ{Stanza: st, Scope: entry.scope, Space: entry.space, Name: entry.name}
	return entry.handle(s.srv.ctx, &t.iq)
}

// Domain is the virtual host that the client's stream is for; empty before its header.
func (s *Session) Domain() string {
	switch {
	case !s.jid.IsZero():
		return s.jid.Domain()
	case s.neg != nil:
		return s.neg.host
	}
	return ""
}
