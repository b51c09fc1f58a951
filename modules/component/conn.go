package component

import (
	"bytes"
	"crypto/rand"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"mellium.im/xmpp/stream"

	"rollcall/internal/jid"
	"rollcall/internal/link"
	"rollcall/internal/ns"
	"rollcall/internal/xmlscan"
	"rollcall/server"
)

// lingerTime bounds how long a closed connection waits for its peer.
const lingerTime = 2 * time.Second

// conn is one connection of a component. Reading belongs to whoever runs Received.
type conn struct {
	a     *Acceptor
	link  link.Conn
	timer *time.Timer // of the handshake

	// Of the reading side.
	scan  xmlscan.Scanner
	el    xmlscan.Element
	rest  []byte // of an element that is not complete
	id    string // of the stream
	ready bool   // the handshake is done

	mu    sync.Mutex
	of    *component // from the header on
	ended bool
}

// Received implements link.Handler.
func (c *conn) Received(data []byte, err error) {
	if err != nil {
		c.end(server.Close{Reason: server.ReasonLost, Cause: err})
		return
	}
	defer func() {
		if p := recover(); p != nil {
			c.a.m.host.Log().Error("panic", "doing", "component", "panic", p, "stack", string(debug.Stack()))
			c.end(server.Close{Reason: server.ReasonInternal})
		}
	}()
	if len(c.rest) > 0 {
		data = append(c.rest, data...)
	}
	b := c.a.m.host.NewBatch()
	defer b.Flush()
	left := c.elements(b, data)
	c.rest = append(c.rest[:0:0], left...)
}

// elements takes one element after the other, and returns what is not complete.
func (c *conn) elements(b *server.Batch, data []byte) []byte {
	for !c.link.Closed() {
		limits := c.a.m.o.Element
		if !c.ready {
			limits.Bytes = maxHandshake
		}
		c.scan.SetLimits(limits)
		n, err := c.scan.Next(data, &c.el)
		data = data[n:]
		switch {
		case errors.Is(err, xmlscan.ErrMore):
			return data
		case err != nil:
			c.end(server.BadXML(err))
			return nil
		}
		if bad := c.element(b, &c.el); bad != nil {
			c.end(*bad)
			return nil
		}
	}
	return nil
}

// broke is the end of a stream that broke a rule.
func broke(e stream.Error, cause string) *server.Close {
	end := server.StreamError(e, errors.New(cause))
	return &end
}

func (c *conn) element(b *server.Batch, el *xmlscan.Element) *server.Close {
	switch {
	case el.Kind == xmlscan.End:
		return &server.Close{Reason: server.ReasonClient}
	case el.Kind == xmlscan.Header:
		return c.header(el)
	case !c.ready:
		return c.handshake(el)
	}
	return c.stanza(b, el)
}

// header answers the stream's header (XEP-0114 section 3).
func (c *conn) header(el *xmlscan.Element) *server.Close {
	switch {
	case string(el.Space) != ns.Stream, string(el.Local) != "stream", el.AttrString("xmlns") != ns.Component:
		return broke(stream.InvalidNamespace, "the stream is not a component's")
	case string(el.Prefix) != "stream":
		return broke(stream.BadNamespacePrefix, "the prefix is not stream")
	}
	to, err := jid.Parse(el.AttrString("to"))
	if err != nil || !slices.Contains(c.a.names, to.String()) {
		return broke(stream.HostUnknown, fmt.Sprintf("to=%.128q", el.AttrString("to")))
	}
	c.mu.Lock()
	c.of = c.a.m.components[to.String()]
	c.mu.Unlock()
	c.id = rand.Text()
	c.open(to.String(), c.id)
	return nil
}

// open sends the server's header.
func (c *conn) open(from, id string) {
	b := append([]byte(nil), "<?xml version='1.0'?><stream:stream xmlns:stream='"+ns.Stream+"' xmlns='"+ns.Component+"'"...)
	if from != "" {
		b = append(xmlscan.AppendAttr(append(b, " from='"...), from), '\'')
	}
	c.send(append(b, " id='"+id+"'>"...))
}

