package transcript

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"rollcall/internal/ns"
	"rollcall/internal/testkit"
)

// fakeServer is a peer with just enough of XMPP to play against: PLAIN, bind,
// ping, messages to full JIDs, and presence from everybody to everybody.
type fakeServer struct {
	cert tls.Certificate
	tap  func(Event)

	mu       sync.Mutex
	sessions map[string]*fakeSession // bound
	made     int
}

// fakeSession is one stream. write sends text; hangup ends the stream.
type fakeSession struct {
	srv    *fakeServer
	conn   string
	user   string
	full   string
	write  func(text string)
	hangup func()
}

func newFakeServer(t *testing.T, tap func(Event)) *fakeServer {
	t.Helper()
	c, err := testkit.Certificate("localhost")
	if err != nil {
		t.Fatal(err)
	}
	if tap == nil {
		tap = func(Event) {}
	}
	return &fakeServer{
		cert: c.Certificates[0], tap: tap,
		sessions: make(map[string]*fakeSession),
	}
}

func (srv *fakeServer) session() *fakeSession {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	srv.made++
	return &fakeSession{srv: srv, conn: fmt.Sprint("c", srv.made)}
}

func (s *fakeSession) event(kind Kind, data string) {
	s.srv.tap(Event{Conn: s.conn, Actor: s.full, Kind: kind, Data: []byte(data)})
}

func (s *fakeSession) send(text string) {
	s.event(Out, text)
	s.write(text)
}

func (s *fakeSession) features() string {
	inner := "<bind xmlns='" + ns.Bind + "'/>"
	if s.user == "" {
		inner = "<mechanisms xmlns='" + ns.SASL + "'><mechanism>PLAIN</mechanism></mechanisms>"
	}
	return "<stream:features xmlns:stream='" + ns.Stream + "'>" + inner + "</stream:features>"
}

// element handles one element; the caller holds the server's lock.
func (s *fakeSession) element(text string) {
	s.event(In, text)
	e, err := parseElement(text, streamScope())
	if err != nil {
		s.fail("not-well-formed")
		return
	}
	id, to := e.SelectAttrValue("id", ""), e.SelectAttrValue("to", "")
	switch {
	case is(e, ns.SASL, "auth"):
		secret, err := decodeSASL(e.Text())
		parts := bytes.Split(secret, []byte{0})
		if err != nil || len(parts) != 3 || string(parts[2]) != "secret" {
			s.send("<failure xmlns='" + ns.SASL + "'><not-authorized/></failure>")
			return
		}
		s.user = string(parts[1])
		s.send("<success xmlns='" + ns.SASL + "'/>")
	case s.user == "":
		s.fail("not-authorized")
	case child(e, ns.Bind, "bind") != nil:
		resource := "made-" + rand.Text()
		if r := child(child(e, ns.Bind, "bind"), ns.Bind, "resource"); r != nil {
			resource = r.Text()
		}
		s.full = s.user + "@localhost/" + resource
		if old := s.srv.sessions[s.full]; old != nil {
			old.fail("conflict")
		}
		s.srv.sessions[s.full] = s
		s.send("<iq xmlns='jabber:client' type='result' id='" + id + "'><bind xmlns='" + ns.Bind + "'><jid>" + s.full + "</jid></bind></iq>")
	case child(e, ns.Ping, "ping") != nil:
		s.send("<iq xmlns='jabber:client' type='result' id='" + id + "' from='localhost' to='" + s.full + "'/>")
	case e.Tag == "presence":
		s.broadcast("<presence xmlns='jabber:client' from='" + s.full + "' to='%s'><x xmlns='" + ns.Project + "' rev='" + rand.Text() + "'/></presence>")
	case e.Tag == "message" && s.srv.sessions[to] != nil:
		e.CreateAttr("from", s.full)
		s.srv.sessions[to].send(Text(e))
	default:
		s.send("<" + e.Tag + " xmlns='jabber:client' type='error' id='" + id + "' from='" + escape(to) + "' to='" + s.full + "'><error type='cancel'><service-unavailable xmlns='" + ns.Stanzas + "'/></error></" + e.Tag + ">")
	}
}

func (s *fakeSession) broadcast(format string) {
	for full, other := range s.srv.sessions {
		other.send(strings.Replace(format, "%s", full, 1))
	}
}

func (s *fakeSession) fail(condition string) {
	s.write("<stream:error xmlns:stream='" + ns.Stream + "'><" + condition + " xmlns='" + ns.Streams + "'/></stream:error>")
	s.srv.tap(Event{Conn: s.conn, Actor: s.full, Kind: Close, Condition: condition})
	s.gone()
	s.hangup()
}

// gone takes the session out and tells the others.
func (s *fakeSession) gone() {
	if s.full == "" || s.srv.sessions[s.full] != s {
		return
	}
	delete(s.srv.sessions, s.full)
	s.broadcast("<presence xmlns='jabber:client' type='unavailable' from='" + s.full + "' to='%s'/>")
}

// listen serves TCP: with STARTTLS, direct TLS or neither.
func (srv *fakeServer) listen(t *testing.T, startTLS, direct bool) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				if direct {
					conn = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{srv.cert}, NextProtos: []string{"xmpp-client"}})
				}
				srv.serve(t, conn, startTLS)
			})
		}
	})
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
	})
	return l.Addr().String()
}

