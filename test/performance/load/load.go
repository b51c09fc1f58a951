// Package load is a light client for loading a server with thousands of sessions from
// one process, over TCP, WebSocket or BOSH. It says what a client needs to say and no
// more: no stanza is understood beyond its start tag.
package load

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"mellium.im/sasl"

	"rollcall/internal/ns"
	"rollcall/internal/xmlscan"
)

// The transports.
const (
	TCP       = "tcp"
	WebSocket = "ws"
	BOSH      = "bosh"
)

// Transports lists them all.
func Transports() []string { return []string{TCP, WebSocket, BOSH} }

// patience is how long any step of a login may take.
const patience = time.Minute

// Options say how a session is made.
type Options struct {
	Transport string
	Address   string      // host:port of the transport's listener
	Host      string      // the virtual host
	TLS       *tls.Config // from the first byte; nil for none
	Password  string
	Mechanism sasl.Mechanism // PLAIN when it has no name
	Resource  string
	Roster    bool // ask for it after binding
	Presence  bool // send initial presence
	// ReadBuffer is the size of the socket's receive buffer in bytes; 0 leaves it to the
	// kernel.
	ReadBuffer int
	// Source is the loopback address the connection comes from; Sources hands them out.
	// The zero value leaves it to the kernel.
	Source netip.Addr

	gate *gate
}

// Source is one of many loopback addresses, so that the ports of one do not run out:
// TIME_WAIT keeps each for a minute. All of 127.0.0.0/8 is there on Linux.
func Source(n int) netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 1, byte(1 + n%200)}) }

// Session is one client that has bound a resource.
type Session struct {
	User string
	JID  string

	wire    wire
	gate    *gate
	leaving atomic.Bool
	ended   chan struct{}
	err     error
}

// wire is a transport. Its methods but send and close belong to one goroutine.
type wire interface {
	// open opens a stream, the first or one after a restart; what comes next are features.
	open(host string) error
	// send sends one element; it is safe for concurrent use.
	send(el []byte) error
	// next waits for the next element; it is valid until the following call.
	next(el *xmlscan.Element) error
	// run hands over every further element, one at a time, until the connection ends.
	run(on func(el *xmlscan.Element)) error
	// deadline bounds next.
	deadline(t time.Time) error
	close() error
}

// Login connects a user, authenticates, binds, and does what o says.
func Login(ctx context.Context, o Options, user string) (*Session, error) {
	o.gate = &gate{shut: make(chan struct{})}
	w, err := dial(ctx, o)
	if err != nil {
		return nil, err
	}
	s := &Session{User: user, wire: w, gate: o.gate, ended: make(chan struct{})}
	err = errors.Join(w.deadline(time.Now().Add(patience)), s.login(o), w.deadline(time.Time{}))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", user, errors.Join(err, s.Cut()))
	}
	return s, nil
}

func dial(ctx context.Context, o Options) (wire, error) {
	switch o.Transport {
	case TCP:
		return dialTCP(ctx, o)
	case WebSocket:
		return dialWebSocket(ctx, o)
	case BOSH:
		return dialBOSH(ctx, o)
	}
	return nil, fmt.Errorf("load: what is the transport %q?", o.Transport)
}

// connect makes a connection, encrypted if o says so.
func connect(ctx context.Context, o Options) (net.Conn, error) {
	d := net.Dialer{Timeout: patience, KeepAlive: -1}
	if o.Source.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(o.Source, 0))
	}
	d.Control = func(_, _ string, raw syscall.RawConn) error {
		var err error
		return errors.Join(raw.Control(func(fd uintptr) { err = prepare(int(fd), o) }), err)
	}
	raw, err := d.DialContext(ctx, "tcp", o.Address)
	if err != nil {
		return nil, err
	}
	var conn net.Conn = gated{raw, o.gate}
	if o.TLS == nil {
		return conn, nil
	}
	c := tls.Client(conn, o.TLS)
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return c, nil
}

// errRefused is the end of a login that the server did not want.
var errRefused = errors.New("refused")

func (s *Session) login(o Options) error {
	var el xmlscan.Element
	if err := s.open(o, &el); err != nil {
		return err
	}
	if err := s.authenticate(o, &el); err != nil {
		return err
	}
	if err := s.open(o, &el); err != nil {
		return err
	}
	bind := "<iq xmlns='jabber:client' type='set' id='b'><bind xmlns='" + ns.Bind + "'><resource>" + o.Resource + "</resource></bind></iq>"
	if err := s.ask(bind, &el); err != nil {
		return err
	}
	_, jid, ok := bytes.Cut(el.Inner, []byte("<jid>"))
	jid, _, ok2 := bytes.Cut(jid, []byte("</jid>"))
	if !ok || !ok2 {
		return fmt.Errorf("%w: %s", errRefused, el.Raw)
	}
	s.JID = string(jid)
	if o.Roster {
		if err := s.ask("<iq xmlns='jabber:client' type='get' id='r'><query xmlns='"+ns.Roster+"'/></iq>", &el); err != nil {
			return err
		}
	}
	if !o.Presence {
		return nil
	}
	return s.Send([]byte("<presence xmlns='jabber:client'/>"))
}

