package xmlscan

import (
	"bytes"
	"slices"
	"sync"

	"mellium.im/xmpp/stream"

	"rollcall/internal/ns"
)

// span is a part of the buffer, by offsets: the buffer may move between calls.
type span struct{ from, to int }

func (p span) in(b []byte) []byte { return b[p.from:p.to:p.to] }

// attr is an attribute of the tag at hand.
type attr struct {
	name, value span
	colon       int // in name, or -1
	quote       byte
	decl        bool
	literal     bool  // the value is as written
	ns          space // when there is a colon
}

// binding is a declaration of an open element; no prefix is the default.
type binding struct{ prefix, space span }

// frame is an open element.
type frame struct {
	name     span
	bindings int // of the elements around it
	unnamed  int // as in work, of the elements around it
}

// space is a namespace name: in the buffer, or elsewhere.
type space struct {
	in    span
	scope int // index + 1 in the scope, or xmlSpace
}

// xmlSpace stands for the namespace of the prefix xml.
const xmlSpace = -1

// work is what a Scanner needs while an element is open.
type work struct {
	frames   []frame
	bindings []binding
	unnamed  int     // index + 1 in bindings of the default namespace; 0: the scope's
	attrs    []attr  // of the root, then of the tag at hand
	ofRoot   int     // how many of them are the root's
	name     tagName // of the tag at hand
	empty    bool    // the tag at hand is an empty element
	escaped  bool    // a namespace name is not as written
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
		w.frames, w.bindings, w.attrs, w.used = w.frames[:0], w.bindings[:0], w.attrs[:0], w.used[:0]
		w.unnamed, w.ofRoot, w.children, w.escaped = 0, 0, 0, false // the rest is set before it is read
		pool.Put(w)
	}
	s.w = nil
	s.mode, s.pos, s.tok, s.quote = between, 0, 0, 0
}

// wholeTag takes the tag at tok in one go if all of it is there and well-formed;
// to is where it ends, 0 otherwise. It tries once per tag: what comes in pieces,
// and what is wrong, goes the way of findTag.
func (s *Scanner) wholeTag(b []byte, el *Element) (done bool, to int, err error) {
	if s.pos != s.tok+1 || s.pos == len(b) {
		return false, 0, nil
	}
	switch c := b[s.pos]; {
	case classes[c]&nameStart != 0:
		s.take()
		if to, err = s.parseTag(b, s.tok, len(b)); err != nil {
			return false, 0, nil
		}
		done, err = s.startTag(b, s.tok, to, el)
	case c == '/' && s.w != nil && len(s.w.frames) > 0:
		name := s.w.frames[len(s.w.frames)-1].name
		to = s.pos + 2 + name.to - name.from
		if to > len(b) || b[to-1] != '>' || !bytes.Equal(b[s.pos+1:to-1], name.in(b)) {
			return false, 0, nil
		}
		done = s.closeTag(b, s.tok, to, el)
	}
	return done, to, err
}

// take makes sure that s.w is there.
func (s *Scanner) take() {
	if s.w == nil {
		s.w = pool.Get().(*work)
		for range s.Decls() {
			s.w.used = append(s.w.used, false)
		}
	}
}

// tag takes the complete tag b[from:to]; done means that the element is complete
// and el is filled.
func (s *Scanner) tag(b []byte, from, to int, el *Element) (done bool, err error) {
	if b[from+1] == '/' {
		return s.endTag(b, from, to, el)
	}
	s.take()
	_, err = s.parseTag(b, from, to)
	if err == errOpen {
		err = &Error{stream.NotWellFormed.Err, from, "bad start tag"}
	}
	if err != nil {
		return false, err
	}
	return s.startTag(b, from, to, el)
}

