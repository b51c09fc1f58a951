package tcp

import (
	"bytes"
	"errors"

	"mellium.im/xmpp/stream"

	"rollcall/internal/ns"
	"rollcall/internal/xmlscan"
	"rollcall/server"
)

// reader is what reading needs while there is something to read.
type reader struct {
	scan xmlscan.Scanner
	el   xmlscan.Element
	rest []byte // what came of an incomplete element
}

// reader gets what reading needs, as it was left.
func (c *conn) reader() *reader {
	if c.partial != nil {
		return c.partial
	}
	rd := c.a.readers.Get().(*reader)
	rd.scan.Resume(c.root)
	return rd
}

// leave keeps a reader while an element is incomplete, of which left has come, and
// gives it back otherwise.
func (c *conn) leave(rd *reader, left []byte) {
	root, idle := rd.scan.Idle()
	switch {
	case idle && len(left) == 0:
		c.root, c.partial, rd.rest = root, nil, nil
		c.a.readers.Put(rd)
		return
	case len(left) != len(rd.rest):
		rd.rest = bytes.Clone(left)
	}
	c.partial = rd
}

// feed runs the session's turn over a piece of the stream.
func (c *conn) feed(data []byte) {
	rd := c.reader()
	if len(rd.rest) > 0 {
		rd.rest = append(rd.rest, data...)
		data = rd.rest
	}
	turn := c.session.Begin()
	left := c.elements(turn, rd, data)
	turn.End()
	c.leave(rd, left)
}

// elements gives the session one element after the other and returns what is not
// complete yet.
func (c *conn) elements(turn *server.Turn, rd *reader, data []byte) (left []byte) {
	defer turn.Guard("input")
	for {
		rd.scan.SetLimits(xmlscan.Limits{
			Bytes: turn.MaxElement(), Depth: c.a.cfg.Limits.Depth, Attrs: c.a.cfg.Limits.Attributes,
		})
		n, err := rd.scan.Next(data, &rd.el)
		data = data[n:]
		if errors.Is(err, xmlscan.ErrMore) {
			// A part of an element is a sign of life, too.
			if n+len(data) > 0 && turn.Skipped(n) == server.Done {
				return nil
			}
			return data
		}
		if err != nil {
			turn.Close(server.BadXML(err))
			return nil
		}
		switch c.element(turn, &rd.el) {
		case server.More:
		case server.Restart:
			rd.scan.Reset()
			c.opened = false // the next header opens a new stream
			if c.upgrade {
				c.upgrade = false
				// What came before TLS must not count as said under it (RFC 6120
				// section 5.4.3.3).
				return nil
			}
		case server.Done:
			return nil
		}
	}
}

func (c *conn) element(turn *server.Turn, el *xmlscan.Element) server.Outcome {
	switch el.Kind {
	case xmlscan.Header:
		h, bad := readHeader(el)
		if bad != nil {
			turn.Close(server.StreamError(*bad, nil))
			return server.Done
		}
		return turn.Open(h)
	case xmlscan.End:
		turn.Hangup()
		return server.Done
	}
	return turn.Element(el)
}

// readHeader reads the client's header (RFC 6120 sections 4.7 and 4.8).
func readHeader(el *xmlscan.Element) (h server.StreamHeader, bad *stream.Error) {
	switch {
	case string(el.Space) != ns.Stream, string(el.Local) != "stream", el.AttrString("xmlns") != ns.Client:
		return h, &stream.InvalidNamespace
	case string(el.Prefix) != "stream":
		return h, &stream.BadNamespacePrefix // RFC 6120 section 4.8.5
	}
	return server.StreamHeader{
		From: el.AttrString("from"), To: el.AttrString("to"),
		Lang: el.AttrString("xml:lang"), Version: el.AttrString("version"),
	}, nil
}

// appendHeader appends the server's header. Clients that look for the id with a
// regular expression, like tsung, want these quotes and this order.
func appendHeader(dst []byte, h server.StreamHeader) []byte {
	attr := func(name, value string) {
		if value != "" {
			dst = append(dst, ' ')
			dst = append(dst, name...)
			dst = append(dst, '=', '"')
			dst = xmlscan.AppendAttr(dst, value)
			dst = append(dst, '"')
		}
	}
	dst = append(dst, "<?xml version='1.0'?><stream:stream"...)
	attr("id", h.ID)
	attr("xmlns:stream", ns.Stream)
	attr("xmlns", ns.Client)
	attr("from", h.From)
	attr("to", h.To)
	attr("version", h.Version)
	attr("xml:lang", h.Lang)
	return append(dst, '>')
}
