package transcript

import (
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/beevik/etree"

	"rollcall/internal/ns"
)

// Kind says what an Event reports.
type Kind int

// The kinds of event.
const (
	// Connect: a connection was made.
	Connect Kind = iota + 1
	// In: the client sent Data.
	In
	// Out: the server sent Data.
	Out
	// Close: the server ended the stream with Condition, or without one the
	// client did.
	Close
	// Lost: the connection broke.
	Lost
)

// Event is what a tap of the server reports.
type Event struct {
	// Conn identifies the connection.
	Conn string
	// Actor is the full JID once a resource is bound; until then it may be
	// empty or bare.
	Actor string
	Kind  Kind
	// Data is one element as it went over the wire; of In also what was refused
	// for not being one.
	Data []byte
	// Condition is the stream error of Close.
	Condition string
}

// conflict is the condition of a connection that a newer one replaced (RFC 6120
// section 4.9.3.3).
const conflict = "conflict"

// Recorder turns events into a script that Parse reads and Play replays. What
// differs from one session to the next becomes a hole; see volatile. Logins are
// written as "connects", without their SASL exchange, so the script holds no
// secret and the password of the cast is a placeholder: Password. A connection
// that ends before its login leaves a comment only.
//
// What the server sends to one actor between two things that clients do is
// written as "receives in any order", because it may come from several sessions.
type Recorder struct {
	// Password stands in the cast; "secret" by default.
	Password string

	mu    sync.Mutex
	w     io.Writer
	err   error
	conns map[string]*recorded
	names map[string]bool
	cast  map[string]string // actor's name by address, of connections that ended
	queue []*recorded       // with output to be written, in order of arrival
	fulls map[string]string // hole by full JID made by the server
	// replaced holds, by full JID, connections that were closed with conflict
	// while the login that replaced them is not written yet.
	replaced map[string]*recorded
	pushes   int
}

// recorded is a connection.
type recorded struct {
	name      string
	bound     bool
	address   string // in the cast
	resource  string // that the client asked for
	bindIDs   map[string]bool
	pending   []string          // elements received, as script text
	serverIDs map[string]string // hole by id of requests that the server made
}

// NewRecorder writes a script to w as the session goes on.
func NewRecorder(w io.Writer) *Recorder {
	return &Recorder{
		Password: "secret", w: w, conns: make(map[string]*recorded), names: make(map[string]bool),
		cast: make(map[string]string), fulls: make(map[string]string), replaced: make(map[string]*recorded),
	}
}

// Event takes the next event. It may be called from several goroutines; the
// order of the calls is the order of the script.
func (r *Recorder) Event(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.conns[e.Conn]
	if c == nil {
		c = &recorded{bindIDs: make(map[string]bool), serverIDs: make(map[string]string)}
		r.conns[e.Conn] = c
	}
	if _, _, resource := splitJID(e.Actor); resource != "" && !c.bound {
		r.bind(c, e)
	}
	switch e.Kind {
	case In:
		r.in(c, e.Data)
	case Out:
		r.out(c, e.Data)
	case Close, Lost:
		r.closed(c, e)
		delete(r.conns, e.Conn)
	}
}

// Close writes what is still kept back and returns the first error of the
// writer. It does not close the writer.
func (r *Recorder) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.flush()
	for _, full := range sortedKeys(r.replaced) {
		r.printf("%s is closed with conflict\n", r.replaced[full].name)
	}
	r.replaced = nil
	return r.err
}

func (r *Recorder) printf(format string, args ...any) {
	if r.err == nil {
		_, r.err = fmt.Fprintf(r.w, format, args...)
	}
}

// bind writes the login of a connection that has just got its resource. What the
// replacement of an older connection caused comes after it.
func (r *Recorder) bind(c *recorded, e Event) {
	c.bound = true
	old, replaces := r.replaced[e.Actor]
	if !replaces {
		r.flush()
	}
	local, domain, resource := splitJID(e.Actor)
	address := local + "@" + domain
	if resource == c.resource {
		address = e.Actor
	}
	c.address = address
	name, again := r.cast[address]
	if again {
		delete(r.cast, address)
	} else {
		name = r.nameFor(local)
		r.printf("%s: %s password=%s\n", name, address, r.Password)
	}
	c.name = name
	if address != e.Actor {
		r.fulls[e.Actor] = "{" + name + "}"
	}
	r.printf("%s connects\n", name)
	if replaces {
		r.flush()
		r.end(old, "is closed with conflict")
		delete(r.replaced, e.Actor)
	}
}

