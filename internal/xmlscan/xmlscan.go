// Package xmlscan finds the end of each element of an XMPP stream, strictly and
// without building anything: what it accepts is namespace-well-formed XML within
// the limits of RFC 6120 section 11, and can be forwarded as it came.
//
// A Scanner takes a stream as it arrives, in pieces of any size, and looks at
// each byte a bounded number of times. Results alias the caller's buffer. Between
// elements it holds nothing but the declarations of the stream's header.
package xmlscan

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"mellium.im/xmpp/stream"

	"rollcall/internal/ns"
)

// ErrMore says that the buffer ends before the element does.
var ErrMore = errors.New("xmlscan: more input needed")

// Error says what is wrong with the input.
type Error struct {
	Condition string // of the stream error (RFC 6120 section 4.9.3)
	Offset    int    // in the buffer given to Next
	Detail    string // for the log
}

// Error implements error.
func (e *Error) Error() string {
	return fmt.Sprintf("xmlscan: %s at byte %d: %s", e.Condition, e.Offset, e.Detail)
}

// Limits bound one element.
type Limits struct {
	Bytes int // of a top-level element or a header
	Depth int // of elements nested in a top-level element
	Attrs int // of one start tag; with Depth, of namespace declarations in force
}

// Kind says what Next found.
type Kind uint8

// The kinds.
const (
	Stanza Kind = iota + 1 // a whole top-level element
	Header                 // the stream's start tag
	End                    // the stream's end tag
)

// Attr is an attribute as written.
type Attr struct {
	Name  []byte // with its prefix
	Value []byte // still escaped
	Quote byte   // ' or "
}

// Element is what Next found. It aliases the buffer, and is valid as long as the
// buffer's bytes are.
type Element struct {
	Kind          Kind
	Raw           []byte // all of it
	Prefix, Local []byte
	Space         []byte // namespace name
	Attrs         []Attr // in order, declarations included
	Inner         []byte // between start tag and end tag
	Children      int    // elements directly inside
	ChildLocal    []byte // of the first of them
	ChildSpace    []byte
	// Outer are the prefix declarations of the enclosing scope that the element
	// uses: they must go with it wherever it goes.
	Outer []Attr
}

// Attr returns the raw value of an attribute, nil when there is none.
func (e *Element) Attr(name string) []byte {
	for i := range e.Attrs {
		if string(e.Attrs[i].Name) == name {
			return e.Attrs[i].Value
		}
	}
	return nil
}

// AttrString returns the value of an attribute, "" when there is none.
func (e *Element) AttrString(name string) string { return Unescape(e.Attr(name)) }

// mode is where in the input a Scanner is.
type mode uint8

const (
	between mode = iota // top-level elements
	inTag
	inText
	inCDATA
	inDecl // the XML declaration
)

// Scanner finds elements. Its methods must not be called concurrently.
type Scanner struct {
	limits Limits
	root   *Root // around the elements; nil before a header, and where nothing is declared
	w      *work // while an element is incomplete

	pos, tok int // how far the element was looked at; where its last token begins
	header   bool
	decl     bool // an XML declaration may come
	mode     mode
	quote    byte // of the attribute value that pos is in
}

// Root is what a Scanner knows between two elements of a stream.
type Root struct {
	scope   []Attr // declarations around the elements
	name    []byte // of the stream's root, prefix included; nil in a fragment
	escaped bool   // a namespace name is not as written
}

// Idle reports whether nothing has begun: the next thing is a stream header, and root
// is nil, or an element of a stream. Resume with root then makes any Scanner go on from
// here, so that thousands of idle streams need none.
func (s *Scanner) Idle() (root *Root, ok bool) {
	switch {
	case s.mode != between:
		return nil, false
	case s.header:
		return nil, s.decl
	}
	return s.root, s.root != nil && s.root.name != nil
}

// Resume forgets everything and goes on where a Scanner was idle.
func (s *Scanner) Resume(root *Root) {
	s.Reset()
	if root != nil {
		s.root, s.header, s.decl = root, false, false
	}
}

// New returns a Scanner that expects a stream header.
func New(l Limits) *Scanner {
	s := &Scanner{limits: l}
	s.Reset()
	return s
}

// SetLimits changes the limits, from the next call of Next on.
func (s *Scanner) SetLimits(l Limits) { s.limits = l }

