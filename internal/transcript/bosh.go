package transcript

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/beevik/etree"

	"rollcall/internal/ns"
)

// boshClient is a stream over BOSH (XEP-0124, XEP-0206) as strophe.js speaks it:
// wait, hold=1, at most as many requests as the server allows, a poll whenever
// nothing is under way once the user is logged in, and before that only while
// somebody waits.
type boshClient struct {
	target Target
	http   *http.Client
	ctx    context.Context // of the session's requests
	cancel context.CancelFunc
	// requests under way; none is added once err is set.
	requests sync.WaitGroup

	mu       sync.Mutex
	changed  chan struct{} // closed when something below changes
	sid      string
	rid      int64               // of the next request
	due      int64               // rid of the answer to be worked off next
	answers  map[int64]boshReply // that came before their turn
	inFlight int
	limit    int  // of requests in flight
	polling  bool // the user is logged in
	waiting  int  // calls of Receive
	ended    bool
	inbox    []*etree.Element
	err      error // sticky: *End, or what broke
	// written is closed when the last request is on its way, so that requests
	// leave in the order of their rids.
	written chan struct{}
}

// boshReply is a body or why there is none.
type boshReply struct {
	body *etree.Element
	err  error
}

func newBOSH(t Target) *boshClient {
	transport := &http.Transport{DialContext: t.DialContext, TLSClientConfig: t.TLS}
	ctx, cancel := context.WithCancel(context.Background())
	return &boshClient{
		target: t, http: &http.Client{Transport: transport}, ctx: ctx, cancel: cancel,
		changed: make(chan struct{}), answers: make(map[int64]boshReply), limit: 1,
	}
}

// Open creates the session or restarts its stream.
func (c *boshClient) Open(ctx context.Context, to string) error {
	attrs := ""
	if to != "" {
		attrs = " to='" + escape(to) + "'"
	}
	c.mu.Lock()
	first := c.rid == 0
	if !first {
		c.mu.Unlock()
		return c.request(ctx, attrs+" xmpp:restart='true' xmlns:xmpp='"+ns.XBOSH+"'", "")
	}
	var seed [4]byte
	if _, err := rand.Read(seed[:]); err != nil {
		c.mu.Unlock()
		return err
	}
	// Any rid will do that leaves room below 2^53 (XEP-0124 section 14.1).
	c.rid = int64(binary.BigEndian.Uint32(seed[:])) + 1
	c.due = c.rid
	c.mu.Unlock()
	attrs += fmt.Sprintf(" wait='%d' hold='1' content='text/xml; charset=utf-8' ver='1.6' xmpp:version='1.0' xmlns:xmpp='%s'",
		int((c.target.Wait+time.Second-1)/time.Second), ns.XBOSH)
	if err := c.request(ctx, attrs, ""); err != nil {
		return err
	}
	return c.until(ctx, func() (bool, error) {
		var end *End
		if c.err != nil && !errors.As(c.err, &end) {
			return true, c.err
		}
		return c.sid != "" || c.err != nil, nil
	})
}

// until waits for ready, which is called with the lock held.
func (c *boshClient) until(ctx context.Context, ready func() (bool, error)) error {
	for {
		c.mu.Lock()
		ok, err := ready()
		changed := c.changed
		c.mu.Unlock()
		if ok || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// request sends a body as soon as the number of requests under way allows.
func (c *boshClient) request(ctx context.Context, attrs, payload string) error {
	ctx, cancel := context.WithTimeout(ctx, c.target.Timeout)
	defer cancel()
	return c.until(ctx, func() (bool, error) {
		if c.err != nil {
			return false, c.err
		}
		if c.inFlight >= c.limit {
			return false, nil
		}
		c.postLocked(attrs, payload)
		return true, nil
	})
}

// postLocked sends a body on a goroutine of its own.
func (c *boshClient) postLocked(attrs, payload string) {
	rid := c.rid
	c.rid++
	c.inFlight++
	if c.sid != "" {
		attrs = " sid='" + escape(c.sid) + "'" + attrs
	}
	text := "<body rid='" + strconv.FormatInt(rid, 10) + "'" + attrs + " xmlns='" + ns.HTTPBind + "'"
	if payload == "" {
		text += "/>"
	} else {
		text += ">" + payload + "</body>"
	}
	before, written := c.written, make(chan struct{})
	c.written = written
	c.requests.Go(func() {
		if before != nil {
			<-before
		}
		var once sync.Once
		wrote := func() { once.Do(func() { close(written) }) }
		body, err := c.roundTrip(text, wrote)
		wrote()
		c.answered(rid, boshReply{body, err})
	})
}

// answered works off the answers whose turn has come.
func (c *boshClient) answered(rid int64, reply boshReply) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inFlight--
	c.answers[rid] = reply
	for c.err == nil {
		next, ok := c.answers[c.due]
		if !ok {
			break
		}
		delete(c.answers, c.due)
		c.due++
		if next.err != nil {
			c.err = next.err
			break
		}
		c.workOff(next.body)
	}
	c.pollLocked()
	close(c.changed)
	c.changed = make(chan struct{})
}

// workOff takes what a body carries.
func (c *boshClient) workOff(body *etree.Element) {
	if sid := body.SelectAttrValue("sid", ""); sid != "" && c.sid == "" {
		c.sid = sid
		c.limit = 2
		if n, err := strconv.Atoi(body.SelectAttrValue("requests", "")); err == nil && n > 0 {
			c.limit = min(n, 2)
		}
	}
	for _, e := range body.ChildElements() {
		c.inbox = append(c.inbox, e)
		if e.SelectAttrValue("type", "") == "result" && child(e, ns.Bind, "bind") != nil {
			c.polling = true
		}
	}
	if body.SelectAttrValue("type", "") == "terminate" {
		c.err = &End{Condition: body.SelectAttrValue("condition", "")}
	}
}

// pollLocked keeps a request at the server, or fetches what somebody waits for.
func (c *boshClient) pollLocked() {
	wanted := c.polling || c.waiting > 0 && len(c.inbox) == 0
	if wanted && !c.ended && c.err == nil && c.sid != "" && c.inFlight == 0 {
		c.postLocked("", "")
	}
}

// Send sends elements, each with its namespace.
func (c *boshClient) Send(elements string) error {
	payload, err := standalone(elements)
	if err != nil {
		return err
	}
	return c.SendRaw(payload)
}

// SendRaw sends text within a body.
func (c *boshClient) SendRaw(text string) error { return c.request(c.ctx, "", text) }

// Receive returns the next element.
func (c *boshClient) Receive(ctx context.Context) (*etree.Element, error) {
	c.mu.Lock()
	c.waiting++
	c.pollLocked()
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.waiting--
		c.mu.Unlock()
	}()
	var e *etree.Element
	err := c.until(ctx, func() (bool, error) {
		if len(c.inbox) > 0 {
			e, c.inbox = c.inbox[0], c.inbox[1:]
			return true, nil
		}
		return false, c.err
	})
	return e, err
}

// End terminates the session (XEP-0124 section 13).
func (c *boshClient) End() error {
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
	return c.request(c.ctx, " type='terminate'", "")
}

// Drop abandons the session and the requests under way.
func (c *boshClient) Drop() error {
	c.mu.Lock()
	c.ended = true
	c.err = errDropped
	c.mu.Unlock()
	c.cancel()
	c.requests.Wait()
	c.http.CloseIdleConnections()
	return nil
}
