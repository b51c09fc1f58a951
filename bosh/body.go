package bosh

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"mellium.im/xmpp/stream"

	"rollcall/conf"
	"rollcall/internal/ns"
	"rollcall/internal/xmlscan"
)

// body is a request's <body/> (XEP-0124 section 6). It aliases the bytes it was
// parsed from.
type body struct {
	rid int64
	sid string
	// to, from, lang and version describe the stream (XEP-0206 sections 4
	// and 5).
	to, from, lang, version string
	ver                     string // of BOSH
	old                     bool   // older than that attribute
	content                 string
	wait, hold, pause       number
	ack                     int64 // the last reply received
	acks                    bool  // ack is given
	key, newKey             string
	terminate, restart      bool
	// inner holds the elements, which were looked at once; decls are the
	// declarations around them.
	inner []byte
	decls []xmlscan.Attr
	stuff bool // there are elements
}

// number is an attribute that may be missing.
type number struct {
	value int
	given bool
}

// empty reports whether a body says nothing but that the client is there.
func (b *body) empty() bool {
	return !b.stuff && !b.terminate && !b.restart && !b.pause.given
}

// maxRID is the highest request id (XEP-0124 section 14.1).
const maxRID = 1<<53 - 1

// bodyError is why a body was refused.
type bodyError struct {
	condition string // of the session's end (XEP-0124 section 17.2)
	cause     error
}

func (e *bodyError) Error() string { return e.condition + ": " + e.cause.Error() }

func (e *bodyError) Unwrap() error { return e.cause }

func badRequest(cause error) *bodyError { return &bodyError{badRequestCondition, cause} }

// badXML is the error for what the scanner refused.
func badXML(err error) *bodyError {
	var bad *xmlscan.Error
	if errors.As(err, &bad) && bad.Condition == stream.PolicyViolation.Err {
		return &bodyError{policyViolation, err}
	}
	return badRequest(err)
}

var (
	errIncomplete = errors.New("the body is not complete")
	errNotBody    = errors.New("the root element is not a body of httpbind")
	errTwoBodies  = errors.New("something follows the body")
	errEncoding   = errors.New("the body is not in UTF-8")
)

// parseBody parses what a client posted. Together with an error it returns what
// could be told of the start tag, never nil.
func parseBody(raw []byte, limits conf.Limits) (*body, *bodyError) {
	b := new(body)
	rest, err := skipDeclaration(raw)
	if err != nil {
		return b, badRequest(err)
	}
	scan := xmlscan.New(xmlscan.Limits{Bytes: len(rest), Depth: limits.Depth + 1, Attrs: limits.Attributes})
	scan.Scope(nil)
	var el xmlscan.Element
	n, err := scan.Next(rest, &el)
	if err != nil {
		b.sid = peekSID(rest, limits)
		if errors.Is(err, xmlscan.ErrMore) {
			err = errIncomplete
		}
		return b, badXML(err)
	}
	if string(el.Space) != ns.HTTPBind || string(el.Local) != "body" {
		return b, badRequest(errNotBody)
	}
	if err := b.attributes(el.Attrs); err != nil {
		return b, badRequest(err)
	}
	if len(bytes.TrimLeft(rest[n:], " \t\r\n")) > 0 {
		return b, badRequest(errTwoBodies)
	}
	if err := b.children(&el, limits); err != nil {
		return b, badXML(err)
	}
	return b, nil
}

// skipDeclaration skips the XML declaration that an HTTP entity may begin with.
func skipDeclaration(raw []byte) ([]byte, error) {
	rest := bytes.TrimPrefix(raw, []byte("\ufeff"))
	if !bytes.HasPrefix(rest, []byte("<?xml ")) {
		return rest, nil
	}
	decl, after, ok := bytes.Cut(rest, []byte("?>"))
	if !ok {
		return nil, errIncomplete
	}
	decl = bytes.ToLower(decl)
	if bytes.Contains(decl, []byte("encoding")) && !bytes.Contains(decl, []byte("utf-8")) {
		return nil, errEncoding
	}
	return after, nil
}

