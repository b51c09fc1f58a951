// Package mongofake is a small server on MongoDB's wire, for tests: it has the faults
// that a real one has only on bad days, change streams, and no weight. It answers
// hello, ping, find, getMore, aggregate, count, the commands around indexes and what a
// test adds with Handle; it refuses everything that writes but where a test allows it,
// so that nobody writes unnoticed. Documents come from the test. The shapes are those of MongoDB 7.0.
package mongofake

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Fault is what befalls commands. The zero Fault is none.
type Fault struct {
	// Commands names those it befalls; none named are all, hello included, by which
	// drivers watch the server.
	Commands []string
	// Delay comes before everything else.
	Delay time.Duration
	// Stall leaves the client without an answer until another Fault is injected; then
	// the answer comes after all, as from a process that was suspended.
	Stall bool
	// Cut sends half the answer and closes the connection.
	Cut bool
	// Code, if not 0, is answered as an error of that Name and with those Labels.
	Code   int32
	Name   string
	Labels []string
	// Times is how many commands it befalls before all is well again; 0 is no limit.
	Times int
}

// NotPrimary is the answer of a server that has just lost an election.
func NotPrimary() Fault {
	return Fault{Code: 10107, Name: "NotWritablePrimary", Labels: []string{"ResumableChangeStreamError"}}
}

// Fake is the server. Its methods are safe for concurrent use.
type Fake struct {
	// URI is where it listens, on the loopback interface.
	URI string

	address    string
	replicaSet bool
	serving    sync.WaitGroup

	mu          sync.Mutex
	listener    net.Listener // nil while it is down
	conns       map[net.Conn]struct{}
	connections int           // ever accepted
	changed     chan struct{} // closed and replaced when anything below changes
	closed      bool
	fault       Fault
	injections  int
	secondary   bool
	counts      map[string]int
	last        map[string]bson.Raw
	handlers    map[string]func(bson.Raw) any
	collections map[string]*Collection
	writable    []string          // prefixes of collections
	written     map[string]bson.D // answers to writes that may be repeated
	cursors     map[int64]*cursor
	lastCursor  int64
	history     []event
	forgotten   int // events up to this number are forgotten
}

// New runs a replica set of one member until the test is over.
func New(t testing.TB) *Fake { t.Helper(); return run(t, true) }

// NewStandalone runs a server that belongs to no replica set until the test is over: it
// has no change streams.
func NewStandalone(t testing.TB) *Fake { t.Helper(); return run(t, false) }

func run(t testing.TB, replicaSet bool) *Fake {
	t.Helper()
	f, err := Listen("127.0.0.1:0", replicaSet)
	if err != nil {
		t.Fatalf("mongofake: %v", err)
	}
	t.Cleanup(f.Close)
	return f
}

// Listen runs a server until Close, for programs that are no test.
func Listen(address string, replicaSet bool) (*Fake, error) {
	f := &Fake{
		replicaSet:  replicaSet,
		address:     address,
		conns:       map[net.Conn]struct{}{},
		changed:     make(chan struct{}),
		counts:      map[string]int{},
		last:        map[string]bson.Raw{},
		handlers:    map[string]func(bson.Raw) any{},
		collections: map[string]*Collection{},
		written:     map[string]bson.D{},
		cursors:     map[int64]*cursor{},
	}
	if err := f.Up(); err != nil {
		return nil, err
	}
	f.URI = "mongodb://" + f.address + "/"
	return f, nil
}

// Close ends the server for good, and waits until everything of it has ended.
func (f *Fake) Close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.Down()
	f.serving.Wait()
}

// Down closes the port and all connections: clients are refused.
func (f *Fake) Down() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.listener != nil {
		f.listener.Close() // an error would say that it was closed before
		f.listener = nil
	}
	f.hangUp()
}

// Up undoes Down, at the same address and with the same documents.
func (f *Fake) Up() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.listener != nil || f.closed {
		return nil
	}
	l, err := net.Listen("tcp", f.address)
	if err != nil {
		return err
	}
	f.listener, f.address = l, l.Addr().String()
	f.serving.Go(func() { f.accept(l) })
	return nil
}

// Disconnect closes all connections, as a proxy might.
func (f *Fake) Disconnect() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hangUp()
}

func (f *Fake) hangUp() {
	for c := range f.conns {
		c.Close() // nobody is left to tell of an error
	}
	clear(f.conns)
	f.wake()
}

