package chaos

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"
	"mellium.im/sasl"

	"rollcall/conf"
	"rollcall/internal/ns"
	"rollcall/test/chaos/boshclient"
)

// rawSession is a BOSH session on two connections that stay open.
type rawSession struct {
	t     *testing.T
	conns [2]net.Conn
	from  [2]*bufio.Reader
	sid   string
	rid   int64 // of the next request
}

// answerTime is how long an answer may take that is due at once. The requests are
// held for much longer, so that one that waits for its time does not pass.
const answerTime = 10 * time.Second

func dialTwice(t *testing.T, address string) *rawSession {
	t.Helper()
	s := &rawSession{t: t, rid: 1000}
	for i := range s.conns {
		nc, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { nc.Close() })
		s.conns[i], s.from[i] = nc, bufio.NewReader(nc)
	}
	return s
}

// post is the bytes of the next request.
func (s *rawSession) post(attrs, payload string) []byte {
	body := fmt.Sprintf("<body xmlns='%s' xmlns:xmpp='%s' rid='%d' %s>%s</body>", ns.HTTPBind, ns.XBOSH, s.rid, attrs, payload)
	if s.sid != "" {
		body = strings.Replace(body, " rid=", " sid='"+s.sid+"' rid=", 1)
	}
	s.rid++
	return fmt.Appendf(nil, "POST /http-bind HTTP/1.1\r\nHost: %s\r\nContent-Type: text/xml\r\nContent-Length: %d\r\n\r\n%s",
		host, len(body), body)
}

func (s *rawSession) write(i int, raw []byte) error {
	_, err := s.conns[i].Write(raw)
	return err
}

// read reads the answer that is due on a connection.
func (s *rawSession) read(i int) (*etree.Element, error) {
	if err := s.conns[i].SetReadDeadline(time.Now().Add(answerTime)); err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(s.from[i], nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	d := etree.NewDocument()
	if err := d.ReadFromBytes(raw); err != nil || d.Root() == nil || resp.StatusCode != http.StatusOK ||
		d.Root().SelectAttr("type") != nil {
		return nil, fmt.Errorf("%s: %q (%w)", resp.Status, raw, err)
	}
	return d.Root(), nil
}

// ask sends one request and waits for its answer, which has what is wanted in it.
func (s *rawSession) ask(attrs, payload, want string) *etree.Element {
	s.t.Helper()
	if err := s.write(0, s.post(attrs, payload)); err != nil {
		s.t.Fatal(err)
	}
	b, err := s.read(0)
	if err != nil {
		s.t.Fatal(err)
	}
	if b.SelectElement(want) == nil {
		s.t.Fatalf("no %s in %v", want, b.ChildElements())
	}
	return b
}

func (s *rawSession) login(user string) {
	s.t.Helper()
	b := s.ask("to='"+host+"' wait='50' hold='1' ver='1.6' xmpp:version='1.0'", "", "features")
	s.sid = b.SelectAttrValue("sid", "")
	plain := base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))
	s.ask("", "<auth xmlns='"+ns.SASL+"' mechanism='PLAIN'>"+plain+"</auth>", "success")
	s.ask("to='"+host+"' xmpp:restart='true'", "", "features")
	s.ask("", "<iq xmlns='jabber:client' type='set' id='bind'><bind xmlns='"+ns.Bind+"'><resource>web</resource></bind></iq>", "iq")
}

// both sends two requests at the same time, or as near as one writer gets to that.
func (s *rawSession) both(round int, first, second []byte) error {
	a := round % 2 // which connection has the first request
	switch round / 2 % 3 {
	case 0: // the later one goes first
		if err := s.write(1-a, second); err != nil {
			return err
		}
		return s.write(a, first)
	case 1:
		if err := s.write(a, first); err != nil {
			return err
		}
		return s.write(1-a, second)
	}
	start, done := make(chan struct{}), make(chan error, 2)
	go func() { <-start; done <- s.write(a, first) }()
	go func() { <-start; done <- s.write(1-a, second) }()
	close(start)
	err := <-done
	if err2 := <-done; err == nil {
		err = err2
	}
	return err
}

