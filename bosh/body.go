package bosh

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"rollcall/internal/ns"
	"rollcall/internal/xmlscan"
)

// maxRID is the largest request id (XEP-0124 section 6).
const maxRID = 1<<53 - 1

// body is the wrapper of a request (XEP-0124 section 6).
type body struct {
	rid       uint64
	sid       string
	to, from  string
	lang      string
	ver       string
	content   string
	version   string // xmpp:version
	hold      int    // -1 when absent
	wait      time.Duration
	pause     time.Duration // -1 when absent
	restart   bool
	terminate bool
	secure    bool
	decls     []xmlscan.Attr
	inner     []byte // the payload
}

// empty reports whether the request is a mere poll.
func (b *body) empty() bool {
	return len(bytes.TrimSpace(b.inner)) == 0 && !b.restart && !b.terminate && b.pause < 0
}

var errNotBody = errors.New("not one <body/> in the httpbind namespace")

// parseBody reads a request. The result aliases data. Errors from the scanner are
// *xmlscan.Error.
func parseBody(data []byte, l xmlscan.Limits) (*body, error) {
	s := xmlscan.New(l)
	s.Scope(nil)
	var el xmlscan.Element
	n, err := s.Next(data, &el)
	if err != nil {
		return nil, err
	}
	if el.Kind != xmlscan.Stanza || string(el.Local) != "body" || string(el.Space) != ns.HTTPBind ||
		len(bytes.TrimSpace(data[n:])) > 0 {
		return nil, errNotBody
	}
	b := &body{hold: -1, wait: -1, pause: -1, inner: el.Inner, decls: el.Attrs}
	if b.rid, err = strconv.ParseUint(el.AttrString("rid"), 10, 64); err != nil || b.rid == 0 || b.rid > maxRID {
		return nil, fmt.Errorf("rid %.32q", el.AttrString("rid"))
	}
	b.sid, b.to, b.from = el.AttrString("sid"), el.AttrString("to"), el.AttrString("from")
	b.lang, b.ver, b.content = el.AttrString("xml:lang"), el.AttrString("ver"), el.AttrString("content")
	b.terminate = el.AttrString("type") == "terminate"
	if err := b.numbers(&el); err != nil {
		return nil, err
	}
	for prefix := range xboshPrefixes(el.Attrs) {
		b.version = first(b.version, el.AttrString(prefix+":version"))
		restart := el.AttrString(prefix + ":restart")
		b.restart = b.restart || restart == "true" || restart == "1"
	}
	return b, nil
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// xboshPrefixes yields the prefixes that stand for urn:xmpp:xbosh.
func xboshPrefixes(attrs []xmlscan.Attr) func(func(string) bool) {
	return func(yield func(string) bool) {
		for _, a := range attrs {
			prefix, ok := strings.CutPrefix(string(a.Name), "xmlns:")
			if ok && xmlscan.Unescape(a.Value) == ns.XBOSH && !yield(prefix) {
				return
			}
		}
	}
}

// numbers reads hold, wait and pause.
func (b *body) numbers(el *xmlscan.Element) error {
	for _, field := range []struct {
		name string
		set  func(int)
	}{
		{"hold", func(n int) { b.hold = n }},
		{"wait", func(n int) { b.wait = time.Duration(n) * time.Second }},
		{"pause", func(n int) { b.pause = time.Duration(n) * time.Second }},
	} {
		if el.Attr(field.name) == nil {
			continue
		}
		n, err := strconv.ParseUint(el.AttrString(field.name), 10, 31)
		if err != nil {
			return fmt.Errorf("%s %.32q", field.name, el.AttrString(field.name))
		}
		field.set(int(n))
	}
	return nil
}

// elements walks over the payload. Elements that take the wrapper's namespace by
// inheritance are meant to be stanzas, and clients do send them so.
func (b *body) elements(l func() xmlscan.Limits, take func(*xmlscan.Element) bool) error {
	s := xmlscan.New(l())
	s.Scope(b.decls)
	var el xmlscan.Element
	for rest := b.inner; ; {
		s.SetLimits(l())
		n, err := s.Next(rest, &el)
		if errors.Is(err, xmlscan.ErrMore) {
			return nil // the wrapper was complete, so only white space is left
		}
		if err != nil {
			return err
		}
		rest = rest[n:]
		if string(el.Space) == ns.HTTPBind && len(el.Prefix) == 0 {
			el.Space = []byte(ns.Client)
			if string(el.ChildSpace) == ns.HTTPBind {
				el.ChildSpace = el.Space
			}
		}
		if !take(&el) {
			return nil
		}
	}
}
