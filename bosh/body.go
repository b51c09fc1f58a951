package bosh

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"mellium.im/xmpp/stream"

	"rollcall/conf"
	"rollcall/internal/ns"
	"rollcall/internal/xmlscan"
)

// body is a request's <body/> (XEP-0124 section 6). What it has of bytes is in raw, and
// goes with it to the next request: see Handler.recycle.
type body struct {
	raw []byte // as it came
	rid int64
	sid []byte
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
	// first is the first of them, and ends there in inner; 0 when nobody looked yet.
	// Most bodies have no other.
	first xmlscan.Element
	ends  int

	el         xmlscan.Element // for whatever is looked at
	root, scan xmlscan.Scanner // of the body, of what is in it
}

// maxKeptBody bounds what a body holds on to that nobody needs, in bytes, and in
// entries.
const (
	maxKeptBody  = 4 << 10
	maxKeptAttrs = 32
)

// newBody returns an empty body.
func (h *Handler) newBody() *body {
	if b, ok := h.bodies.Get().(*body); ok {
		return b
	}
	return new(body)
}

// recycle is called when nobody needs a body any more.
func (h *Handler) recycle(b *body) {
	if cap(b.raw) > maxKeptBody || max(cap(b.decls), cap(b.el.Attrs), cap(b.first.Attrs)) > maxKeptAttrs {
		return
	}
	*b = body{
		raw: b.raw[:0], decls: b.decls[:0], root: b.root, scan: b.scan,
		el:    xmlscan.Element{Attrs: b.el.Attrs[:0], Outer: b.el.Outer[:0]},
		first: xmlscan.Element{Attrs: b.first.Attrs[:0], Outer: b.first.Outer[:0]},
	}
	h.bodies.Put(b)
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
	errNoRID      = errors.New("rid is missing or out of range")
)