// TestTwoRequestsAtOnce: two requests of one session arrive at the same moment on
// two connections, in either order; each has messages in it, and others come for
// the session meanwhile. Where others lose messages and stall, everything comes,
// once, in order and at once.
func TestTwoRequestsAtOnce(t *testing.T) {
	h := start(t, 2, func(c *conf.Config) {
		// In each round somebody waits for that.
		c.BOSH.Coalesce = time.Millisecond
	})
	s := dialTwice(t, h.http())
	s.login(name(0))
	l := newLedger()
	pairs := *pairsFlag
	l.open(name(0), name(1), 2*pairs, 2*pairs) // never waits for credit
	l.open(name(1), name(0), 2*pairs, 2*pairs)
	drain(l)
	ctx, cancel := context.WithTimeout(t.Context(), stalled)
	defer cancel()
	k := &talker{user: name(1), requests: newTail(40)}
	var err error
	k.Client, err = boshclient.Login(ctx, boshclient.Config{
		URL: "http://" + h.http() + "/http-bind", Host: host, User: k.user, Password: password, Resource: "web",
		Mechanism: sasl.Plain, Wait: 50 * time.Second, Timeout: time.Minute, Backoff: time.Second, Batch: 3, Hold: 1,
		Rand: rand.New(rand.NewPCG(*seedFlag, 1)), Receive: k.receive(l), Log: k.logRequest,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer k.Abandon()
	r := &rounds{rawSession: s, k: k, l: l, rnd: rand.New(rand.NewPCG(*seedFlag, 2))}
	began := time.Now()
	for round := range pairs {
		if err := r.run(round); err != nil {
			t.Fatalf("seed %d, round %d: %v; requests of %s:\n%s", *seedFlag, round, err, k.user, k.requests)
		}
	}
	took := time.Since(began)
	r.rest(t, 2*pairs)
	select {
	case <-l.all:
	case <-time.After(answerTime):
	}
	lost, duplicated, disordered := l.totals()
	if lost+duplicated+disordered+len(l.faults) > 0 {
		t.Errorf("seed %d: %d lost, %d duplicated, %d out of order: %.20q", *seedFlag, lost, duplicated, disordered, l.faults)
	}
	t.Logf("%d pairs of requests in %v, the slowest in %v; %d messages each way, %d lost, %d duplicated, %d out of order",
		pairs, took.Round(time.Millisecond), r.slowest.Round(time.Microsecond), 2*pairs, lost, duplicated, disordered)
}

// drain takes the credits of a ledger that are not used.
func drain(l *ledger) {
	for _, a := range l.accounts {
		for range cap(a.credit) {
			<-a.credit
		}
	}
}

// rounds are pairs of requests of user00, to whom user01 talks.
type rounds struct {
	*rawSession
	k       *talker
	l       *ledger
	rnd     *rand.Rand
	sent    int // messages of user01
	slowest time.Duration
}

func (r *rounds) said(n int) string { return chat(name(1)+"@"+host+"/web", note(name(0), name(1), n)) }

// nudge has user01 say something, so that a request that is held gets its answer.
func (r *rounds) nudge() error {
	r.sent++
	return r.k.Send(chat(name(0)+"@"+host+"/web", note(name(1), name(0), r.sent-1)))
}

func (r *rounds) run(round int) error {
	began := time.Now()
	first, second := r.post("", r.said(2*round)), r.post("", r.said(2*round+1))
	early := r.rnd.IntN(2) == 0
	if early {
		// A message comes while the requests do.
		if err := r.nudge(); err != nil {
			return err
		}
	}
	if err := r.both(round, first, second); err != nil {
		return err
	}
	// The second request lets the first one go, if nothing else does.
	if err := r.take(round % 2); err != nil {
		return fmt.Errorf("the first request: %w", err)
	}
	if err := r.nudge(); err != nil {
		return err
	}
	if err := r.take(1 - round%2); err != nil {
		return fmt.Errorf("the second request: %w", err)
	}
	r.slowest = max(r.slowest, time.Since(began))
	return nil
}

// take reads an answer.
func (r *rounds) take(i int) error {
	b, err := r.read(i)
	if err != nil {
		return err
	}
	for _, m := range b.SelectElements("message") {
		r.l.receive(name(0), m.SelectElement("body").Text())
	}
	return nil
}

// rest has user01 say what is left of total, and fetches what waits.
func (r *rounds) rest(t *testing.T, total int) {
	for r.sent < total {
		if err := r.nudge(); err != nil {
			t.Fatal(err)
		}
	}
	a := r.l.accounts[pair(name(1), name(0))]
	for a.last < total-1 {
		if err := r.write(0, r.post("", "")); err != nil {
			t.Fatal(err)
		}
		if err := r.take(0); err != nil {
			t.Fatalf("seed %d: the rest: %v", *seedFlag, err)
		}
	}
}