// handshake checks the secret.
func (c *conn) handshake(el *xmlscan.Element) *server.Close {
	if string(el.Local) != "handshake" || string(el.Space) != ns.Component {
		return broke(stream.NotAuthorized, "there was no handshake")
	}
	sum := sha1.Sum([]byte(c.id + c.of.Secret))
	got := []byte(xmlscan.Text(el.Inner))
	if subtle.ConstantTimeCompare([]byte(hex.EncodeToString(sum[:])), bytes.TrimSpace(got)) != 1 {
		return broke(stream.NotAuthorized, "wrong secret")
	}
	if !c.of.enter(c) {
		return broke(stream.Conflict, "it is connected already")
	}
	c.mu.Lock()
	over := c.ended // meanwhile, by the clock or by a shutdown
	c.mu.Unlock()
	if over {
		c.of.leave(c)
		return &server.Close{Reason: server.ReasonLost}
	}
	c.timer.Stop()
	c.ready = true
	c.send([]byte("<handshake/>"))
	c.a.m.host.Log().Info("component connected", "name", c.of.Name, "remote", c.link.RemoteAddr().String())
	return nil
}

// stanza takes a stanza, which must say whom it is from and for.
func (c *conn) stanza(b *server.Batch, el *xmlscan.Element) *server.Close {
	kind, ok := server.KindOf(el)
	if !ok {
		return broke(stream.UnsupportedStanzaType, fmt.Sprintf("<%.64s xmlns='%.128s'/>", el.Local, el.Space))
	}
	if len(el.Attr("from")) == 0 || len(el.Attr("to")) == 0 {
		return broke(stream.ImproperAddressing, kind.String()+" without an address")
	}
	from, err := jid.Parse(el.AttrString("from"))
	if err != nil || from.Domain() != c.of.Name {
		return broke(stream.InvalidFrom, fmt.Sprintf("from=%.128q", el.AttrString("from")))
	}
	to, err := jid.Parse(el.AttrString("to"))
	if err != nil {
		return broke(stream.ImproperAddressing, fmt.Sprintf("to=%.128q", el.AttrString("to")))
	}
	c.a.m.host.Route(b, kind, el, from, to)
	return nil
}

// declared is what stanzas in jabber:client say of themselves, and a component's stream
// does not.
const declared = " xmlns='" + ns.Client + "'"

// send queues and sends what is for the component. Stanzas are put into the stream's
// namespace.
func (c *conn) send(el []byte) {
	var err error
	if i := bytes.Index(el[:min(len(el), 16+len(declared))], []byte(declared)); i > 0 {
		_, err = c.link.Queue(el[:i], el[i+len(declared):])
	} else {
		_, err = c.link.Queue(el)
	}
	if err != nil {
		c.end(server.Close{Reason: server.ReasonSlowReader, Cause: err})
		return
	}
	c.link.Flush()
}

// end ends the stream and the connection, once.
func (c *conn) end(cl server.Close) {
	c.mu.Lock()
	was, of := c.ended, c.of
	c.ended = true
	c.mu.Unlock()
	if was {
		return
	}
	c.timer.Stop()
	name := ""
	if of != nil {
		of.leave(c)
		name = of.Name
	}
	var out []byte
	if cl.Reason != server.ReasonLost {
		if of == nil {
			// XEP-0114 section 3: an error comes after a header.
			c.open("", rand.Text())
		}
		out = append(cl.AppendError(nil, false), "</stream:stream>"...)
	}
	c.link.Close(out, lingerTime)
	c.a.m.host.Log().Info("component disconnected", "name", name, "reason", cl.Reason.String(),
		"condition", cl.Condition(), "err", cl.Cause, "remote", c.link.RemoteAddr().String())
}

// tooLate ends a connection whose handshake did not come in time.
func (c *conn) tooLate() { c.end(server.Close{Reason: server.ReasonLoginTime}) }

// Sent implements link.Handler.
func (c *conn) Sent() {}

// Broken implements link.Handler.
func (c *conn) Broken(err error) { c.end(server.Close{Reason: server.ReasonLost, Cause: err}) }

// Shutdown implements link.Handler.
func (c *conn) Shutdown() { c.end(server.Close{Reason: server.ReasonShutdown}) }

// Ended implements link.Handler.
func (c *conn) Ended() {}