// peekSID looks for the session in the start tag of a body that is refused, or not
// complete yet.
func peekSID(raw []byte, limits conf.Limits) string {
	raw, err := skipDeclaration(raw)
	if err != nil {
		return ""
	}
	scan := xmlscan.New(xmlscan.Limits{Bytes: len(raw), Depth: 1, Attrs: limits.Attributes})
	var el xmlscan.Element
	if _, err := scan.Next(raw, &el); err != nil || el.Kind != xmlscan.Header || string(el.Space) != ns.HTTPBind {
		return ""
	}
	return el.AttrString("sid")
}

// attributes reads the start tag. Prefixes are the client's choice (XEP-0206
// section 4), so that names are resolved.
func (b *body) attributes(attrs []xmlscan.Attr) error {
	var errs []error
	b.sid = attribute(attrs, "sid") // before anything that may fail
	b.ver = attribute(attrs, "ver")
	b.old = b.sid == "" && b.ver == ""
	for _, a := range attrs {
		value := xmlscan.Unescape(a.Value)
		switch name := string(a.Name); name {
		case "rid":
			b.rid = parseRID(value)
		case "to":
			b.to = value
		case "from":
			b.from = value
		case "xml:lang":
			b.lang = value
		case "content":
			b.content = value
		case "type":
			b.terminate = value == "terminate"
		case "ack":
			b.acks = true
			errs = append(errs, parseAck(&b.ack, value))
		case "key":
			b.key = value
		case "newkey":
			b.newKey = value
		case "wait":
			errs = append(errs, b.wait.parse(name, value))
		case "hold":
			errs = append(errs, b.hold.parse(name, value))
		case "pause":
			errs = append(errs, b.pause.parse(name, value))
		default:
			b.xbosh(attrs, a.Name, value)
		}
	}
	if b.rid == 0 {
		errs = append(errs, errors.New("rid is missing or out of range"))
	}
	return errors.Join(errs...)
}

// xbosh takes the attributes of XEP-0206.
func (b *body) xbosh(attrs []xmlscan.Attr, name []byte, value string) {
	prefix, local, ok := bytes.Cut(name, []byte(":"))
	if !ok || attribute(attrs, "xmlns:"+string(prefix)) != ns.XBOSH {
		return
	}
	switch string(local) {
	case "version":
		b.version = value
	case "restart":
		b.restart = value == "true" || value == "1"
	}
}

func attribute(attrs []xmlscan.Attr, name string) string {
	for i := range attrs {
		if string(attrs[i].Name) == name {
			return xmlscan.Unescape(attrs[i].Value)
		}
	}
	return ""
}

func parseRID(s string) int64 {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n > maxRID {
		return 0
	}
	return int64(n)
}

func parseAck(ack *int64, s string) error {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n > maxRID {
		return errors.New("ack is out of range")
	}
	*ack = int64(n)
	return nil
}

// maxNumber bounds numbers of seconds and of requests.
const maxNumber = 1 << 30

func (n *number) parse(name, s string) error {
	v, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return fmt.Errorf("%s is no number: %w", name, err)
	}
	n.value, n.given = int(min(v, maxNumber)), true
	return nil
}

// children looks at the elements of a body, whose prefixes may be declared on it.
// Stanzas without a namespace of their own inherit the body's, by the letter of
// the law; old clients mean jabber:client.
func (b *body) children(el *xmlscan.Element, limits conf.Limits) error {
	b.inner, b.stuff = el.Inner, el.Children > 0
	for _, a := range el.Attrs {
		if string(a.Name) == "xmlns" && xmlscan.Unescape(a.Value) == ns.HTTPBind {
			a.Value = []byte(ns.Client)
		}
		b.decls = append(b.decls, a)
	}
	return b.each(func() xmlscan.Limits {
		return xmlscan.Limits{Bytes: len(el.Inner), Depth: limits.Depth, Attrs: limits.Attributes}
	}, func(*xmlscan.Element) bool { return true })
}

// each calls f with one element after the other until f returns false; limits are
// those of the next element.
func (b *body) each(limits func() xmlscan.Limits, f func(*xmlscan.Element) bool) error {
	var scan xmlscan.Scanner
	scan.Scope(b.decls)
	var el xmlscan.Element
	for rest := b.inner; ; {
		scan.SetLimits(limits())
		n, err := scan.Next(rest, &el)
		if errors.Is(err, xmlscan.ErrMore) {
			return nil // the body is complete, so only white space is left
		}
		if err != nil {
			return err
		}
		if !f(&el) {
			return nil
		}
		rest = rest[n:]
	}
}