// startTag takes the start tag b[from:to], which parseTag has read.
func (s *Scanner) startTag(b []byte, from, to int, el *Element) (done bool, err error) {
	w := s.w
	if len(w.frames) > s.limits.Depth {
		return false, &Error{stream.PolicyViolation.Err, from, "elements nested too deep"}
	}
	around, unnamed := len(w.bindings), w.unnamed
	if len(w.attrs) > w.ofRoot {
		if err := s.bind(b); err != nil {
			return false, err
		}
		if err := s.checkAttrs(b); err != nil {
			return false, err
		}
	}
	where, err := s.resolve(b, w.name.prefix)
	if err != nil {
		return false, err
	}
	switch len(w.frames) {
	case 0:
		w.ofRoot = len(w.attrs)
		w.rootName, w.rootNS, w.rootEnd = w.name, where, to
	case 1:
		if w.children == 0 {
			w.child, w.childNS = w.name.local, where
		}
		w.children++
	}
	if s.header {
		if w.empty {
			return false, &Error{stream.NotWellFormed.Err, from, "empty stream"}
		}
		s.fill(el, b, Header, to, span{to, to})
		s.root = newRoot(w.name.all.in(b), el.Attrs)
		s.header = false
		return true, nil
	}
	if !w.empty {
		w.frames = append(w.frames, frame{w.name.all, around, unnamed})
		return false, nil
	}
	w.bindings, w.unnamed = w.bindings[:around], unnamed
	if len(w.frames) == 0 {
		s.fill(el, b, Stanza, to, span{to, to})
		return true, nil
	}
	return false, nil
}

// endTag takes the complete end tag b[from:to].
func (s *Scanner) endTag(b []byte, from, to int, el *Element) (done bool, err error) {
	name := bytes.TrimRight(b[from+2:to-1], " \t\r\n")
	w := s.w
	if w == nil || len(w.frames) == 0 {
		if s.header || s.root == nil || s.root.name == nil || !bytes.Equal(name, s.root.name) {
			return false, &Error{stream.NotWellFormed.Err, from, "unexpected end tag"}
		}
		*el = Element{Kind: End, Raw: b[:to:to], Attrs: el.Attrs[:0], Outer: el.Outer[:0]}
		return true, nil
	}
	last := len(w.frames) - 1
	if !bytes.Equal(name, w.frames[last].name.in(b)) {
		return false, &Error{stream.NotWellFormed.Err, from, "end tag does not match"}
	}
	return s.closeTag(b, from, to, el), nil
}

// closeTag takes the end tag b[from:to] of the innermost open element.
func (s *Scanner) closeTag(b []byte, from, to int, el *Element) (done bool) {
	w := s.w
	last := len(w.frames) - 1
	w.bindings, w.unnamed = w.bindings[:w.frames[last].bindings], w.frames[last].unnamed
	w.frames = w.frames[:last]
	if last > 0 {
		return false
	}
	s.fill(el, b, Stanza, to, span{w.rootEnd, from})
	return true
}

// fill describes the element b[:end] to the caller.
func (s *Scanner) fill(el *Element, b []byte, kind Kind, end int, inner span) {
	w := s.w
	attrs, outer := slices.Grow(el.Attrs[:0], w.ofRoot)[:w.ofRoot], el.Outer[:0]
	for i := range attrs {
		a := &w.attrs[i]
		attrs[i] = Attr{Name: a.name.in(b), Value: a.value.in(b), Quote: a.quote}
	}
	for i, used := range w.used {
		if used {
			outer = append(outer, s.root.scope[i])
		}
	}
	// Field by field: an Element is long, and a whole one would be written twice.
	el.Kind, el.Raw, el.Attrs, el.Outer, el.Children = kind, b[:end:end], attrs, outer, w.children
	el.Prefix, el.Local, el.Space = w.rootName.prefix.in(b), w.rootName.local.in(b), s.spaceName(b, w.rootNS)
	el.Inner, el.ChildLocal, el.ChildSpace = nil, nil, nil
	if inner.from < inner.to {
		el.Inner = inner.in(b)
	}
	if w.children > 0 {
		el.ChildLocal, el.ChildSpace = w.child.in(b), s.spaceName(b, w.childNS)
	}
}

