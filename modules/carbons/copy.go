package carbons

import (
	"rollcall/internal/jid"
	"rollcall/internal/ns"
	"rollcall/internal/packed"
	"rollcall/internal/xmlscan"
	"rollcall/server"
)

// Namespaces of what makes a message one of a conversation.
const (
	chatStates = "http://jabber.org/protocol/chatstates" // XEP-0085
	receipts   = "urn:xmpp:receipts"                     // XEP-0184
	markers    = "urn:xmpp:chat-markers:0"               // XEP-0333
	mucUser    = "http://jabber.org/protocol/muc#user"   // XEP-0045
	invitation = "jabber:x:conference"                   // XEP-0249
)

// eligible reports whether a message is to be copied (section 6.1). An error tells what
// it is about only if it carries that with it. A room of a component copies what people
// there say in private itself, and marks it.
func eligible(st *server.Stanza) bool {
	if st.Type == "groupchat" {
		return false
	}
	body, talk, room := false, st.Type == "chat", false
	for c := range xmlscan.Children(st.Element.Inner, ns.Client) {
		name := string(c.Local)
		switch string(st.Element.SpaceOf(&c)) {
		case ns.Client:
			body = body || name == "body"
		case ns.Carbons:
			// One that is a copy itself, or pretends to be, is not copied again.
			if name == "private" || name == "received" || name == "sent" {
				return false
			}
		case ns.Hints:
			// XEP-0334 section 5: hints in an error are those of what it answers.
			if name == "no-copy" && st.Type != "error" {
				return false
			}
		case chatStates, receipts, markers, invitation:
			talk = true
		case mucUser:
			invited := invites(c.Inner)
			talk = talk || invited
			room = room || !invited && st.Session == nil && st.From.IsFull()
		}
	}
	return !room && (talk || body && st.Type != "headline")
}

// invites reports whether the content of <x/> is a mediated invitation (XEP-0045 section
// 7.8.2).
func invites(inner []byte) bool {
	for c := range xmlscan.Children(inner, mucUser) {
		if string(c.Local) == "invite" {
			return true
		}
	}
	return false
}

// copied is a message for other clients of a user.
type copied struct {
	user jid.JID
	kind string // "received" or "sent"
	typ  string // of the message
	data []byte // the message
	// but are connections that get no copy; nor do, with notBare, those that messages
	// to the bare address go to.
	but     []jid.JID
	notBare bool
}

// wrap encodes the copy for one connection (sections 7 and 8).
func (c *copied) wrap(to jid.JID) []byte {
	b := make([]byte, 0, len(c.data)+len(c.user.String())+len(to.String())+256)
	b = append(b, "<message xmlns='"+ns.Client+"' from='"...)
	b = xmlscan.AppendAttr(b, c.user.String())
	b = append(b, "' to='"...)
	b = xmlscan.AppendAttr(b, to.String())
	if c.typ != "" {
		b = append(b, "' type='"...)
		b = xmlscan.AppendAttr(b, c.typ)
	}
	b = append(b, "'><"...)
	b = append(b, c.kind...)
	b = append(b, " xmlns='"+ns.Carbons+"'><forwarded xmlns='"+ns.Forward+"'>"...)
	b = append(b, c.data...)
	b = append(b, "</forwarded></"...)
	b = append(b, c.kind...)
	return append(b, "></message>"...)
}

func (c *copied) append(dst []byte) []byte {
	dst = packed.AppendString(dst, c.user.String())
	dst = packed.AppendString(dst, c.kind)
	dst = packed.AppendString(dst, c.typ)
	dst = packed.AppendBool(dst, c.notBare)
	dst = packed.AppendUint(dst, uint64(len(c.but)))
	for _, j := range c.but {
		dst = packed.AppendString(dst, j.String())
	}
	return append(dst, c.data...)
}

func readCopied(r *packed.Reader) (c copied, err error) {
	if c.user, err = jid.Parse(r.String()); err != nil {
		return c, err
	}
	c.kind, c.typ, c.notBare = r.String(), r.String(), r.Bool()
	for range r.Len() {
		j, err := jid.Parse(r.String())
		if err != nil {
			return c, err
		}
		c.but = append(c.but, j)
	}
	c.data = r.Rest()
	return c, r.Err()
}