// end writes how a bound connection ended; another one may then play its actor.
func (r *Recorder) end(c *recorded, how string) {
	r.printf("%s %s\n", c.name, how)
	r.cast[c.address] = c.name
}

// nameFor makes an actor's name from a local part.
func (r *Recorder) nameFor(local string) string {
	base := strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' {
			return c
		}
		return '_'
	}, local)
	if !actorName().MatchString(base) || reservedName(base) {
		base = "user_" + base
	}
	name := base
	for i := 2; r.names[name]; i++ {
		name = fmt.Sprintf("%s%d", base, i)
	}
	r.names[name] = true
	return name
}

// in writes what a client sent.
func (r *Recorder) in(c *recorded, data []byte) {
	e, err := parseElement(string(data), streamScope())
	if err == nil {
		if b := child(e, ns.Bind, "bind"); b != nil && !c.bound {
			c.bindIDs[e.SelectAttrValue("id", "")] = true
			if wanted := child(b, ns.Bind, "resource"); wanted != nil {
				c.resource = wanted.Text()
			}
			return
		}
	}
	if !c.bound {
		return
	}
	r.flush()
	if err != nil {
		r.printf("%s streams:\n    %s\n", c.name, quoteRaw(data))
		return
	}
	r.holes(e, func(e *etree.Element, a *etree.Attr, value string) string {
		if hole, ok := c.serverIDs[value]; ok && a != nil && a.Key == "id" {
			return hole
		}
		return r.personal(value)
	})
	r.printf("%s sends:\n    %s\n", c.name, scriptText(e))
}

// out keeps what a client received until somebody does something.
func (r *Recorder) out(c *recorded, data []byte) {
	e, err := parseElement(string(data), streamScope())
	if !c.bound || err != nil || e.NamespaceURI() == ns.Stream {
		return
	}
	id, kind := e.SelectAttrValue("id", ""), e.SelectAttrValue("type", "")
	if c.bindIDs[id] && (kind == "result" || kind == "error") {
		delete(c.bindIDs, id)
		return
	}
	if e.Tag == "iq" && (kind == "get" || kind == "set") {
		r.pushes++
		c.serverIDs[id] = fmt.Sprintf("{id%d}", r.pushes)
	}
	r.holes(e, func(inner *etree.Element, a *etree.Attr, value string) string {
		if hole, ok := c.serverIDs[id]; ok && inner == e && a != nil && a.Key == "id" {
			return hole
		}
		if volatile(inner, a) && value != "" || a == nil && isMark(value) {
			return "{" + holeAny + "}"
		}
		return r.personal(value)
	})
	if len(c.pending) == 0 {
		r.queue = append(r.queue, c)
	}
	c.pending = append(c.pending, scriptText(e))
}

// flush writes what was received.
func (r *Recorder) flush() {
	for _, c := range r.queue {
		how := "receives"
		if len(c.pending) > 1 {
			how = "receives in any order"
		}
		r.printf("%s %s:\n", c.name, how)
		for _, text := range c.pending {
			r.printf("    %s\n", text)
		}
		c.pending = nil
	}
	r.queue = nil
}

// closed writes the end of a connection.
func (r *Recorder) closed(c *recorded, e Event) {
	r.flush()
	if c.bound && e.Kind == Close && e.Condition == conflict {
		r.replaced[e.Actor] = c
		return
	}
	switch {
	case !c.bound && e.Condition != "":
		r.printf("# a connection was closed with %s before its login\n", e.Condition)
	case !c.bound:
		r.printf("# a connection ended before its login\n")
	case e.Kind == Lost:
		r.end(c, "drops")
	case e.Condition != "":
		r.end(c, "is closed with "+e.Condition)
	default:
		r.end(c, "disconnects")
	}
}
