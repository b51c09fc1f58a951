package server

import (
	"bytes"

	"mellium.im/xmpp/stanza"

	"rollcall/internal/jid"
	"rollcall/internal/ns"
	"rollcall/internal/xmlscan"
	"rollcall/server/cluster"
)

// Kind is one of the three kinds of stanza.
type Kind uint8

// The kinds of stanza (RFC 6120 section 8.2).
const (
	Message Kind = iota
	PresenceStanza
	IQStanza
)

var kinds = [...]string{"message", "presence", "iq"}

// String is the element's name.
func (k Kind) String() string { return kinds[k] }

// Stanza is a stanza from a client on its way. It lasts until its handler returns: the
// turn's next one takes its place. What is kept must be copied.
type Stanza struct {
	Batch *Batch
	// Session is the sender's; nil for a stanza from another node, which no handler
	// of a module ever gets, and for one from a Foreign.
	Session *Session
	Kind    Kind
	// Type is the type attribute; empty when there is none that means anything.
	Type string
	// From is the sender's full address.
	From jid.JID
	// To is where it goes; zero when the client named nobody.
	To      jid.JID
	Element *xmlscan.Element

	extra   []byte        // encoded children that a message gets besides its own
	direct  bool          // a message that the connection of a full address took
	refused bool          // nobody took it, and its sender was told
	hops    uint64        // between nodes
	avoid   *cluster.Peer // the node that could not be reached
}

// types are the types of stanza that mean anything (RFC 6120 section 8.2.3, RFC 6121
// sections 4.7.1 and 5.2.2).
var types = [...]string{
	"chat", "get", "set", "result", "error", "groupchat", "headline", "normal",
	"unavailable", "subscribe", "subscribed", "unsubscribe", "unsubscribed", "probe",
}

// typeOf reads a type attribute.
func typeOf(raw []byte) string {
	for _, t := range types {
		if string(raw) == t {
			return t
		}
	}
	return xmlscan.Unescape(raw)
}

// read fills in what a stanza that a server wrote says of itself.
func (st *Stanza) read() (err error) {
	st.Type = typeOf(st.Element.Attr("type"))
	if st.From, err = jid.Parse(st.Element.AttrString("from")); err != nil {
		return err
	}
	st.To, err = jid.Parse(st.Element.AttrString("to"))
	return err
}

// Append appends the stanza, addressed anew: unknown attributes and the content
// stay as they are. A zero from or to leaves the attribute out.
func (st *Stanza) Append(dst []byte, from, to jid.JID) []byte {
	dst = append(dst, '<')
	dst = append(dst, st.Kind.String()...)
	dst = append(dst, " xmlns='"+ns.Client+"'"...)
	dst = appendAddress(dst, " from='", from)
	dst = appendAddress(dst, " to='", to)
	dst = st.appendAttrs(dst)
	return appendContent(dst, st.Kind, st.Element.Inner, st.extra)
}

func appendContent(dst []byte, kind Kind, inner, extra []byte) []byte {
	if len(inner)+len(extra) == 0 {
		return append(dst, '/', '>')
	}
	dst = append(dst, '>')
	dst = append(dst, inner...)
	dst = append(dst, extra...)
	dst = append(dst, '<', '/')
	dst = append(dst, kind.String()...)
	return append(dst, '>')
}

// appendAttrs appends the client's attributes apart from those that the server
// sets itself, in single quotes, and the language of the stream where the stanza
// names none (RFC 6120 section 8.1.5).
func (st *Stanza) appendAttrs(dst []byte) []byte {
	lang := ""
	if st.Session != nil {
		lang = st.Session.lang.Value()
	}
	for _, a := range st.Element.Attrs {
		switch string(a.Name) {
		case "xmlns", "from", "to":
			continue
		case "type":
			if st.Type == "" {
				continue // clients choke on types that there are not
			}
		case "xml:lang":
			lang = ""
		}
		dst = appendRawAttr(dst, a)
	}
	for _, a := range st.Element.Outer {
		dst = appendRawAttr(dst, a)
	}
	if lang != "" {
		dst = append(dst, " xml:lang='"...)
		dst = xmlscan.AppendAttr(dst, lang)
		dst = append(dst, '\'')
	}
	return dst
}

func appendRawAttr(dst []byte, a xmlscan.Attr) []byte {
	dst = append(dst, ' ')
	dst = append(dst, a.Name...)
	dst = append(dst, '=', '\'')
	value := a.Value
	for a.Quote != '\'' {
		i := bytes.IndexByte(value, '\'')
		if i < 0 {
			break
		}
		dst = append(dst, value[:i]...)
		dst = append(dst, "&apos;"...)
		value = value[i+1:]
	}
	dst = append(dst, value...)
	return append(dst, '\'')
}

