package websocket

import (
	"bytes"
	"errors"

	"mellium.im/xmpp/stream"

	"rollcall/internal/ns"
	"rollcall/internal/xmlscan"
	"rollcall/server"
)

// lax takes a message of a client that may speak a draft of RFC 7395: one stream, in
// messages that hold whole tags. The client's first message says which it is.
func (c *conn) lax(turn *server.Turn, rd *reader, text []byte) server.Outcome {
	text = bytes.TrimLeft(text, " \t\r\n")
	if len(text) == 0 {
		return turn.Skipped(1)
	}
	if c.stream == nil && c.awaits && !c.opened && isDraft(text) {
		c.stream = xmlscan.New(c.limits(turn))
	}
	if c.stream != nil {
		return c.draft(turn, rd, text)
	}
	rd.scan.Document(clientDecl())
	return c.document(turn, rd, text)
}

// isDraft reports whether a message begins with the header of RFC 6120.
func isDraft(text []byte) bool {
	if bytes.HasPrefix(text, []byte("<?xml")) {
		if end := bytes.Index(text, []byte("?>")); end > 0 {
			text = bytes.TrimLeft(text[end+2:], " \t\r\n")
		}
	}
	return bytes.HasPrefix(text, []byte("<stream:stream"))
}

// clientDecl is what elements without a namespace mean.
func clientDecl() []xmlscan.Attr {
	return []xmlscan.Attr{{Name: []byte("xmlns"), Value: []byte(ns.Client), Quote: '\''}}
}

func (c *conn) draft(turn *server.Turn, rd *reader, text []byte) server.Outcome {
	for {
		c.stream.SetLimits(c.limits(turn))
		n, err := c.stream.Next(text, &rd.el)
		text = text[n:]
		switch {
		case errors.Is(err, xmlscan.ErrMore) && len(text) == 0:
			return server.More
		case errors.Is(err, xmlscan.ErrMore):
			return refuse(turn, stream.NotWellFormed, errIncomplete)
		case err != nil:
			turn.Close(server.BadXML(err))
			return server.Done
		}
		outcome := c.draftElement(turn, &rd.el)
		switch outcome {
		case server.Done:
			return outcome
		case server.Restart:
			c.stream.Reset()
		}
	}
}

func (c *conn) draftElement(turn *server.Turn, el *xmlscan.Element) server.Outcome {
	switch {
	case el.Kind == xmlscan.End:
		turn.Hangup()
		return server.Done
	case el.Kind != xmlscan.Header:
		return c.element(turn, el)
	case string(el.Space) != ns.Stream, string(el.Local) != "stream":
		return refuse(turn, stream.InvalidNamespace, errNoOpen)
	}
	return c.open(turn, el)
}