// parse parses raw, what a client posted. With an error b has what could be told of
// the start tag.
func (b *body) parse(limits conf.Limits) *bodyError {
	rest, err := skipDeclaration(b.raw)
	if err != nil {
		return badRequest(err)
	}
	b.root.Scope(nil)
	b.root.SetLimits(xmlscan.Limits{Bytes: len(rest), Depth: limits.Depth + 1, Attrs: limits.Attributes})
	el := &b.el
	n, err := b.root.Next(rest, el)
	if err != nil {
		b.sid = peekSID(rest, limits)
		if errors.Is(err, xmlscan.ErrMore) {
			err = errIncomplete
		}
		return badXML(err)
	}
	if string(el.Space) != ns.HTTPBind || string(el.Local) != "body" {
		return badRequest(errNotBody)
	}
	if err := b.attributes(el.Attrs); err != nil {
		return badRequest(err)
	}
	if len(bytes.TrimLeft(rest[n:], " \t\r\n")) > 0 {
		return badRequest(errTwoBodies)
	}
	if err := b.children(el, limits); err != nil {
		return badXML(err)
	}
	return nil
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
func peekSID(raw []byte, limits conf.Limits) []byte {
	raw, err := skipDeclaration(raw)
	if err != nil {
		return nil
	}
	scan := xmlscan.New(xmlscan.Limits{Bytes: len(raw), Depth: 1, Attrs: limits.Attributes})
	var el xmlscan.Element
	if _, err := scan.Next(raw, &el); err != nil || el.Kind != xmlscan.Header || string(el.Space) != ns.HTTPBind {
		return nil
	}
	return unescaped(el.Attr("sid"))
}

// attributes reads the start tag. Prefixes are the client's choice (XEP-0206
// section 4), so that names are resolved.
func (b *body) attributes(attrs []xmlscan.Attr) error {
	var errs []error
	b.sid = unescaped(value(attrs, "sid")) // before anything that may fail
	b.ver = attribute(attrs, "ver")
	b.old = len(b.sid) == 0 && b.ver == ""
	for _, a := range attrs {
		switch name := string(a.Name); name {
		case "rid":
			b.rid = parseRID(string(unescaped(a.Value)))
		case "to":
			b.to = xmlscan.Unescape(a.Value)
		case "from":
			b.from = xmlscan.Unescape(a.Value)
		case "xml:lang":
			b.lang = xmlscan.Unescape(a.Value)
		case "content":
			b.content = xmlscan.Unescape(a.Value)
		case "type":
			b.terminate = string(unescaped(a.Value)) == "terminate"
		case "ack":
			b.acks = true
			errs = append(errs, parseAck(&b.ack, string(unescaped(a.Value))))
		case "key":
			b.key = xmlscan.Unescape(a.Value)
		case "newkey":
			b.newKey = xmlscan.Unescape(a.Value)
		case "wait":
			errs = append(errs, b.wait.parse("wait", a.Value))
		case "hold":
			errs = append(errs, b.hold.parse("hold", a.Value))
		case "pause":
			errs = append(errs, b.pause.parse("pause", a.Value))
		default:
			b.xbosh(attrs, a)
		}
	}
	if b.rid == 0 {
		errs = append(errs, errNoRID)
	}
	return errors.Join(errs...)
}

// xbosh takes the attributes of XEP-0206.
func (b *body) xbosh(attrs []xmlscan.Attr, a xmlscan.Attr) {
	prefix, local, _ := bytes.Cut(a.Name, []byte(":"))
	version, restart := string(local) == "version", string(local) == "restart"
	if !version && !restart || attribute(attrs, "xmlns:"+string(prefix)) != ns.XBOSH {
		return
	}
	if version {
		b.version = xmlscan.Unescape(a.Value)
		return
	}
	is := string(unescaped(a.Value))
	b.restart = is == "true" || is == "1"
}

// value is an attribute as written, nil when there is none.
func value(attrs []xmlscan.Attr, name string) []byte {
	for i := range attrs {
		if string(attrs[i].Name) == name {
			return attrs[i].Value
		}
	}
	return nil
}

func attribute(attrs []xmlscan.Attr, name string) string { return xmlscan.Unescape(value(attrs, name)) }

// unescaped is as xmlscan.Unescape, and aliases what is as written.
func unescaped(raw []byte) []byte {
	if !bytes.ContainsAny(raw, "&\t\r\n") {
		return raw
	}
	return []byte(xmlscan.Unescape(raw))
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

func (n *number) parse(name string, raw []byte) error {
	v, err := strconv.ParseUint(xmlscan.Unescape(raw), 10, 64)
	if err != nil {
		return fmt.Errorf("%s is no number: %w", name, err)
	}
	n.value, n.given = int(min(v, maxNumber)), true
	return nil
}

// clientSpace is never changed.
var clientSpace = []byte(ns.Client)

// children looks at the elements of a body, whose prefixes may be declared on it.
// Stanzas without a namespace of their own inherit the body's, by the letter of
// the law; old clients mean jabber:client.
func (b *body) children(el *xmlscan.Element, limits conf.Limits) error {
	b.inner, b.stuff = el.Inner, el.Children > 0
	for _, a := range el.Attrs {
		if string(a.Name) != "xmlns" && !bytes.HasPrefix(a.Name, []byte("xmlns:")) {
			continue
		}
		if len(a.Name) == len("xmlns") && string(unescaped(a.Value)) == ns.HTTPBind {
			a.Value = clientSpace
		}
		b.decls = append(b.decls, a)
	}
	return b.look(limits)
}

// look looks at every element for the first time.
func (b *body) look(limits conf.Limits) error {
	b.enter()
	b.scan.SetLimits(xmlscan.Limits{Bytes: len(b.inner), Depth: limits.Depth, Attrs: limits.Attributes})
	el := &b.first
	for rest := b.inner; ; {
		n, err := b.scan.Next(rest, el)
		if errors.Is(err, xmlscan.ErrMore) {
			return nil // the body is complete, so only white space is left
		}
		if err != nil {
			return err
		}
		if el == &b.first {
			b.ends = n
		}
		rest, el = rest[n:], &b.el
	}
}

// enter has scan expect elements within decls. It keeps a copy of those, which are the
// same for nearly every body.
func (b *body) enter() {
	same := slices.EqualFunc(b.decls, b.scan.Decls(), func(a, o xmlscan.Attr) bool {
		return a.Quote == o.Quote && bytes.Equal(a.Name, o.Name) && bytes.Equal(a.Value, o.Value)
	})
	if !same || b.scan.Partial() {
		b.scan.Scope(b.decls)
	}
}

// each calls f with one element after the other until f returns false; limits are
// those of the next element.
func (b *body) each(limits func() xmlscan.Limits, f func(*xmlscan.Element) bool) error {
	rest := b.inner
	if b.ends > 0 && len(b.first.Raw) <= limits().Bytes {
		if !f(&b.first) {
			return nil
		}
		rest = rest[b.ends:]
	}
	for b.enter(); ; {
		b.scan.SetLimits(limits())
		n, err := b.scan.Next(rest, &b.el)
		if errors.Is(err, xmlscan.ErrMore) {
			return nil // as before
		}
		if err != nil {
			return err
		}
		if !f(&b.el) {
			return nil
		}
		rest = rest[n:]
	}
}
