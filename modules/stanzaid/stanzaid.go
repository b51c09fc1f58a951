// Package stanzaid gives messages ids in the name of the account they are for (XEP-0359),
// and takes those away that senders made up in that name.
package stanzaid

import (
	"bytes"
	"context"

	"rollcall/internal/jid"
	"rollcall/internal/msgid"
	"rollcall/internal/ns"
	"rollcall/internal/xmlscan"
	"rollcall/server"
)

// Module implements server.Module.
type Module struct{}

var _ server.Module = (*Module)(nil)

// New makes the module.
func New() *Module { return new(Module) }

// Name implements server.Module.
func (m *Module) Name() string { return "stanza_id" }

// priority is behind who may still refuse a message, and before who stores it.
const priority = 800

// Start implements server.Module.
func (m *Module) Start(h *server.Host) error {
	h.Feature(server.ToSelf|server.ToOther, ns.StanzaID)
	h.Declare(server.Protocol{
		Number: "XEP-0359", Title: "Unique and Stable Stanza IDs", Version: "0.7.0",
		Notes: "by the recipient's account, on messages of type chat and normal with a body", Features: []string{ns.StanzaID},
	})
	h.OnMessage(priority, mark)
	return nil
}

// mark runs for every message, and looks at nothing twice: a search through the bytes
// says for nearly all of them that nothing was forged.
func mark(_ context.Context, e *server.MessageEvent) {
	if e.Refused.Condition != "" {
		return
	}
	el, by := e.Stanza.Element, e.To.Bare()
	inner := el.Inner
	if e.Inner != nil {
		inner = e.Inner
	}
	if bytes.Contains(inner, []byte("stanza-id")) {
		if left, forged := without(el, inner, by); forged {
			inner, e.Inner = left, left
		}
	}
	switch e.Stanza.Type {
	case "", "normal", "chat":
	default:
		return
	}
	// A body deeper inside makes an id needless, and does no harm.
	if string(el.ChildLocal) == "body" || bytes.Contains(inner, []byte("<body")) {
		e.Extra = appendID(e.Extra, by)
	}
}

const head, middle, tail = "<stanza-id xmlns='" + ns.StanzaID + "' id='", "' by='", "'/>"

func appendID(dst []byte, by jid.JID) []byte {
	if dst == nil {
		dst = make([]byte, 0, len(head)+msgid.Len+len(middle)+len(by.String())+len(tail))
	}
	dst = msgid.Append(append(dst, head...))
	dst = append(dst, middle...)
	dst = append(dst, by.String()...) // bare addresses have nothing to escape (RFC 7622 section 3.3.1)
	return append(dst, tail...)
}

// without leaves out ids in the name of an account, however its address is written
// (XEP-0359 section 4). What stands between the elements goes with them.
func without(el *xmlscan.Element, inner []byte, by jid.JID) (left []byte, forged bool) {
	left = make([]byte, 0, len(inner))
	for c := range xmlscan.Children(inner, ns.Client) {
		if string(c.Local) == "stanza-id" && string(el.SpaceOf(&c)) == ns.StanzaID && isBy(&c, by) {
			forged = true
			continue
		}
		left = append(left, c.Raw...)
	}
	return left, forged
}

// isBy reports whether an id says that it is by an account.
func isBy(c *xmlscan.Child, by jid.JID) bool {
	who, err := jid.Parse(xmlscan.Unescape(c.Attr("by")))
	return err == nil && who == by
}