// rawSpace is a namespace name as written.
func (s *Scanner) rawSpace(b []byte, sp space) []byte {
	switch {
	case sp.scope == xmlSpace:
		return xmlName
	case sp.scope > 0:
		return s.root.scope[sp.scope-1].Value
	}
	return sp.in.in(b)
}

// xmlName is never changed.
var xmlName = []byte(ns.XML)

// spaceName is a namespace name unescaped; the usual one aliases the buffer.
func (s *Scanner) spaceName(b []byte, sp space) []byte {
	raw := s.rawSpace(b, sp)
	if (s.w.escaped || sp.scope > 0 && s.root.escaped) && bytes.ContainsAny(raw, "&\t\r\n") {
		return []byte(Unescape(raw))
	}
	return raw
}

// bind records the declarations of the tag at hand (Namespaces in XML 1.0
// sections 2 and 3).
func (s *Scanner) bind(b []byte) error {
	w := s.w
	for i := w.ofRoot; i < len(w.attrs); i++ {
		a := &w.attrs[i]
		if !a.decl {
			continue
		}
		// Every prefixed name may look at all of them.
		if len(w.bindings) >= s.limits.Attrs+s.limits.Depth {
			return &Error{stream.PolicyViolation.Err, a.name.from, "too many namespace declarations"}
		}
		bound := binding{space: a.value}
		if a.colon >= 0 {
			bound.prefix = span{a.colon + 1, a.name.to}
		}
		value := a.value.in(b)
		if !a.literal {
			value, w.escaped = []byte(Unescape(value)), true
		}
		prefix := string(bound.prefix.in(b))
		isXML := string(value) == ns.XML
		if prefix == "xmlns" || (prefix != "" && len(value) == 0) || (prefix == "xml") != isXML || string(value) == ns.XMLNS {
			return &Error{stream.NotWellFormed.Err, a.name.from, "impossible declaration"} // RFC 6120 section 11.3
		}
		w.bindings = append(w.bindings, bound)
		if prefix == "" {
			w.unnamed = len(w.bindings)
		}
	}
	return nil
}

// resolve finds the namespace of a prefix, or of an element without one.
func (s *Scanner) resolve(b []byte, prefix span) (space, error) {
	w, p := s.w, prefix.in(b)
	if len(p) == 0 && w.unnamed > 0 {
		return space{in: w.bindings[w.unnamed-1].space}, nil
	}
	for i := len(w.bindings) - 1; i >= 0 && len(p) > 0; i-- {
		if bytes.Equal(w.bindings[i].prefix.in(b), p) {
			return space{in: w.bindings[i].space}, nil
		}
	}
	scope := s.Decls()
	for i := len(scope) - 1; i >= 0; i-- {
		name := scope[i].Name
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
		return space{scope: xmlSpace}, nil
	}
	return space{}, &Error{stream.NotWellFormed.Err, prefix.from, "prefix not declared"} // RFC 6120 section 11.3
}

// checkAttrs finds undeclared prefixes and attributes that are there twice
// (Namespaces in XML 1.0 section 6.3).
func (s *Scanner) checkAttrs(b []byte) error {
	attrs := s.w.attrs[s.w.ofRoot:]
	for i := range attrs {
		a := &attrs[i]
		for j := range i {
			if bytes.Equal(attrs[j].name.in(b), a.name.in(b)) {
				return &Error{stream.NotWellFormed.Err, a.name.from, "attribute is there twice"}
			}
		}
		if a.colon < 0 || a.decl {
			continue
		}
		var err error
		if a.ns, err = s.resolve(b, span{a.name.from, a.colon}); err != nil {
			return err
		}
		for j := range i {
			if o := &attrs[j]; o.colon >= 0 && !o.decl && bytes.Equal(b[o.colon+1:o.name.to], b[a.colon+1:a.name.to]) &&
				bytes.Equal(s.spaceName(b, o.ns), s.spaceName(b, a.ns)) {
				return &Error{stream.NotWellFormed.Err, a.name.from, "attribute is there twice, under two prefixes"}
			}
		}
	}
	return nil
}
