// Package boshclient is a BOSH client (XEP-0124, XEP-0206) that takes care: what is
// not answered is asked again with the same request, and answers are taken in the
// order of requests, so that nothing is lost and nothing comes twice as long as the
// server keeps to the rules.
package boshclient

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/beevik/etree"
	"mellium.im/sasl"

	"rollcall/internal/ns"
)

// Config is who logs in, and how.
type Config struct {
	URL                            string
	Host, User, Password, Resource string
	Mechanism                      sasl.Mechanism
	Wait                           time.Duration // whole seconds, for which the server may hold a request
	// Timeout is how long an answer is awaited before the request is sent again;
	// longer than Wait.
	Timeout time.Duration
	// Backoff is the longest time between the second failure of a request and its
	// third attempt, and so on; the second attempt comes at once.
	Backoff time.Duration
	Rand    *rand.Rand // used by Login only
	Hold    int        // how many requests the server may hold
	Ack     bool       // tell which answers came (XEP-0124 section 9)
	Keys    bool       // protect the session (XEP-0124 section 15)
	// Batch is how many stanzas a request carries at most.
	Batch int
	// Receive takes every stanza, in order. It must not wait for the client.
	Receive func(*etree.Element)
	// Log, if not nil, is told of every attempt of every request.
	Log func(user string, rid int64, attempt int, sent, got string, err error)
}

// Stats count what a client did.
type Stats struct {
	Requests int64 // with a rid each
	Retries  int64 // further attempts
	Timeouts int64 // attempts that took too long
}

// Client is a session. Its methods are safe for concurrent use.
type Client struct {
	cfg     Config
	http    *http.Client
	ctx     context.Context // of the session's requests
	cancel  context.CancelFunc
	out     chan string
	answers chan answer
	ready   chan struct{} // closed when the resource is bound
	done    chan struct{} // closed when the session is over, after err is set
	err     error

	requests, retries, timeouts atomic.Int64

	// What follows belongs to run.
	sid     string
	rid     int64 // of the next request
	due     int64 // of the answer to be taken next
	window  int64 // how many requests may be under way
	early   map[int64]answer
	queue   []string
	restart bool // the next request restarts the stream
	ending  bool // the next request ends the session
	ended   bool // it is under way
	sasl    *sasl.Negotiator
	keys    *keys // nil for none
}

// answer is a body, or why there will be none.
type answer struct {
	rid  int64
	body *etree.Element
	err  error
}

// Login begins a session and binds the resource.
func Login(ctx context.Context, c Config) (*Client, error) {
	client := &Client{
		cfg: c, out: make(chan string), answers: make(chan answer), early: make(map[int64]answer),
		ready: make(chan struct{}), done: make(chan struct{}), window: 1,
		rid: 1 + c.Rand.Int64N(1<<32),
		http: &http.Client{Transport: &http.Transport{
			DisableCompression: true, MaxIdleConnsPerHost: 2,
		}},
	}
	client.due = client.rid
	if c.Keys {
		client.keys = &keys{rnd: rand.New(rand.NewPCG(c.Rand.Uint64(), c.Rand.Uint64()))}
	}
	negotiator := sasl.NewClient(c.Mechanism, sasl.Credentials(func() (username, password, identity []byte) {
		return []byte(c.User), []byte(c.Password), nil
	}))
	client.sasl = negotiator
	client.ctx, client.cancel = context.WithCancel(context.Background())
	go client.run()
	select {
	case <-client.ready:
		return client, nil
	case <-client.done:
		return nil, client.err
	case <-ctx.Done():
		client.cancel()
		<-client.done
		return nil, fmt.Errorf("%s: logging in: %w", c.User, ctx.Err())
	}
}

// Send sends a stanza, with its namespace. It must not be called by Receive.
func (c *Client) Send(stanza string) error {
	select {
	case c.out <- stanza:
		return nil
	case <-c.done:
		return c.err
	}
}

// Done is closed when the session is over; Err then tells why.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err is why the session is over: ErrEnded after a polite end.
func (c *Client) Err() error { return c.err }

// ErrEnded says that the session ended as the client wanted.
var ErrEnded = errors.New("the session ended")

// endMark is what Terminate puts into the queue.
const endMark = ""

