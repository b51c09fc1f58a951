package servertest

import (
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"github.com/beevik/etree"

	"rollcall/internal/jid"
	"rollcall/internal/ns"
	"rollcall/internal/transcript"
	"rollcall/server"
)

// Client is the other end of one connection. It belongs to the test's
// goroutine; what it cannot do fails the test at once.
type Client struct {
	// JID is the full address once a resource is bound.
	JID jid.JID

	s       *Server
	session *server.Session
	conn    *transport
	asked   int
}

// Dial opens a secure connection and sends nothing.
func (s *Server) Dial() *Client {
	return s.DialWith(server.Info{Kind: "test", Remote: "test", Secure: true}, server.Listener{})
}

// DialWith opens a connection of another kind.
func (s *Server) DialWith(info server.Info, l server.Listener) *Client {
	conn := &transport{info: info, news: make(chan struct{}, 1)}
	return &Client{s: s, conn: conn, session: s.NewSession(conn, &l)}
}

// Login opens a stream, authenticates and binds. address is user/resource, or
// user@host/resource, or either without a resource, which the server makes then.
// Afterwards {user} and {user/resource}, as written here, stand for the bound
// address in what is expected; {user} is the latest one.
func (s *Server) Login(address string) *Client {
	s.t.Helper()
	bare, resource, _ := strings.Cut(address, "/")
	user, host, ok := strings.Cut(bare, "@")
	if !ok {
		host = s.hosts[0]
	}
	c := s.Dial()
	c.Open(host)
	c.Authenticate(user, Password)
	c.Open(host)
	c.Bind(resource)
	s.vars[user] = c.JID.String()
	s.addresses["{"+address+"}"] = escape(c.JID.String())
	return c
}

// Online logs in and sends initial presence, whose echo it takes.
func (s *Server) Online(address string) *Client {
	s.t.Helper()
	c := s.Login(address)
	c.Send("<presence/>")
	echo := fmt.Sprintf("<presence from='%s' to='%[1]s'>...</presence>", c.JID)
	if _, err := s.compare(echo, c.Next()); err != nil {
		s.t.Fatalf("%s: the echo of initial presence: %v", c, err)
	}
	return c
}

// String names the client in messages.
func (c *Client) String() string {
	if c.JID.IsZero() {
		return "client " + c.session.Conn()
	}
	return c.JID.String()
}

// Session is the server's end.
func (c *Client) Session() *server.Session { return c.session }

// Open sends a stream header and takes the features.
func (c *Client) Open(host string) *etree.Element {
	c.s.t.Helper()
	c.OpenHeader(server.StreamHeader{To: host, Version: "1.0"})
	return c.Next()
}

// OpenHeader sends any stream header.
func (c *Client) OpenHeader(h server.StreamHeader) server.Outcome {
	turn := c.session.Begin()
	defer turn.End()
	return turn.Open(h)
}

// Headers are the stream headers that the server sent.
func (c *Client) Headers() []server.StreamHeader {
	c.conn.mu.Lock()
	defer c.conn.mu.Unlock()
	return append([]server.StreamHeader(nil), c.conn.headers...)
}

// Authenticate sends a PLAIN authentication and takes its success.
func (c *Client) Authenticate(user, password string) {
	c.s.t.Helper()
	message := base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))
	c.Send("<auth xmlns='" + ns.SASL + "' mechanism='PLAIN'>" + message + "</auth>")
	c.Expect("<success xmlns='" + ns.SASL + "'/>")
}

// Bind asks for a resource, or lets the server make one, and sets JID.
func (c *Client) Bind(resource string) {
	c.s.t.Helper()
	if resource != "" {
		resource = "<resource>" + escape(resource) + "</resource>"
	}
	answer := c.Ask("set", "", "<bind xmlns='"+ns.Bind+"'>"+resource+"</bind>")
	bound := answer.FindElement("./bind/jid")
	if bound == nil {
		c.s.t.Fatalf("%s: no address was bound: %s", c, xml(answer))
	}
	full, err := jid.Parse(bound.Text())
	if err != nil {
		c.s.t.Fatalf("%s: bound: %v", c, err)
	}
	c.JID = full
}

// Send sends complete elements, each in a turn of its own.
func (c *Client) Send(elements string) {
	c.s.t.Helper()
	for el, err := range scan([]byte(elements)) {
		if err != nil {
			c.s.t.Fatalf("%s sends what is no XML: %v: %s", c, err, elements)
		}
		turn := c.session.Begin()
		turn.Element(el)
		turn.End()
	}
}

// Ask sends an iq request and returns its answer, result or error. What else
// arrives stays where it is. An empty to addresses nobody.
func (c *Client) Ask(typ, to, payload string) *etree.Element {
	c.s.t.Helper()
	c.asked++
	id := fmt.Sprintf("ask-%d", c.asked)
	if to != "" {
		to = " to='" + escape(to) + "'"
	}
	c.Send("<iq type='" + typ + "' id='" + id + "'" + to + ">" + payload + "</iq>")
	return c.take("an answer", func(el *etree.Element) bool {
		answer := el.SelectAttrValue("type", "")
		return el.Tag == "iq" && el.SelectAttrValue("id", "") == id && (answer == "result" || answer == "error")
	})
}

// Next takes the next element.
func (c *Client) Next() *etree.Element {
	c.s.t.Helper()
	return c.take("an element", func(*etree.Element) bool { return true })
}

// Expect takes the next element and compares it. Holes that it captures keep
// their values for every later Expect on this server.
func (c *Client) Expect(want string) *etree.Element {
	c.s.t.Helper()
	got := c.Next()
	c.Match(want, got)
	return got
}