// wake lets everybody who waits for a change look again; mu is held.
func (f *Fake) wake() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// Inject makes a fault befall commands from now on, instead of the one before. The zero
// Fault makes all well.
func (f *Fake) Inject(fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = fault
	f.injections++
	f.wake()
}

// SetPrimary decides an election: without the office a member of a replica set says so in
// its hello, and answers nothing but errors.
func (f *Fake) SetPrimary(primary bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.secondary = !primary
	f.wake()
}

// Handle makes h answer the commands of that name: with a document, or an error made by
// Refusal. A nil h undoes it.
func (f *Fake) Handle(command string, h func(command bson.Raw) any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if h == nil {
		delete(f.handlers, command)
		return
	}
	f.handlers[command] = h
}

// Count is how many commands of that name have come, unanswered ones included.
func (f *Fake) Count(command string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts[command]
}

// Last is the newest command of that name; nil if there was none.
func (f *Fake) Last(command string) bson.Raw {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last[command]
}

// Connections is how many connections there are, and how many there ever were.
func (f *Fake) Connections() (now, ever int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.conns), f.connections
}

func (f *Fake) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return // closed
		}
		f.mu.Lock()
		if f.listener != l {
			f.mu.Unlock()
			c.Close() // came while the port closed
			return
		}
		f.conns[c] = struct{}{}
		f.connections++
		id := f.connections
		f.serving.Go(func() { f.serve(c, id) })
		f.mu.Unlock()
	}
}

func (f *Fake) serve(c net.Conn, id int) {
	defer func() {
		f.mu.Lock()
		delete(f.conns, c)
		f.mu.Unlock()
		c.Close() // perhaps closed before
	}()
	for {
		m, err := readMessage(c)
		if err != nil {
			return // the client's business
		}
		name := m.name()
		f.mu.Lock()
		f.counts[name]++
		f.last[name] = m.body
		f.mu.Unlock()
		fault, ok := f.suffer(name, c)
		if !ok {
			return
		}
		var answer any
		if fault.Code != 0 {
			answer = &refusal{fault.Code, fault.Name, "injected", fault.Labels}
		} else {
			answer = f.answer(name, m, id)
		}
		if m.silent {
			continue
		}
		if err := reply(c, m, answer, fault.Cut); err != nil {
			return
		}
	}
}

// suffer takes what the fault under way does before the answer. It is not ok when the
// connection has ended meanwhile.
func (f *Fake) suffer(name string, c net.Conn) (Fault, bool) {
	f.mu.Lock()
	fault := f.fault
	if fault.Commands != nil && !slices.Contains(fault.Commands, name) {
		fault = Fault{}
	} else if fault.Times == 1 {
		f.fault = Fault{}
	} else if fault.Times > 1 {
		f.fault.Times--
	}
	injections := f.injections
	f.mu.Unlock()
	if fault.Delay > 0 && !f.wait(c, time.After(fault.Delay), func() bool { return false }) {
		return fault, false
	}
	if fault.Stall && !f.wait(c, nil, func() bool { return f.injections != injections }) {
		return fault, false
	}
	return fault, true
}

// wait returns true when done says so, which it is asked with mu held whenever something
// has changed, or when the timer fires; and false when the connection is over.
func (f *Fake) wait(c net.Conn, timer <-chan time.Time, done func() bool) bool {
	for {
		f.mu.Lock()
		changed := f.changed
		_, open := f.conns[c]
		finished := done()
		f.mu.Unlock()
		switch {
		case !open:
			return false
		case finished:
			return true
		}
		select {
		case <-timer:
			return true
		case <-changed:
		}
	}
}

// refusal is an error as the server answers it.
type refusal struct {
	code   int32
	name   string
	text   string
	labels []string
}

// Refusal is an answer for Handle.
func Refusal(code int32, name, text string, labels ...string) any {
	return &refusal{code, name, text, labels}
}

// Error implements error.
func (r *refusal) Error() string { return fmt.Sprintf("%s (%d): %s", r.name, r.code, r.text) }

// document is the refusal on the wire.
func (r *refusal) document() bson.D {
	d := bson.D{{Key: "ok", Value: 0.0}, {Key: "errmsg", Value: r.text}, {Key: "code", Value: r.code}, {Key: "codeName", Value: r.name}}
	if len(r.labels) > 0 {
		d = append(d, bson.E{Key: "errorLabels", Value: r.labels})
	}
	return d
}

func refused(err error) any {
	var r *refusal
	if errors.As(err, &r) {
		return r
	}
	return &refusal{8, "UnknownError", err.Error(), nil}
}