// Terminate ends the session, after all that was sent before, and waits for the
// server's word on that.
func (c *Client) Terminate(ctx context.Context) error {
	if err := c.Send(endMark); err != nil {
		return err
	}
	select {
	case <-c.done:
		if errors.Is(c.err, ErrEnded) {
			return nil
		}
		return c.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Abandon stops the client at once, without a word.
func (c *Client) Abandon() {
	c.cancel()
	<-c.done
}

// Stats counts what the client did until now.
func (c *Client) Stats() Stats {
	return Stats{c.requests.Load(), c.retries.Load(), c.timeouts.Load()}
}

// run owns the session.
func (c *Client) run() {
	defer close(c.done)
	defer c.http.CloseIdleConnections()
	defer c.cancel()
	c.post(fmt.Sprintf("to='%s' xml:lang='en' wait='%d' hold='%d' content='text/xml; charset=utf-8' ver='1.11' xmpp:version='1.0' xmlns:xmpp='%s'",
		c.cfg.Host, c.cfg.Wait/time.Second, c.cfg.Hold, ns.XBOSH), "")
	for c.err == nil {
		c.postAll()
		select {
		case s := <-c.out:
			if c.ending = c.ending || s == endMark; s != endMark {
				c.queue = append(c.queue, s)
			}
		case a := <-c.answers:
			c.take(a)
		case <-c.ctx.Done():
			c.err = c.ctx.Err()
		}
	}
}

// postAll sends what may be sent, and keeps one request at the server.
func (c *Client) postAll() {
	for c.sid != "" && !c.ended && c.rid-c.due < c.window {
		switch {
		case c.restart:
			c.restart = false
			c.post(fmt.Sprintf("to='%s' xml:lang='en' xmpp:restart='true' xmlns:xmpp='%s'", c.cfg.Host, ns.XBOSH), "")
		case len(c.queue) > 0:
			n := min(max(c.cfg.Batch, 1), len(c.queue))
			c.post("", strings.Join(c.queue[:n], ""))
			c.queue = c.queue[n:]
		case c.ending:
			c.ended = true
			c.post("type='terminate'", "<presence xmlns='jabber:client' type='unavailable'/>")
		case c.rid == c.due:
			c.post("", "")
		default:
			return
		}
	}
}

// post sends a body with the next rid, on a goroutine of its own.
func (c *Client) post(attrs, payload string) {
	rid := c.rid
	c.rid++
	body := "<body xmlns='" + ns.HTTPBind + "' rid='" + strconv.FormatInt(rid, 10) + "'"
	if c.sid != "" {
		body += " sid='" + c.sid + "'"
	}
	if c.cfg.Ack {
		body += c.ack(rid)
	}
	if c.keys != nil {
		body += c.keys.attrs()
	}
	if body += " " + attrs; payload == "" {
		body += "/>"
	} else {
		body += ">" + payload + "</body>"
	}
	c.requests.Add(1)
	rnd := rand.New(rand.NewPCG(uint64(rid), 1))
	go func() {
		a := c.insist(rid, body, rnd)
		select {
		case c.answers <- a:
		case <-c.done:
		}
	}()
}

// ack says which answers have come, unless that are all before rid (XEP-0124 section
// 9.1); the first request says that the client will.
func (c *Client) ack(rid int64) string {
	switch {
	case c.sid == "":
		return " ack='1'"
	case c.due == rid:
		return ""
	}
	return " ack='" + strconv.FormatInt(c.due-1, 10) + "'"
}

// take takes the answers whose turn has come.
func (c *Client) take(a answer) {
	c.early[a.rid] = a
	for c.err == nil {
		a, ok := c.early[c.due]
		if !ok {
			return
		}
		delete(c.early, c.due)
		c.due++
		if c.err = a.err; c.err == nil {
			c.read(a.body)
		}
	}
}

// read reads a body.
func (c *Client) read(b *etree.Element) {
	if sid := b.SelectAttrValue("sid", ""); c.sid == "" {
		n, err := strconv.ParseInt(b.SelectAttrValue("requests", ""), 10, 32)
		if sid == "" || err != nil || n < 1 {
			c.err = fmt.Errorf("no session: %s", text(b))
			return
		}
		c.sid, c.window = sid, n
	}
	for _, e := range b.ChildElements() {
		c.stanza(e)
	}
	switch b.SelectAttrValue("type", "") {
	case "":
	case "terminate":
		switch {
		case c.err != nil:
		case c.ended && b.SelectAttr("condition") == nil:
			c.err = ErrEnded
		default:
			c.err = fmt.Errorf("the server ended the session: %s", text(b))
		}
	default:
		c.err = fmt.Errorf("unknown type: %s", text(b))
	}
}

// stanza takes an element, and logs in.
func (c *Client) stanza(e *etree.Element) {
	select {
	case <-c.ready:
		c.cfg.Receive(e)
		return
	default:
	}
	switch {
	case e.Tag == "features" && e.FindElement("mechanisms") != nil:
		c.authenticate("auth", nil)
	case e.Tag == "challenge":
		c.authenticate("response", e)
	case e.Tag == "success":
		c.restart = true
	case e.Tag == "features" && e.FindElement("bind") != nil:
		c.queue = append(c.queue, "<iq xmlns='jabber:client' type='set' id='bind'><bind xmlns='"+ns.Bind+"'><resource>"+
			c.cfg.Resource+"</resource></bind></iq>")
	case e.Tag == "iq" && e.SelectAttrValue("id", "") == "bind" && e.SelectAttrValue("type", "") == "result":
		close(c.ready)
	default:
		c.err = fmt.Errorf("logging in: %s", text(e))
	}
}

func (c *Client) authenticate(name string, challenge *etree.Element) {
	var said []byte
	var err error
	if challenge != nil {
		if said, err = base64.StdEncoding.DecodeString(challenge.Text()); err != nil {
			c.err = err
			return
		}
	}
	_, response, err := c.sasl.Step(said)
	if err != nil {
		c.err = err
		return
	}
	mechanism := ""
	if challenge == nil {
		mechanism = " mechanism='" + c.cfg.Mechanism.Name + "'"
	}
	c.queue = append(c.queue, fmt.Sprintf("<%s xmlns='%s'%s>%s</%[1]s>", name, ns.SASL, mechanism,
		base64.StdEncoding.EncodeToString(response)))
}

// text is an element for people.
func text(e *etree.Element) string {
	d := etree.NewDocumentWithRoot(e.Copy())
	s, err := d.WriteToString()
	if err != nil {
		return err.Error()
	}
	return s
}