// ExpectAnyOrder takes as many elements as are named and compares them, in
// whatever order they came.
func (c *Client) ExpectAnyOrder(want ...string) {
	c.s.t.Helper()
	for range want {
		got := c.Next()
		var first error
		matched := false
		for i, w := range want {
			vars, err := c.s.compare(w, got)
			if err == nil {
				c.s.vars, matched = vars, true
				want = append(append([]string(nil), want[:i]...), want[i+1:]...)
				break
			}
			if first == nil {
				first = err
			}
		}
		if !matched {
			c.s.t.Fatalf("%s: %v\ngot %s\nwant one of\n%s", c, first, xml(got), strings.Join(want, "\n"))
		}
	}
}

// Match compares an element that was taken before.
func (c *Client) Match(want string, got *etree.Element) {
	c.s.t.Helper()
	vars, err := c.s.compare(want, got)
	if err != nil {
		c.s.t.Fatalf("%s: %v\ngot  %s\nwant %s", c, err, xml(got), want)
	}
	c.s.vars = vars
}

// ExpectNothing fails the test when something arrived.
func (c *Client) ExpectNothing() {
	c.s.t.Helper()
	c.conn.mu.Lock()
	defer c.conn.mu.Unlock()
	for _, el := range c.conn.arrived {
		c.s.t.Errorf("%s got %s", c, xml(el))
	}
	if c.conn.broken != nil {
		c.s.t.Errorf("%s: %v", c, c.conn.broken)
	}
	if len(c.conn.arrived) > 0 || c.conn.broken != nil {
		c.s.t.FailNow()
	}
}

// Drain takes everything that arrived so far.
func (c *Client) Drain() []*etree.Element {
	c.conn.mu.Lock()
	defer c.conn.mu.Unlock()
	all := c.conn.arrived
	c.conn.arrived = nil
	return all
}

// ExpectClosed waits until the server closes the connection, takes what arrived
// before as given, and checks the reason.
func (c *Client) ExpectClosed(reason server.Reason) server.Close {
	c.s.t.Helper()
	var ended *server.Close
	c.wait("the end of the stream", func() bool {
		ended = c.conn.close
		return ended != nil
	})
	if ended.Reason != reason {
		c.s.t.Fatalf("%s was closed for %s, want %s (%v)", c, ended.Reason, reason, ended.Cause)
	}
	return *ended
}

// Closed reports whether the server closed the connection.
func (c *Client) Closed() bool {
	c.conn.mu.Lock()
	defer c.conn.mu.Unlock()
	return c.conn.close != nil
}

// Hangup ends the stream politely.
func (c *Client) Hangup() {
	turn := c.session.Begin()
	defer turn.End()
	turn.Hangup()
}

// Drop cuts the cable, and the transport notices at once.
func (c *Client) Drop() {
	turn := c.session.Begin()
	defer turn.End()
	turn.Close(server.Close{Reason: server.ReasonLost})
}

// Stall makes the client read nothing more: its outbox is full from now on.
func (c *Client) Stall() {
	c.conn.mu.Lock()
	defer c.conn.mu.Unlock()
	c.conn.full = true
}

// Resume makes the client read again that was made to stall.
func (c *Client) Resume() {
	c.conn.mu.Lock()
	defer c.conn.mu.Unlock()
	c.conn.full = false
}

// Discard makes the client forget what arrives from now on, unread: for
// benchmarks.
func (c *Client) Discard() {
	c.conn.mu.Lock()
	defer c.conn.mu.Unlock()
	c.conn.discard = true
}

// take waits for an element that fits and takes it.
func (c *Client) take(what string, fits func(*etree.Element) bool) *etree.Element {
	c.s.t.Helper()
	var found *etree.Element
	c.wait(what, func() bool {
		for i, el := range c.conn.arrived {
			if fits(el) {
				found = el
				c.conn.arrived = append(c.conn.arrived[:i:i], c.conn.arrived[i+1:]...)
				return true
			}
		}
		return false
	})
	return found
}

// wait waits until done, which is called with the connection locked.
func (c *Client) wait(what string, done func() bool) {
	c.s.t.Helper()
	timeout := time.NewTimer(c.s.patience)
	defer timeout.Stop()
	for {
		if c.check(done) {
			return
		}
		select {
		case <-c.conn.news:
		case <-timeout.C:
			c.s.t.Fatalf("%s: %s did not arrive", c, what)
		}
	}
}

// check calls done and fails the test when what it waits for can never come.
func (c *Client) check(done func() bool) bool {
	c.s.t.Helper()
	c.conn.mu.Lock()
	defer c.conn.mu.Unlock()
	switch {
	case c.conn.broken != nil:
		c.s.t.Fatalf("%s: %v", c, c.conn.broken)
	case done():
		return true
	case c.conn.close != nil:
		c.s.t.Fatalf("%s: the server closed the connection: %s %s", c, c.conn.close.Reason, c.conn.close.Condition())
	}
	return false
}

// compare compares by meaning; want is in jabber:client unless it says otherwise.
func (s *Server) compare(want string, got *etree.Element) (transcript.Vars, error) {
	for name, address := range s.addresses {
		want = strings.ReplaceAll(want, name, address)
	}
	el, err := parse(want)
	if err != nil {
		return nil, err
	}
	if el.Space == "" && el.SelectAttr("xmlns") == nil {
		el.CreateAttr("xmlns", ns.Client)
	}
	return transcript.Compare(el, got, s.vars)
}
