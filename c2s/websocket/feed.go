package websocket

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/gobwas/ws"
	"mellium.im/xmpp/stream"

	"rollcall/internal/ns"
	"rollcall/internal/xmlscan"
	"rollcall/server"
)

// What clients do against the rules of RFC 7395; for the log.
var (
	errNoOpen     = errors.New("websocket: no <open/> where one is due")
	errReopened   = errors.New("websocket: an <open/> in mid-stream")
	errStart      = errors.New("websocket: a message that does not begin with an element")
	errIncomplete = errors.New("websocket: a message that is not a whole element")
	errTwo        = errors.New("websocket: more than one element in a message")
	errNoSpace    = errors.New("websocket: an element without a namespace")
)

// reader is what reading needs while there is something to read.
type reader struct {
	frames parser
	scan   xmlscan.Scanner
	el     xmlscan.Element
}

// reader gets what reading needs, as it was left.
func (c *conn) reader() *reader {
	rd := c.a.readers.Get().(*reader)
	if c.partial != nil {
		rd.frames = *c.partial
	} else {
		rd.frames = parser{binary: c.a.cfg.Bench, deflate: c.deflate}
	}
	return rd
}

// leave gives a reader back. Only of a message that has begun something is kept.
func (c *conn) leave(rd *reader) {
	switch {
	case !rd.frames.begun():
		c.partial = nil
	case c.partial != nil:
		*c.partial = rd.frames
	default:
		p := rd.frames
		c.partial = &p
	}
	rd.frames = parser{}
	c.a.readers.Put(rd)
}

// feed runs the session's turn over what came.
func (c *conn) feed(data []byte) {
	turn := c.session.Begin()
	ponged := c.messages(turn, data)
	turn.End()
	if ponged {
		c.link.Flush()
	}
}

// messages gives the session one message after the other. ponged says that there is
// something to flush.
func (c *conn) messages(turn *server.Turn, data []byte) (ponged bool) {
	defer turn.Guard("input")
	rd := c.reader()
	defer c.leave(rd)
	for {
		ev, n, err := rd.frames.next(data, turn.MaxElement())
		if err != nil {
			c.fail(turn, err)
			return ponged
		}
		data = data[n:]
		outcome := server.More
		switch ev.op {
		case ws.OpContinuation:
			if rd.frames.begun() {
				turn.Skipped(0)
			}
			return ponged
		case ws.OpPing:
			ponged = true
			var head [2]byte
			if _, err := c.link.Queue(appendHeader(head[:0], ws.OpPong, len(ev.payload)), ev.payload); err != nil {
				turn.Close(server.Close{Reason: server.ReasonSlowReader, Cause: err})
				outcome = server.Done
			}
		case ws.OpPong:
			outcome = turn.Skipped(0)
		case ws.OpClose:
			c.closed(turn, ev.payload)
			outcome = server.Done
		default:
			outcome = c.message(turn, rd, ev)
		}
		if outcome == server.Done {
			return ponged
		}
	}
}

// fail ends the session because of what is no proper WebSocket.
func (c *conn) fail(turn *server.Turn, err error) {
	condition := stream.BadFormat
	var f *failure
	if errors.As(err, &f) {
		c.status = f.code
		if f.code == ws.StatusMessageTooBig {
			condition = stream.PolicyViolation
		} else {
			// Who breaks the rules of WebSocket need not understand XMPP (RFC 6455
			// section 7.1.7).
			c.mute = true
		}
	}
	turn.Close(server.StreamError(condition, err))
}

// closed takes the peer's close frame. Without a <close/> before it the stream was not
// closed (RFC 7395 section 3.6).
func (c *conn) closed(turn *server.Turn, payload []byte) {
	code, reason, err := closing(payload)
	if err != nil {
		c.fail(turn, err)
		return
	}
	c.left, c.status = true, code // RFC 6455 section 5.5.1: it is echoed
	turn.Close(server.Close{Reason: server.ReasonLost, Cause: fmt.Errorf("websocket: closed with %d %q", code, reason)})
}

// message gives the session what a message says.
func (c *conn) message(turn *server.Turn, rd *reader, ev event) server.Outcome {
	text := ev.payload
	if ev.packed {
		p := c.a.packers.Get().(*packer)
		defer c.a.packers.Put(p)
		var err error
		if text, err = p.expand(text, ev.op == ws.OpText, turn.MaxElement()); err != nil {
			c.fail(turn, err)
			return server.Done
		}
	}
	if c.a.cfg.Bench {
		return c.lax(turn, rd, text)
	}
	rd.scan.Document(nil)
	return c.document(turn, rd, text)
}

// document takes a message that is an XML document (RFC 7395 section 3.3.3).
func (c *conn) document(turn *server.Turn, rd *reader, text []byte) server.Outcome {
	if len(text) == 0 || text[0] != '<' {
		// Also white space to keep the connection, which is for pings (section 3.8).
		return refuse(turn, stream.NotWellFormed, errStart)
	}
	rd.scan.SetLimits(c.limits(turn))
	n, err := rd.scan.Next(text, &rd.el)
	switch {
	case errors.Is(err, xmlscan.ErrMore):
		return refuse(turn, stream.NotWellFormed, errIncomplete)
	case err != nil:
		turn.Close(server.BadXML(err))
		return server.Done
	case len(bytes.TrimLeft(text[n:], " \t\r\n")) > 0:
		return refuse(turn, stream.NotWellFormed, errTwo)
	}
	return c.element(turn, &rd.el)
}

func (c *conn) limits(turn *server.Turn) xmlscan.Limits {
	return xmlscan.Limits{
		Bytes: turn.MaxElement(), Depth: c.a.cfg.Limits.Depth, Attrs: c.a.cfg.Limits.Attributes,
	}
}

func refuse(turn *server.Turn, e stream.Error, cause error) server.Outcome {
	turn.Close(server.StreamError(e, cause))
	return server.Done
}

// element gives the session an element, or a header (RFC 7395 sections 3.4 to 3.7).
func (c *conn) element(turn *server.Turn, el *xmlscan.Element) server.Outcome {
	name := ""
	if string(el.Space) == ns.Framing {
		name = string(el.Local)
	}
	switch {
	case name == "close":
		turn.Hangup()
		return server.Done
	case name == "open" && c.awaits:
		return c.open(turn, el)
	case name == "open":
		return refuse(turn, stream.PolicyViolation, errReopened)
	case c.awaits:
		return refuse(turn, stream.InvalidNamespace, errNoOpen)
	case len(el.Space) == 0:
		return refuse(turn, stream.InvalidNamespace, errNoSpace)
	}
	outcome := turn.Element(el)
	if outcome == server.Restart {
		c.awaits, c.opened = true, false
	}
	return outcome
}

// open gives the session the client's header, or sends the client elsewhere.
func (c *conn) open(turn *server.Turn, el *xmlscan.Element) server.Outcome {
	c.awaits = false
	if c.a.cfg.SeeOtherURI != "" {
		c.mute = true // section 3.4: it is <open/> or <close/>
		return refuse(turn, stream.Error{Err: seeOtherHost}, nil)
	}
	return turn.Open(server.StreamHeader{
		From: el.AttrString("from"), To: el.AttrString("to"),
		Lang: el.AttrString("xml:lang"), Version: el.AttrString("version"),
	})
}
