// Package smclient is a client that gets over the loss of its connection: it counts
// and acknowledges as XEP-0198 says, resumes its stream, and sends again what the
// server has not handled.
package smclient

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/beevik/etree"

	"rollcall/internal/ns"
	"rollcall/internal/transcript"
)

// Config is who logs in, and where.
type Config struct {
	// Target is chosen anew for each connection.
	Target  func() transcript.Target
	Account transcript.Account
	// Patience is how long the client waits for the answer to something before it
	// takes the connection for lost.
	Patience time.Duration
	// Take is told of each stanza, in order.
	Take func(*etree.Element)
	// Handled is told of each stanza that the server has acknowledged, in order.
	Handled func(stanza string)
}

// Counts are what has happened so far.
type Counts struct {
	Connections int // begun
	Resumed     int // streams resumed
	Fresh       int // sessions bound anew because there was none to resume
}

// Client is one session over any number of connections. Send is safe for concurrent
// use.
type Client struct {
	cfg Config

	mu     sync.Mutex
	conn   transcript.Client // nil while there is none
	id     string            // of the stream, for resumption
	jid    string
	acked  uint32   // stanzas that the server has handled
	queue  []string // stanzas that it has not, as far as is known
	counts Counts
	since  time.Time // of the connection

	in    uint32    // stanzas received; of Run alone
	asked time.Time // since when an answer is due; of Run alone
}

// New makes a client that is not connected.
func New(c Config) *Client { return &Client{cfg: c} }

// JID is the bound address, once there is one.
func (c *Client) JID() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.jid
}

// Counts tells what has happened so far.
func (c *Client) Counts() Counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counts
}

// Since is when the connection began that there is, or was last.
func (c *Client) Since() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.since
}

// Unacked is how many stanzas the server may not have handled.
func (c *Client) Unacked() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.queue)
}

// Send sends a stanza, now or when there is a connection.
func (c *Client) Send(stanza string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue = append(c.queue, stanza)
	if c.conn != nil && c.id != "" {
		// Run finds out when it fails.
		_ = c.conn.Send(stanza + "<r xmlns='" + ns.StreamManagement + "'/>")
	}
}

// Run stays connected until ctx ends, then cuts the connection.
func (c *Client) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		conn, err := c.connect(ctx)
		if err != nil {
			if errors.Is(err, errServer) {
				return err
			}
			continue // the network again
		}
		err = c.receive(ctx, conn)
		c.leave(conn)
		if errors.Is(err, errServer) {
			return err
		}
	}
	return nil
}

// errServer says that the server did what it must not.
var errServer = errors.New("smclient")

func (c *Client) leave(conn transcript.Client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn = nil
	// It is over, mostly.
	_ = conn.Drop()
}

// connect logs in and resumes the stream, or binds and begins a new one.
func (c *Client) connect(ctx context.Context) (transcript.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, 4*c.cfg.Patience)
	defer cancel()
	t := c.cfg.Target()
	t.Timeout = c.cfg.Patience
	conn, err := transcript.Dial(ctx, t)
	if err != nil {
		return nil, err
	}
	if err := c.login(ctx, conn, t); err != nil {
		// It may be over already.
		_ = conn.Drop()
		return nil, err
	}
	return conn, nil
}

func (c *Client) login(ctx context.Context, conn transcript.Client, t transcript.Target) error {
	c.mu.Lock()
	c.counts.Connections++
	id := c.id
	c.mu.Unlock()
	features, err := transcript.Open(ctx, conn, t)
	if err != nil {
		return err
	}
	if _, err := transcript.Authenticate(ctx, conn, t, c.cfg.Account, features); err != nil {
		return err
	}
	if id != "" {
		if done, err := c.resume(ctx, conn, id); err != nil || done {
			return err
		}
	}
	return c.begin(ctx, conn)
}

