package xmlscan

import (
	"bytes"
	"errors"
	"unicode/utf8"

	"mellium.im/xmpp/stream"
)

// tagName is the name of an element.
type tagName struct{ all, prefix, local span }

// errOpen says that a tag does not end within the bytes at hand.
var errOpen = errors.New("xmlscan: tag without an end")

// parseTag reads the start tag at b[from] into s.w, and returns where it ends, at
// end at the latest.
func (s *Scanner) parseTag(b []byte, from, end int) (to int, err error) {
	w := s.w
	w.attrs = w.attrs[:w.ofRoot]
	i, colon := scanName(b, from+1, end)
	if i < 0 {
		return 0, malformedName(b, from+1, end, "element name")
	}
	all := span{from + 1, i}
	w.name = tagName{all: all, local: all}
	if colon >= 0 {
		w.name.prefix, w.name.local = span{from + 1, colon}, span{colon + 1, i}
	}
	for {
		start := i
		for i < end && isSpace(b[i]) {
			i++
		}
		switch {
		case i == end:
			return 0, errOpen
		case b[i] == '>':
			w.empty = false
			return i + 1, nil
		case b[i] == '/' && i+1 < end && b[i+1] == '>':
			w.empty = true
			return i + 2, nil
		case i == start:
			return 0, malformedName(b, i, end, "no space before an attribute")
		case len(w.attrs)-w.ofRoot >= s.limits.Attrs:
			return 0, &Error{stream.PolicyViolation.Err, i, "too many attributes"}
		}
		w.attrs = append(w.attrs, attr{})
		if i, err = parseAttr(b, i, end, &w.attrs[len(w.attrs)-1]); err != nil {
			return 0, err
		}
	}
}

// parseAttr reads the attribute at b[i:end] and returns where it ends.
func parseAttr(b []byte, i, end int, a *attr) (next int, err error) {
	n, colon := scanName(b, i, end)
	if n < 0 {
		return 0, malformedName(b, i, end, "attribute name")
	}
	a.name, a.colon = span{i, n}, colon
	a.decl = isDecl(b[i:n])
	for n < end && isSpace(b[n]) {
		n++
	}
	if n == end || b[n] != '=' {
		return 0, malformedName(b, n, end, "attribute without a value")
	}
	n++
	for n < end && isSpace(b[n]) {
		n++
	}
	if n == end || b[n] != '\'' && b[n] != '"' {
		return 0, &Error{stream.NotWellFormed.Err, n, "attribute value without quotes"}
	}
	a.quote = b[n]
	n++
	length := bytes.IndexByte(b[n:end], a.quote)
	if length < 0 {
		return 0, &Error{stream.NotWellFormed.Err, n, "attribute value without an end"}
	}
	a.value = span{n, n + length}
	a.literal, err = checkRun(b, n, n+length, false)
	return n + length + 1, err
}

// malformedName is the error for a name that ends in a place where none may:
// the fault may be one of encoding.
func malformedName(b []byte, i, end int, detail string) error {
	if !utf8.Valid(b[i:end]) {
		return &Error{stream.UnsupportedEncoding.Err, i, "not UTF-8"}
	}
	return &Error{stream.NotWellFormed.Err, i, detail}
}

// Classes of bytes.
const (
	nameStart = 1 << iota
	nameChar
	whitespace
	plain // in text and values, needs no further look
	clean // needs no escaping anywhere
)

// classes says what the ASCII characters are (XML 1.0 sections 2.2 and 2.3); the
// colon is left to scanName.
var classes = func() (t [256]uint8) {
	for c := range 128 {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_':
			t[c] = nameStart | nameChar
		case c >= '0' && c <= '9', c == '-', c == '.':
			t[c] = nameChar
		case c == ' ', c == '\t', c == '\r', c == '\n':
			t[c] = whitespace
		}
		if c >= ' ' && c != '<' && c != '&' && c != ']' {
			t[c] |= plain
		}
		if c >= ' ' && c != '<' && c != '>' && c != '&' && c != '\'' && c != '"' {
			t[c] |= clean
		}
	}
	return t
}()

func isSpace(c byte) bool { return classes[c]&whitespace != 0 }

// scanName reads a qualified name at b[i:end]; it returns where it ends, -1 when
// there is none, and where its colon is, if any.
func scanName(b []byte, i, end int) (next, colon int) {
	i = scanPart(b, i, end)
	if i < 0 || i == end || b[i] != ':' {
		return i, -1
	}
	colon = i
	i = scanPart(b, i+1, end)
	if i < 0 || i < end && b[i] == ':' {
		return -1, -1
	}
	return i, colon
}

// scanPart reads a name without a colon.
func scanPart(b []byte, i, end int) int {
	start := i
	if i < end && b[i] < utf8.RuneSelf && classes[b[i]]&nameStart == 0 {
		return -1
	}
	for i < end {
		c := b[i]
		if classes[c]&nameChar != 0 {
			i++
			continue
		}
		if c < utf8.RuneSelf {
			break
		}
		r, n := utf8.DecodeRune(b[i:end])
		if n == 1 || !isNameRune(r, i == start) {
			return -1
		}
		i += n
	}
	if i == start {
		return -1
	}
	return i
}

// isNameRune reports whether a non-ASCII character may be in a name (XML 1.0
// fifth edition, productions 4 and 4a).
func isNameRune(r rune, first bool) bool {
	switch {
	case r >= 0xC0 && r <= 0x2FF && r != 0xD7 && r != 0xF7,
		r >= 0x370 && r <= 0x1FFF && r != 0x37E,
		r >= 0x200C && r <= 0x200D, r >= 0x2070 && r <= 0x218F,
		r >= 0x2C00 && r <= 0x2FEF, r >= 0x3001 && r <= 0xD7FF,
		r >= 0xF900 && r <= 0xFDCF, r >= 0xFDF0 && r <= 0xFFFD,
		r >= 0x10000 && r <= 0xEFFFF:
		return true
	case first:
		return false
	}
	return r == 0xB7 || r >= 0x300 && r <= 0x36F || r >= 0x203F && r <= 0x2040
}