// serve is the life of a TCP connection.
func (srv *fakeServer) serve(t *testing.T, conn net.Conn, startTLS bool) {
	s := srv.session()
	s.event(Connect, "")
	split := &splitter{r: conn}
	var writing sync.Mutex
	s.write = func(text string) {
		writing.Lock()
		defer writing.Unlock()
		if _, err := io.WriteString(conn, text); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Logf("fake server: %v", err)
		}
	}
	s.hangup = func() {
		s.write("</stream:stream>")
		if err := conn.Close(); err != nil {
			t.Logf("fake server: %v", err)
		}
	}
	for {
		kind, text, err := split.next()
		srv.mu.Lock()
		switch {
		case errors.Is(err, errBadXML):
			s.event(In, string(split.buf))
			s.fail("not-well-formed")
		case err != nil:
			if srv.sessions[s.full] == s {
				s.event(Lost, "")
			}
			s.gone()
			if err := conn.Close(); err != nil {
				t.Logf("fake server: %v", err)
			}
		case kind == endPiece:
			s.event(Close, "")
			s.gone()
			s.hangup()
		case kind == headerPiece:
			s.write("<?xml version='1.0'?><stream:stream from='localhost' id='" + rand.Text() + "' version='1.0' xmlns='jabber:client' xmlns:stream='" + ns.Stream + "'>")
			switch {
			case !strings.Contains(text, "localhost"):
				s.fail("host-unknown")
			case startTLS:
				s.write("<stream:features><starttls xmlns='" + ns.TLS + "'><required/></starttls></stream:features>")
			default:
				s.write(s.features())
			}
		case strings.HasPrefix(text, "<starttls"):
			s.write("<proceed xmlns='" + ns.TLS + "'/>")
			conn = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{srv.cert}})
			split, startTLS = &splitter{r: conn}, false
		default:
			s.element(text)
		}
		srv.mu.Unlock()
		if err != nil || kind == endPiece {
			return
		}
	}
}

// fakeBOSH is a session's window: answers go out in the order of the requests,
// the older of two requests never waits.
type fakeBOSH struct {
	session *fakeSession
	due     int64 // rid to be worked off next
	queue   []string
	ended   bool
	held    int // requests being answered
	idle    *time.Timer
	turn    *sync.Cond
}

// inactivity is how long a fake session lives without a request.
const inactivity = 300 * time.Millisecond

// bosh serves BOSH and returns the URL.
func (srv *fakeServer) bosh(t *testing.T) string {
	t.Helper()
	windows := make(map[string]*fakeBOSH)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		srv.mu.Lock()
		defer srv.mu.Unlock()
		body, err := parseBody(string(text))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		var rid int64
		if _, err := fmt.Sscan(body.SelectAttrValue("rid", ""), &rid); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		window := windows[body.SelectAttrValue("sid", "")]
		if window == nil {
			s := &fakeSession{srv: srv, conn: fmt.Sprint("b", len(windows))}
			s.event(Connect, "")
			window = &fakeBOSH{session: s, due: rid, turn: sync.NewCond(&srv.mu)}
			s.write = func(text string) { window.queue = append(window.queue, text); window.turn.Broadcast() }
			s.hangup = func() { window.ended = true; window.turn.Broadcast() }
			window.idle = time.AfterFunc(time.Hour, func() {
				srv.mu.Lock()
				defer srv.mu.Unlock()
				if window.held == 0 && !window.ended {
					s.event(Lost, "")
					s.gone()
					window.ended = true
				}
			})
			windows[s.conn] = window
		}
		stop := func() bool { return r.Context().Err() != nil }
		defer context.AfterFunc(r.Context(), func() {
			srv.mu.Lock()
			defer srv.mu.Unlock()
			window.turn.Broadcast()
		})()
		answer := window.request(rid, string(text), stop)
		if _, err := io.WriteString(w, answer); err != nil {
			t.Logf("fake server: %v", err)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// request works off one body and returns the answer; the lock is held but while
// it waits.
func (b *fakeBOSH) request(rid int64, text string, stop func() bool) string {
	b.held++
	b.idle.Stop()
	defer func() {
		if b.held--; b.held == 0 {
			b.idle.Reset(inactivity)
		}
	}()
	for b.due != rid && !b.ended && !stop() {
		b.turn.Wait()
	}
	b.due++
	b.turn.Broadcast()
	body, err := parseBody(text)
	if err != nil {
		return ""
	}
	attrs := ""
	switch {
	case body.SelectAttrValue("sid", "") == "":
		attrs = " sid='" + b.session.conn + "' requests='2' wait='10' hold='1'"
		b.queue = append(b.queue, b.session.features())
	case body.SelectAttrValue("restart", "") == "true":
		b.queue = append(b.queue, b.session.features())
	case body.SelectAttrValue("type", "") == "terminate":
		b.session.event(Close, "")
		b.session.gone()
		b.ended = true
	}
	for _, e := range body.ChildElements() {
		b.session.element(Text(e))
	}
	for len(b.queue) == 0 && b.due == rid+1 && !b.ended && !stop() {
		b.turn.Wait()
	}
	payload := strings.Join(b.queue, "")
	b.queue = nil
	if b.ended {
		attrs += " type='terminate'"
		if strings.Contains(payload, "<stream:error") {
			attrs += " condition='remote-stream-error'"
		}
	}
	return "<body xmlns='" + ns.HTTPBind + "'" + attrs + ">" + payload + "</body>"
}
