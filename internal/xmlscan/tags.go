package xmlscan

import (
	"bytes"
	"sync"

	"mellium.im/xmpp/stream"

	"rollcall/internal/ns"
)

// span is a part of the buffer, by offsets: the buffer may move between calls.
type span struct{ from, to int }

func (p span) in(b []byte) []byte { return b[p.from:p.to] }

// attr is an attribute of the tag at hand.
type attr struct {
	name, value span
	colon       int // in name, or -1
	quote       byte
}

// binding is a declaration of an open element; no prefix is the default.
type binding struct{ prefix, space span }

// frame is an open element.
type frame struct {
	name     span
	bindings int // of the elements around it
}

// space is a namespace name: in the buffer, in the scope, or fixed.
type space struct {
	in    span
	scope int // index + 1
	fixed string
}

// work is what a Scanner needs while an element is open.
type work struct {
	frames   []frame
	bindings []binding
	attrs    []attr // of the tag at hand
	root     []attr
	rootName tagName
	rootEnd  int // of its start tag
	rootNS   space
	children int
	child    span
	childNS  space
	used     []bool // declarations of the scope
}

// pool keeps the work of idle scanners; it holds no state between uses.
var pool = sync.Pool{New: func() any { return new(work) }}

// maxKept bounds what the pool holds on to, in entries.
const maxKept = 256

func (s *Scanner) release() {
	if w := s.w; w != nil && cap(w.frames) <= maxKept && cap(w.bindings) <= maxKept && cap(w.attrs) <= maxKept {
		*w = work{
			frames: w.frames[:0], bindings: w.bindings[:0], attrs: w.attrs[:0],
			root: w.root[:0], used: w.used[:0],
		}
		pool.Put(w)
	}
	s.w = nil
	s.mode, s.pos, s.tok, s.quote = between, 0, 0, 0
}

// tag takes the complete tag b[from:to]; done means that the element is complete
// and el is filled.
func (s *Scanner) tag(b []byte, from, to int, el *Element) (done bool, err error) {
	if b[from+1] == '/' {
		return s.endTag(b, from, to, el)
	}
	if s.w == nil {
		s.w = pool.Get().(*work)
		for range s.scope {
			s.w.used = append(s.w.used, false)
		}
	}
	w := s.w
	name, empty, err := s.parseTag(b, from, to)
	if err != nil {
		return false, err
	}
	if len(w.frames) > s.limits.Depth {
		return false, &Error{stream.PolicyViolation.Err, from, "elements nested too deep"}
	}
	around := len(w.bindings)
	if err := s.bind(b); err != nil {
		return false, err
	}
	where, err := s.resolve(b, name.prefix, true)
	if err != nil {
		return false, err
	}
	if err := s.checkAttrs(b); err != nil {
		return false, err
	}
	switch len(w.frames) {
	case 0:
		w.root = append(w.root[:0], w.attrs...)
		w.rootName, w.rootNS, w.rootEnd = name, where, to
	case 1:
		if w.children == 0 {
			w.child, w.childNS = name.local, where
		}
		w.children++
	}
	if s.header {
		if empty {
			return false, &Error{stream.NotWellFormed.Err, from, "empty stream"}
		}
		s.fill(el, b, Header, to, span{to, to})
		s.enclose(el.Attrs)
		s.name = usualName
		if !bytes.Equal(name.all.in(b), usualName) {
			s.name = bytes.Clone(name.all.in(b))
		}
		s.header = false
		return true, nil
	}
	if !empty {
		w.frames = append(w.frames, frame{name.all, around})
		return false, nil
	}
	w.bindings = w.bindings[:around]
	if len(w.frames) == 0 {
		s.fill(el, b, Stanza, to, span{to, to})
		return true, nil
	}
	return false, nil
}

// usualName is the root of nearly every stream; never changed.
var usualName = []byte("stream:stream")

// endTag takes the complete end tag b[from:to].
func (s *Scanner) endTag(b []byte, from, to int, el *Element) (done bool, err error) {
	name := bytes.TrimRight(b[from+2:to-1], " \t\r\n")
	w := s.w
	if w == nil {
		if s.header || s.name == nil || !bytes.Equal(name, s.name) {
			return false, &Error{stream.NotWellFormed.Err, from, "unexpected end tag"}
		}
		*el = Element{Kind: End, Raw: b[:to], Attrs: el.Attrs[:0], Outer: el.Outer[:0]}
		return true, nil
	}
	last := len(w.frames) - 1
	if !bytes.Equal(name, w.frames[last].name.in(b)) {
		return false, &Error{stream.NotWellFormed.Err, from, "end tag does not match"}
	}
	w.bindings = w.bindings[:w.frames[last].bindings]
	w.frames = w.frames[:last]
	if last > 0 {
		return false, nil
	}
	s.fill(el, b, Stanza, to, span{w.rootEnd, from})
	return true, nil
}

