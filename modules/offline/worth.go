package offline

import (
	"bytes"
	"time"

	"rollcall/internal/jid"
	"rollcall/internal/msgid"
	"rollcall/internal/ns"
	"rollcall/internal/xmlscan"
	"rollcall/server"
)

// The namespaces that decide what is kept.
const (
	spaceCarbons    = "urn:xmpp:carbons:2"                    // XEP-0280
	spaceChatStates = "http://jabber.org/protocol/chatstates" // XEP-0085
	spaceDelay      = "urn:xmpp:delay"                        // XEP-0203
	spaceHints      = "urn:xmpp:hints"                        // XEP-0334
)

// verdict is what becomes of a message that nobody took.
type verdict uint8

const (
	refuse verdict = iota // its sender is told
	drop                  // nobody misses it
	keep
)

// message is a message that nobody took.
type message struct {
	verdict
	id   string // empty for none that it may be kept under
	at   time.Time
	data []byte
}

// read says what becomes of a message.
func (m *Module) read(e *server.Nobody) message {
	out := message{data: e.Data}
	switch e.Type {
	case "", "normal", "chat":
	default:
		return out // XEP-0160 section 3
	}
	domain := e.To.Domain()
	stored, worth, forged := false, false, false
	outer := element(e.Data)
	for c := range xmlscan.Children(outer.Inner, ns.Client) {
		switch space(&outer, &c) {
		case spaceHints:
			// XEP-0334 section 4; no-permanent-store is about archives.
			switch string(c.Local) {
			case "no-store":
				return out
			case "store":
				stored = true
			}
		case spaceCarbons:
			if isCarbon(&c, e.From, e.To) {
				out.verdict = drop
				return out
			}
		case ns.StanzaID:
			if m.o.StanzaIDs && string(c.Local) == "stanza-id" && isBy(&c, e.To.Bare()) {
				out.id = text(c.Attr("id"))
			}
		case spaceDelay:
			forged = forged || !e.Returned && isFrom(&c, domain)
		case spaceChatStates:
		case ns.Client:
			worth = worth || string(c.Local) != "thread"
		default:
			worth = true
		}
	}
	if !worth && !stored {
		return out
	}
	out.verdict = keep
	if forged {
		out.data = withoutDelay(e.Data, &outer, domain)
	}
	var known bool
	if out.at, known = msgid.Time(out.id); !known {
		out.id, out.at = msgid.New(), time.Now()
	}
	return out
}

// element reads the one element that data is.
func element(data []byte) xmlscan.Child {
	for c := range xmlscan.Children(data, ns.Client) {
		return c
	}
	return xmlscan.Child{}
}

// text is the value of an attribute, "" when there is none.
func text(raw []byte) string { return xmlscan.Unescape(raw) }

// space is the namespace of a child of outer, whose prefix may be declared there.
func space(outer, c *xmlscan.Child) string {
	if c.Space != nil {
		return string(c.Space)
	}
	prefix, _, _ := bytes.Cut(c.Raw[1:], []byte(":"))
	return text(outer.Attr("xmlns:" + string(prefix)))
}

// isCarbon reports whether a child makes a message a copy of another one that the
// server sent to one of the user's own clients.
func isCarbon(c *xmlscan.Child, from, to jid.JID) bool {
	return from == to.Bare() && (string(c.Local) == "sent" || string(c.Local) == "received")
}

func isBy(c *xmlscan.Child, bare jid.JID) bool {
	return text(c.Attr("by")) == bare.String()
}

func isFrom(c *xmlscan.Child, domain string) bool {
	return string(c.Local) == "delay" && text(c.Attr("from")) == domain
}

// withoutDelay leaves out what a sender says in the server's name (XEP-0203 section 5).
func withoutDelay(data []byte, outer *xmlscan.Child, domain string) []byte {
	end := bytes.LastIndex(data, []byte("</"))
	out := append(make([]byte, 0, len(data)), data[:end-len(outer.Inner)]...)
	for c := range xmlscan.Children(outer.Inner, ns.Client) {
		if space(outer, &c) != spaceDelay || !isFrom(&c, domain) {
			out = append(out, c.Raw...)
		}
	}
	return append(out, data[end:]...)
}

// delayed is a kept message as it is delivered: with the time when it was sent.
func delayed(data []byte, domain string, at time.Time) []byte {
	outer := element(data)
	for c := range xmlscan.Children(outer.Inner, ns.Client) {
		if space(&outer, &c) == spaceDelay && isFrom(&c, domain) {
			return data // it was delivered late before
		}
	}
	end := bytes.LastIndex(data, []byte("</"))
	if end < 0 {
		return data
	}
	out := append(make([]byte, 0, len(data)+120), data[:end]...)
	out = append(out, "<delay xmlns='"+spaceDelay+"' from='"...)
	out = xmlscan.AppendAttr(out, domain)
	out = append(out, "' stamp='"...)
	out = at.UTC().AppendFormat(out, "2006-01-02T15:04:05.000Z") // XEP-0082
	out = append(out, "'/>"...)
	return append(out, data[end:]...)
}
