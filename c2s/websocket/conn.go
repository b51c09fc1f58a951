package websocket

import (
	"crypto/rand"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"
	"mellium.im/xmpp/stream"

	"rollcall/internal/link"
	"rollcall/internal/ns"
	"rollcall/internal/xmlscan"
	"rollcall/server"
)

// conn is one connection: a server.Transport and a link.Handler. What is not said to be
// otherwise belongs to the session's turn.
type conn struct {
	a       *Acceptor
	link    link.Conn
	session *server.Session
	remote  string           // who a proxy says it is; "" for whom it comes from; never changed
	host    string           // of the last header that was sent
	partial *parser          // of what has begun to come; nil between messages
	stream  *xmlscan.Scanner // of a client that speaks a draft, otherwise nil

	status  ws.StatusCode // to close with, 0 for what the reason of the end says
	secure  bool          // nobody on the way can read along; never changed
	deflate bool          // the client agreed to compression; never changed
	opened  bool          // the stream has its header
	awaits  bool          // the next element has to be the client's header
	lost    bool          // nothing more can be told
	left    bool          // the peer sent its close frame
	mute    bool          // no header is sent any more, and what is no good WebSocket is told nothing

	heard atomic.Uint32 // when something last arrived, as Acceptor.clock says
	asked uint32        // when a ping was sent, 0 for none; of Acceptor.look
}

var (
	_ server.Transport = (*conn)(nil)
	_ link.Handler     = (*conn)(nil)
)

// Info implements server.Transport.
func (c *conn) Info() server.Info {
	info := server.Info{Kind: "websocket", Remote: c.remote, Secure: c.secure, Manageable: true}
	if info.Remote == "" {
		info.Remote = c.link.RemoteAddr().String()
	}
	return info
}

// Open implements server.Transport.
func (c *conn) Open(h server.StreamHeader) {
	if c.mute {
		return
	}
	c.opened, c.host = true, h.From
	// A header does not count against a slow reader: nothing else was said yet.
	var head [10]byte
	var buf [512]byte
	el := c.appendOpen(buf[:0], h)
	_, _ = c.link.Queue(appendHeader(head[:0], ws.OpText, len(el)), el)
	c.sent()
}

// Write implements server.Transport: one element is one frame (RFC 7395 section 3.3.3).
// The core declares on every element the namespaces that it uses.
func (c *conn) Write(el []byte) error {
	var flush bool
	var err error
	if c.deflate && len(el) >= compressFrom {
		flush, err = c.writePacked(el)
	} else {
		var head [10]byte
		flush, err = c.link.Queue(appendHeader(head[:0], ws.OpText, len(el)), el)
	}
	switch {
	case errors.Is(err, link.ErrFull):
		return server.ErrOutboxFull
	case err != nil:
		return err
	}
	if flush {
		c.link.Flush()
	}
	c.sent()
	return nil
}

// sent has a frame go out by itself where the client wants it so.
func (c *conn) sent() {
	if c.a.cfg.Bench {
		c.link.Flush()
	}
}

// Flush implements server.Transport.
func (c *conn) Flush() { c.link.Flush() }

// lingerTime bounds how long a closed connection waits for its peer to take what is
// left and to close its side.
const lingerTime = 2 * time.Second

// Close implements server.Transport.
func (c *conn) Close(cl server.Close) {
	var buf [512]byte
	end := buf[:0]
	if !c.lost {
		end = c.appendEnd(end, cl)
	}
	c.link.Close(end, lingerTime)
}

// Elements of the stream, in the very bytes that strophe.js compares with.
const (
	openStart  = `<open xmlns="` + ns.Framing + `"`
	closeStart = `<close xmlns="` + ns.Framing + `"`
	draftEnd   = "</stream:stream>"
)