// fill describes the element b[:end] to the caller.
func (s *Scanner) fill(el *Element, b []byte, kind Kind, end int, inner span) {
	w := s.w
	attrs, outer := el.Attrs[:0], el.Outer[:0]
	for _, a := range w.root {
		attrs = append(attrs, Attr{Name: a.name.in(b), Value: a.value.in(b), Quote: a.quote})
	}
	for i, used := range w.used {
		if used {
			outer = append(outer, s.scope[i])
		}
	}
	*el = Element{
		Kind: kind, Raw: b[:end], Attrs: attrs, Outer: outer, Children: w.children,
		Prefix: w.rootName.prefix.in(b), Local: w.rootName.local.in(b), Space: s.spaceName(b, w.rootNS),
	}
	if inner.from < inner.to {
		el.Inner = inner.in(b)
	}
	if w.children > 0 {
		el.ChildLocal, el.ChildSpace = w.child.in(b), s.spaceName(b, w.childNS)
	}
}

// spaceName is a namespace name unescaped.
func (s *Scanner) spaceName(b []byte, sp space) []byte {
	raw := sp.in.in(b)
	switch {
	case sp.fixed != "":
		raw = []byte(sp.fixed)
	case sp.scope > 0:
		raw = s.scope[sp.scope-1].Value
	}
	if bytes.IndexByte(raw, '&') >= 0 {
		return []byte(Unescape(raw))
	}
	return raw
}

// bind records the declarations of the tag at hand (Namespaces in XML 1.0
// sections 2 and 3).
func (s *Scanner) bind(b []byte) error {
	w := s.w
	for i := range w.attrs {
		a := &w.attrs[i]
		name := a.name.in(b)
		if !isDecl(name) {
			continue
		}
		bound := binding{space: a.value}
		if a.colon >= 0 {
			bound.prefix = span{a.colon + 1, a.name.to}
		}
		value := a.value.in(b)
		prefix := string(bound.prefix.in(b))
		isXML := string(value) == ns.XML
		if prefix == "xmlns" || (prefix != "" && len(value) == 0) || (prefix == "xml") != isXML || string(value) == ns.XMLNS {
			return &Error{stream.BadNamespacePrefix.Err, a.name.from, "impossible declaration"}
		}
		w.bindings = append(w.bindings, bound)
	}
	return nil
}

// resolve finds the namespace of a prefix; attributes without one have none.
func (s *Scanner) resolve(b []byte, prefix span, element bool) (space, error) {
	p := prefix.in(b)
	if len(p) == 0 && !element {
		return space{}, nil
	}
	w := s.w
	for i := len(w.bindings) - 1; i >= 0; i-- {
		if bytes.Equal(w.bindings[i].prefix.in(b), p) {
			return space{in: w.bindings[i].space}, nil
		}
	}
	for i := len(s.scope) - 1; i >= 0; i-- {
		name := s.scope[i].Name
		switch {
		case len(p) == 0 && len(name) == len("xmlns"):
			return space{scope: i + 1}, nil
		case len(p) > 0 && len(name) > len("xmlns:") && bytes.Equal(name[len("xmlns:"):], p):
			w.used[i] = true
			return space{scope: i + 1}, nil
		}
	}
	switch string(p) {
	case "":
		return space{}, nil
	case "xml":
		return space{fixed: ns.XML}, nil
	}
	return space{}, &Error{stream.BadNamespacePrefix.Err, prefix.from, "prefix not declared"}
}

// checkAttrs finds undeclared prefixes and attributes that are there twice.
func (s *Scanner) checkAttrs(b []byte) error {
	w := s.w
	for i := range w.attrs {
		a := &w.attrs[i]
		name := a.name.in(b)
		for j := range i {
			if bytes.Equal(w.attrs[j].name.in(b), name) {
				return &Error{stream.NotWellFormed.Err, a.name.from, "attribute is there twice"}
			}
		}
		if a.colon < 0 || isDecl(name) {
			continue
		}
		where, err := s.resolve(b, span{a.name.from, a.colon}, false)
		if err != nil {
			return err
		}
		for j := range i {
			o := &w.attrs[j]
			if o.colon < 0 || isDecl(o.name.in(b)) || !bytes.Equal(b[o.colon+1:o.name.to], b[a.colon+1:a.name.to]) {
				continue
			}
			other, err := s.resolve(b, span{o.name.from, o.colon}, false)
			if err != nil {
				return err
			}
			if bytes.Equal(s.spaceName(b, where), s.spaceName(b, other)) {
				return &Error{stream.NotWellFormed.Err, a.name.from, "attribute is there twice, under two prefixes"}
			}
		}
	}
	return nil
}