func appendAddress(dst []byte, prefix string, j jid.JID) []byte {
	if j.IsZero() {
		return dst
	}
	dst = append(dst, prefix...)
	if j.InXML() {
		dst = append(dst, j.String()...)
	} else {
		dst = xmlscan.AppendAttr(dst, j.String())
	}
	return append(dst, '\'')
}

// Reply sends an error back to the sender, unless the stanza is itself an error
// or the answer to something (RFC 6120 section 8.3.1).
func (st *Stanza) Reply(e stanza.Error) { st.reply(e, "") }

// reply is Reply with an application's own condition, as XML (RFC 6120 section 8.3.4).
func (st *Stanza) reply(e stanza.Error, condition string) {
	if st.Type == "error" || st.Kind == IQStanza && st.Type == "result" {
		return
	}
	b := st.Batch
	b.buf = st.appendError(b.buf[:0], e, condition)
	st.back(b.buf)
}

// back sends an answer.
func (st *Stanza) back(el []byte) {
	if st.Session == nil {
		st.Batch.srv.deliver(st.Batch, st.From, el)
		return
	}
	st.Batch.Send(st.Session, el)
}

// AppendError appends the answer that Reply sends.
func (st *Stanza) AppendError(dst []byte, e stanza.Error) []byte { return st.appendError(dst, e, "") }

func (st *Stanza) appendError(dst []byte, e stanza.Error, condition string) []byte {
	dst = append(st.appendReply(dst, "error"), '>')
	dst = AppendStanzaError(dst, e)
	if condition != "" {
		dst = append(dst[:len(dst)-len("</error>")], condition...)
		dst = append(dst, "</error>"...)
	}
	dst = append(dst, '<', '/')
	dst = append(dst, st.Kind.String()...)
	return append(dst, '>')
}

// appendReply appends the open start tag of an answer.
func (st *Stanza) appendReply(dst []byte, typ string) []byte {
	from := st.To
	if from.IsZero() {
		// RFC 6120 section 10.3.1: the account answers for the server.
		from = st.From.Bare()
	}
	dst = append(dst, '<')
	dst = append(dst, st.Kind.String()...)
	dst = append(dst, " xmlns='"+ns.Client+"'"...)
	dst = appendAddress(dst, " from='", from)
	dst = appendAddress(dst, " to='", st.From)
	dst = append(dst, " type='"...)
	dst = append(dst, typ...)
	dst = append(dst, '\'')
	for _, a := range st.Element.Attrs {
		if string(a.Name) == "id" {
			dst = appendRawAttr(dst, a)
		}
	}
	return dst
}

// AppendStanzaError appends the <error/> element (RFC 6120 section 8.3.2). A
// condition without a type gets the one that the RFC recommends.
func AppendStanzaError(dst []byte, e stanza.Error) []byte {
	typ := e.Type
	if typ == "" {
		typ = errorType(e.Condition)
	}
	dst = append(dst, "<error type='"...)
	dst = append(dst, typ...)
	dst = append(dst, "'><"...)
	dst = append(dst, e.Condition...)
	dst = append(dst, " xmlns='"+ns.Stanzas+"'/>"...)
	for lang, text := range e.Text {
		dst = append(dst, "<text xmlns='"+ns.Stanzas+"'"...)
		if lang != "" {
			dst = append(dst, " xml:lang='"...)
			dst = xmlscan.AppendAttr(dst, lang)
			dst = append(dst, '\'')
		}
		dst = append(dst, '>')
		dst = xmlscan.AppendText(dst, text)
		dst = append(dst, "</text>"...)
	}
	return append(dst, "</error>"...)
}

// errorType is the type that RFC 6120 section 8.3.3 goes with a condition.
func errorType(c stanza.Condition) stanza.ErrorType {
	switch c {
	case stanza.BadRequest, stanza.JIDMalformed, stanza.NotAcceptable, stanza.PolicyViolation, stanza.Redirect:
		return stanza.Modify
	case stanza.Forbidden, stanza.NotAuthorized, stanza.RegistrationRequired, stanza.SubscriptionRequired:
		return stanza.Auth
	case stanza.RecipientUnavailable, stanza.RemoteServerTimeout, stanza.ResourceConstraint, stanza.UnexpectedRequest:
		return stanza.Wait
	default:
		return stanza.Cancel
	}
}

// Error is a stanza error with an explanation for the reader of logs.
func Error(c stanza.Condition, text string) stanza.Error {
	e := stanza.Error{Condition: c, Type: errorType(c)}
	if text != "" {
		e.Text = map[string]string{"en": text}
	}
	return e
}