// appendEnd appends the end of the stream and of the connection.
func (c *conn) appendEnd(dst []byte, cl server.Close) []byte {
	status := c.status
	if status == 0 {
		status = statusOf(cl)
	}
	condition := cl.Condition()
	if cl.Cut || c.left || c.mute && condition != seeOtherHost {
		return appendClose(dst, status)
	}
	if !c.opened && !c.mute && condition != "" {
		// A restarted stream is told about errors like a new one (RFC 6120 section
		// 4.9.1.2).
		dst = appendFrame(dst, ws.OpText, c.appendOpen(nil, server.StreamHeader{ID: rand.Text(), From: c.host, Version: "1.0"}))
	}
	if c.stream != nil {
		if condition != "" {
			dst = appendFrame(dst, ws.OpText, cl.AppendError(nil, true))
		}
		return appendClose(appendFrame(dst, ws.OpText, []byte(draftEnd)), status)
	}
	end := []byte(closeStart)
	switch condition {
	case "":
	case seeOtherHost:
		end = append(end, ` see-other-uri="`...)
		end = append(xmlscan.AppendAttr(end, c.a.cfg.SeeOtherURI), '"')
	default:
		dst = appendFrame(dst, ws.OpText, cl.AppendError(nil, true))
	}
	return appendClose(appendFrame(dst, ws.OpText, append(end, " />"...)), status)
}

// seeOtherHost is the condition of clients that are sent elsewhere. Over WebSocket it
// is told by an attribute (RFC 7395 section 3.6.1).
var seeOtherHost = stream.Error{Err: "see-other-host"}.Err

// statusOf is the code that a connection is closed with. Where XMPP has said what is
// wrong, WebSocket has nothing to add: its part went well.
func statusOf(cl server.Close) ws.StatusCode {
	switch cl.Reason {
	case server.ReasonShutdown:
		return ws.StatusGoingAway
	case server.ReasonInternal:
		return ws.StatusInternalServerError
	}
	return ws.StatusNormalClosure
}

// appendOpen appends the server's header. Both forms have the quotes and the order that
// clients look for with regular expressions.
func (c *conn) appendOpen(dst []byte, h server.StreamHeader) []byte {
	attr := func(name, value string) {
		if value != "" {
			dst = append(append(append(append(dst, ' '), name...), '='), '"')
			dst = append(xmlscan.AppendAttr(dst, value), '"')
		}
	}
	if c.stream == nil {
		dst = append(dst, openStart...)
		attr("id", h.ID)
	} else {
		dst = append(dst, "<stream:stream"...)
		attr("id", h.ID)
		attr("xmlns:stream", ns.Stream)
		attr("xmlns", ns.Client)
	}
	attr("from", h.From)
	attr("to", h.To)
	attr("version", h.Version)
	attr("xml:lang", h.Lang)
	if c.stream == nil {
		dst = append(dst, '/')
	}
	return append(dst, '>')
}

// Received implements link.Handler.
func (c *conn) Received(data []byte, err error) {
	c.heard.Store(c.a.clock.Load())
	if err == nil {
		c.feed(data)
		return
	}
	if errors.Is(err, io.EOF) {
		err = errNoClose
	}
	turn := c.session.Begin()
	defer turn.End()
	c.lost = true
	turn.Close(server.Close{Reason: server.ReasonLost, Cause: err})
}

// errNoClose says that a connection ended without a close frame.
var errNoClose = errors.New("websocket: the connection ended without a word")

// Sent implements link.Handler.
func (c *conn) Sent() {}

// Broken implements link.Handler. What the client said before is still taken: the
// session's close comes back to Close.
func (c *conn) Broken(err error) {
	c.session.Broken(server.Close{Reason: server.ReasonLost, Cause: err})
}

// Shutdown implements link.Handler.
func (c *conn) Shutdown() {
	if !c.link.Closed() {
		c.session.Broken(server.Close{Reason: server.ReasonShutdown})
	}
}

// Ended implements link.Handler.
func (c *conn) Ended() {}