// Reset forgets everything and expects a stream header.
func (s *Scanner) Reset() {
	s.release()
	s.root = nil
	s.header, s.decl = true, true // white space may precede both: it ends the element before a restart
}

// Scope forgets everything and expects elements within the scope of the
// declarations given, which are copied: attributes named xmlns or xmlns:*,
// others are ignored.
func (s *Scanner) Scope(decls []Attr) {
	s.release()
	s.header, s.decl = false, false
	s.root = newRoot(nil, decls)
}

// Document forgets everything and expects elements like Scope; an XML declaration
// may come before the first.
func (s *Scanner) Document(decls []Attr) {
	s.Scope(decls)
	s.decl = true
}

// newRoot copies the name and those of the attributes that are declarations, unless
// they are as usual: idle sessions share that.
func newRoot(name []byte, attrs []Attr) *Root {
	switch {
	case name == nil && declare(attrs, nil):
		return nil
	case name == nil && declare(attrs, usualFragment.scope):
		return usualFragment
	case bytes.Equal(name, usualRoot.name) && declare(attrs, usualRoot.scope):
		return usualRoot
	}
	r := &Root{name: bytes.Clone(name)}
	for _, a := range attrs {
		if isDecl(a.Name) {
			r.scope = append(r.scope, Attr{bytes.Clone(a.Name), bytes.Clone(a.Value), a.Quote})
			r.escaped = r.escaped || bytes.ContainsAny(a.Value, "&\t\r\n")
		}
	}
	return r
}

// declare reports whether the declarations among attributes are those of a scope.
func declare(attrs, scope []Attr) bool {
	found := 0
	for _, a := range attrs {
		if !isDecl(a.Name) {
			continue
		}
		if !slices.ContainsFunc(scope, func(u Attr) bool {
			return bytes.Equal(a.Name, u.Name) && bytes.Equal(a.Value, u.Value)
		}) {
			return false
		}
		found++ // no name comes twice in a tag
	}
	return found == len(scope)
}

// What surrounds the elements of nearly every stream; never changed.
var (
	usualScope = []Attr{
		{Name: []byte("xmlns"), Value: []byte(ns.Client), Quote: '\''},
		{Name: []byte("xmlns:stream"), Value: []byte(ns.Stream), Quote: '\''},
	}
	usualRoot     = &Root{scope: usualScope, name: []byte("stream:stream")}
	usualFragment = &Root{scope: usualScope}
)

func isDecl(name []byte) bool {
	return string(name) == "xmlns" || bytes.HasPrefix(name, []byte("xmlns:"))
}

// Decls are the declarations of the enclosing scope.
func (s *Scanner) Decls() []Attr {
	if s.root == nil {
		return nil
	}
	return s.root.scope
}

// Partial reports whether an element has begun that is not complete.
func (s *Scanner) Partial() bool { return s.mode != between }

// Next finds the next element at the beginning of buf and fills el. The first n
// bytes of buf are done with after the caller is done with el; the next call gets
// what follows them. With ErrMore the next call gets at least the same bytes from
// n on. Any other error is an *Error, and the end.
func (s *Scanner) Next(buf []byte, el *Element) (n int, err error) {
	for {
		if s.mode == between {
			for n < len(buf) && isSpace(buf[n]) {
				n++
			}
			if n == len(buf) {
				return n, ErrMore
			}
			if buf[n] != '<' {
				return n, s.fail(stream.NotWellFormed, n, "text between elements")
			}
			s.mode, s.tok, s.pos, s.quote = inTag, 0, 1, 0
		}
		b := buf[n:]
		if len(b) > s.limits.Bytes {
			b = b[:s.limits.Bytes+1] // what is beyond changes nothing
		}
		if s.pos > len(b) { // the limit was lowered meanwhile
			return n, s.fail(stream.PolicyViolation, n+len(b), "element too long")
		}
		end, err := s.run(b, el)
		switch {
		case err == errDecl:
			n += end
			s.decl = false
			s.release()
			continue
		case err == ErrMore && len(b) <= s.limits.Bytes:
			return n, ErrMore
		case err == ErrMore || err == nil && end > s.limits.Bytes:
			return n, s.fail(stream.PolicyViolation, n+len(b), "element too long")
		}
		s.release()
		s.decl = false
		if bad, ok := err.(*Error); ok {
			bad.Offset += n
		}
		return n + end, err
	}
}