func (s *Session) open(o Options, el *xmlscan.Element) error {
	if err := s.wire.open(o.Host); err != nil {
		return err
	}
	return s.expect(el, "features")
}

func (s *Session) authenticate(o Options, el *xmlscan.Element) error {
	mechanism := o.Mechanism
	if mechanism.Name == "" {
		mechanism = sasl.Plain
	}
	client := sasl.NewClient(mechanism, sasl.Credentials(func() (user, password, identity []byte) {
		return []byte(s.User), []byte(o.Password), nil
	}))
	more, response, err := client.Step(nil)
	if err != nil {
		return err
	}
	say := "<auth xmlns='" + ns.SASL + "' mechanism='" + mechanism.Name + "'>" + base64.StdEncoding.EncodeToString(response) + "</auth>"
	for {
		if err := s.wire.send([]byte(say)); err != nil {
			return err
		}
		if err := s.expect(el, "success", "challenge"); err != nil {
			return err
		}
		done := string(el.Local) == "success"
		if done && (!more || len(el.Inner) == 0) {
			return nil
		}
		challenge, err := base64.StdEncoding.DecodeString(string(el.Inner))
		if err != nil {
			return err
		}
		if more, response, err = client.Step(challenge); err != nil || done {
			return err
		}
		say = "<response xmlns='" + ns.SASL + "'>" + base64.StdEncoding.EncodeToString(response) + "</response>"
	}
}

func (s *Session) ask(request string, el *xmlscan.Element) error {
	if err := s.wire.send([]byte(request)); err != nil {
		return err
	}
	if err := s.expect(el, "iq"); err != nil {
		return err
	}
	if el.AttrString("type") != "result" {
		return fmt.Errorf("%w: %s", errRefused, el.Raw)
	}
	return nil
}

// expect takes the next element and refuses those that are not wanted.
func (s *Session) expect(el *xmlscan.Element, names ...string) error {
	if err := s.wire.next(el); err != nil {
		return err
	}
	for _, name := range names {
		if string(el.Local) == name {
			return nil
		}
	}
	return fmt.Errorf("%w: %s", errRefused, el.Raw)
}

// Start has every further element handed to on, one at a time and valid during the
// call only. Pings are answered before.
func (s *Session) Start(on func(el *xmlscan.Element)) {
	go func() {
		defer close(s.ended)
		err := s.wire.run(func(el *xmlscan.Element) {
			if string(el.Local) == "iq" && string(el.ChildSpace) == ns.Ping && el.AttrString("type") == "get" {
				pong := fmt.Sprintf("<iq xmlns='jabber:client' type='result' id='%s' to='%s'/>", el.Attr("id"), el.Attr("from"))
				// An error means the end, which run sees.
				_ = s.Send([]byte(pong))
				return
			}
			on(el)
		})
		if !s.leaving.Load() {
			s.err = err
		}
	}()
}

// Send sends one element, whose namespace must be declared on it.
func (s *Session) Send(el []byte) error { return s.wire.send(el) }

// Flush waits until all that was sent has left: over BOSH, what is said while both
// connections are in use waits, and then goes together.
func (s *Session) Flush() {
	if b, ok := s.wire.(*bosh); ok {
		b.flush()
	}
}

// Stall makes the client read nothing more, except what a read that waits already gets.
func (s *Session) Stall() { s.gate.closed.Store(true) }

// Cut cuts the connection, once.
func (s *Session) Cut() error {
	if s.leaving.Swap(true) {
		return nil
	}
	close(s.gate.shut)
	return s.wire.close()
}

// gate is shut before what a client does not want to read.
type gate struct {
	closed atomic.Bool
	shut   chan struct{} // closed when the connection is
}

type gated struct {
	net.Conn
	gate *gate
}

// Read implements net.Conn.
func (g gated) Read(p []byte) (int, error) {
	if g.gate.closed.Load() {
		<-g.gate.shut
		return 0, net.ErrClosed
	}
	return g.Conn.Read(p)
}

// Ended is closed when a session that was started ends.
func (s *Session) Ended() <-chan struct{} { return s.ended }

// Err is why a session ended that nobody cut.
func (s *Session) Err() error {
	<-s.ended
	return s.err
}

// Crowd logs users in, some at a time, and returns them in order, or what went wrong
// first.
func Crowd(ctx context.Context, first, n, atOnce int, o Options, name func(i int) string) ([]*Session, error) {
	all := make([]*Session, n)
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var g sync.WaitGroup
	for range atOnce {
		g.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && failed.Load() == nil; i = int(next.Add(1)) - 1 {
				mine := o
				mine.Source = Source(first + i)
				s, err := Login(ctx, mine, name(first+i))
				if err != nil {
					failed.CompareAndSwap(nil, &err)
					return
				}
				all[i] = s
			}
		})
	}
	g.Wait()
	if err := failed.Load(); err != nil {
		for _, s := range all {
			if s != nil {
				*err = errors.Join(*err, s.Cut())
			}
		}
		return nil, *err
	}
	return all, nil
}