// resume reports whether the stream goes on.
func (c *Client) resume(ctx context.Context, conn transcript.Client, id string) (bool, error) {
	if err := conn.Send(fmt.Sprintf("<resume xmlns='%s' h='%d' previd='%s'/>", ns.StreamManagement, c.in, id)); err != nil {
		return false, err
	}
	e, err := conn.Receive(ctx)
	if err != nil {
		return false, err
	}
	h, hasH := count(e)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case e.Tag == "resumed" && hasH:
		if err := c.handled(h); err != nil {
			return false, err
		}
		c.counts.Resumed++
		return true, c.again(conn)
	case e.Tag == "failed":
		c.id = ""
		if hasH {
			if err := c.handled(h); err != nil {
				return false, err
			}
		}
		return false, nil
	}
	return false, fmt.Errorf("%w: %s answers <resume/>", errServer, transcript.Text(e))
}

// begin binds the resource and turns stream management on.
func (c *Client) begin(ctx context.Context, conn transcript.Client) error {
	jid, err := transcript.Bind(ctx, conn, c.cfg.Account)
	if err != nil {
		return err
	}
	if err := conn.Send("<enable xmlns='" + ns.StreamManagement + "' resume='true'/>"); err != nil {
		return err
	}
	e, err := conn.Receive(ctx)
	if err != nil {
		return err
	}
	id := e.SelectAttrValue("id", "")
	if e.Tag != "enabled" || id == "" {
		return fmt.Errorf("%w: %s answers <enable/>", errServer, transcript.Text(e))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.jid, c.id, c.in, c.acked = jid, id, 0, 0
	c.counts.Fresh++
	return c.again(conn)
}

// again sends what the server has not handled; c.mu is held.
func (c *Client) again(conn transcript.Client) error {
	c.conn, c.since = conn, time.Now()
	c.asked = time.Time{}
	all := ""
	for _, s := range c.queue {
		all += s
	}
	return conn.Send(all + "<r xmlns='" + ns.StreamManagement + "'/>")
}

// handled takes the server's word for how much it has handled; c.mu is held.
func (c *Client) handled(h uint32) error {
	n := h - c.acked
	if int64(n) > int64(len(c.queue)) {
		return fmt.Errorf("%w: %d handled, of %d", errServer, h, c.acked+uint32(len(c.queue)))
	}
	for _, stanza := range c.queue[:n] {
		c.cfg.Handled(stanza)
	}
	c.queue, c.acked = c.queue[n:], h
	return nil
}

// receive takes what comes until the connection is lost, which it is too when the
// server does not answer.
func (c *Client) receive(ctx context.Context, conn transcript.Client) error {
	for {
		e, err := c.next(ctx, conn)
		if err != nil {
			return err
		}
		switch {
		case e == nil:
			continue
		case e.NamespaceURI() == ns.StreamManagement && e.Tag == "r":
			if err := conn.Send(fmt.Sprintf("<a xmlns='%s' h='%d'/>", ns.StreamManagement, c.in)); err != nil {
				return err
			}
		case e.NamespaceURI() == ns.StreamManagement && e.Tag == "a":
			h, ok := count(e)
			c.mu.Lock()
			if err = c.handled(h); !ok {
				err = fmt.Errorf("%w: %s", errServer, transcript.Text(e))
			}
			c.mu.Unlock()
			if err != nil {
				return err
			}
		case e.NamespaceURI() == ns.Client:
			c.in++
			c.cfg.Take(e)
		default:
			return fmt.Errorf("unexpected %s", transcript.Text(e)) // a stream error
		}
	}
}

// next is the next element; nil when there was none for a while, after which the
// server is asked whether it is still there.
func (c *Client) next(ctx context.Context, conn transcript.Client) (*etree.Element, error) {
	wait, cancel := context.WithTimeout(ctx, c.cfg.Patience)
	defer cancel()
	e, err := conn.Receive(wait)
	switch {
	case err == nil:
		c.asked = time.Time{}
		return e, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case wait.Err() == nil || !c.asked.IsZero():
		return nil, err
	}
	c.asked = time.Now()
	return nil, conn.Send("<r xmlns='" + ns.StreamManagement + "'/>")
}

func count(e *etree.Element) (h uint32, ok bool) {
	n, err := strconv.ParseUint(e.SelectAttrValue("h", ""), 10, 32)
	return uint32(n), err == nil
}