// errDecl says that an XML declaration is complete.
var errDecl = errors.New("xmlscan: XML declaration")

func (s *Scanner) fail(e stream.Error, at int, detail string) error {
	s.release()
	return &Error{Condition: e.Err, Offset: at, Detail: detail}
}

// run goes on from pos until the element is complete.
func (s *Scanner) run(b []byte, el *Element) (end int, err error) {
	for {
		switch s.mode {
		case inText:
			i := bytes.IndexByte(b[s.pos:], '<')
			if i < 0 {
				s.pos = len(b)
				return 0, ErrMore
			}
			s.pos += i
			if _, err := checkRun(b, s.tok, s.pos, true); err != nil {
				return 0, err
			}
			s.mode, s.tok, s.quote = inTag, s.pos, 0
			s.pos++
		case inTag:
			done, to, err := s.wholeTag(b, el)
			if to == 0 {
				if err := s.findTag(b); err != nil {
					return 0, err
				}
				if s.mode != inTag {
					continue
				}
				to = s.pos
				done, err = s.tag(b, s.tok, to, el)
			}
			s.pos = to
			if done || err != nil {
				return s.pos, err
			}
			s.mode, s.tok = inText, s.pos
		case inCDATA:
			i := bytes.Index(b[s.pos:], []byte("]]>"))
			if i < 0 {
				s.pos = max(s.pos, len(b)-2)
				return 0, ErrMore
			}
			if err := checkChars(b, s.tok, s.pos+i); err != nil {
				return 0, err
			}
			s.pos += i + 3
			s.mode, s.tok = inText, s.pos
		case inDecl:
			i := bytes.Index(b[s.pos:], []byte("?>"))
			if i < 0 {
				s.pos = max(s.pos, len(b)-1)
				return 0, ErrMore
			}
			s.pos += i + 2
			if err := checkDecl(b[s.tok:s.pos]); err != nil {
				return 0, err
			}
			return s.pos, errDecl
		}
	}
}

const cdata = "<![CDATA["

// findTag looks for the end of the tag at tok, and notices what is no tag.
func (s *Scanner) findTag(b []byte) error {
	if s.pos == len(b) {
		return ErrMore
	}
	switch b[s.tok+1] {
	case '?':
		return s.instruction(b)
	case '!':
		have := b[s.tok:min(len(b), s.tok+len(cdata))]
		if !bytes.HasPrefix([]byte(cdata), have) {
			return &Error{stream.RestrictedXML.Err, s.tok, "comment or declaration"} // RFC 6120 section 11.1
		}
		if len(have) < len(cdata) {
			s.pos = max(s.pos, s.tok+1)
			return ErrMore
		}
		if s.w == nil {
			return &Error{stream.NotWellFormed.Err, s.tok, "text between elements"}
		}
		s.mode = inCDATA
		s.tok += len(cdata)
		s.pos = s.tok
		return nil
	}
	for s.pos < len(b) {
		if s.quote != 0 {
			i := bytes.IndexByte(b[s.pos:], s.quote)
			if i < 0 {
				s.pos = len(b)
				return ErrMore
			}
			s.pos += i + 1
			s.quote = 0
			continue
		}
		switch c := b[s.pos]; c {
		case '>':
			s.pos++
			return nil
		case '\'', '"':
			s.quote = c
		case '<':
			return &Error{stream.NotWellFormed.Err, s.pos, "'<' in a tag"}
		}
		s.pos++
	}
	return ErrMore
}

// instruction takes the XML declaration where it may stand; other processing
// instructions are restricted (RFC 6120 section 11.1).
func (s *Scanner) instruction(b []byte) error {
	const decl = "<?xml"
	have := b[s.tok:min(len(b), s.tok+len(decl)+1)]
	switch {
	case !s.decl || s.tok > 0 || !bytes.HasPrefix([]byte(decl), have[:min(len(have), len(decl))]):
		return &Error{stream.RestrictedXML.Err, s.tok, "processing instruction"}
	case len(have) <= len(decl):
		return ErrMore
	case !isSpace(have[len(decl)]):
		return &Error{stream.RestrictedXML.Err, s.tok, "processing instruction"}
	}
	s.mode = inDecl
	s.pos = s.tok + len(decl)
	return nil
}
