package xmlscan

import (
	"bytes"
	"unicode/utf8"

	"mellium.im/xmpp/stream"
)

// tagName is the name of an element.
type tagName struct{ all, prefix, local span }

// parseTag reads the start tag b[from:to] into the name and s.w.attrs.
func (s *Scanner) parseTag(b []byte, from, to int) (name tagName, empty bool, err error) {
	w := s.w
	w.attrs = w.attrs[:0]
	end := to - 1
	if b[end-1] == '/' {
		empty = true
		end--
	}
	i, colon := scanName(b, from+1, end)
	if i < 0 {
		return name, false, &Error{stream.NotWellFormed.Err, from, "element name"}
	}
	name.all = span{from + 1, i}
	name.local = name.all
	if colon >= 0 {
		name.prefix, name.local = span{from + 1, colon}, span{colon + 1, i}
	}
	for {
		spaced := i < end && isSpace(b[i])
		for i < end && isSpace(b[i]) {
			i++
		}
		if i == end {
			return name, empty, nil
		}
		if !spaced {
			return name, false, &Error{stream.NotWellFormed.Err, i, "no space before an attribute"}
		}
		if len(w.attrs) >= s.limits.Attrs {
			return name, false, &Error{stream.PolicyViolation.Err, i, "too many attributes"}
		}
		var a attr
		if a, i, err = parseAttr(b, i, end); err != nil {
			return name, false, err
		}
		w.attrs = append(w.attrs, a)
	}
}

// parseAttr reads the attribute at b[i:end] and returns where it ends.
func parseAttr(b []byte, i, end int) (a attr, next int, err error) {
	n, colon := scanName(b, i, end)
	if n < 0 {
		return a, 0, &Error{stream.NotWellFormed.Err, i, "attribute name"}
	}
	a.name, a.colon = span{i, n}, colon
	for n < end && isSpace(b[n]) {
		n++
	}
	if n == end || b[n] != '=' {
		return a, 0, &Error{stream.NotWellFormed.Err, n, "attribute without a value"}
	}
	n++
	for n < end && isSpace(b[n]) {
		n++
	}
	if n == end || b[n] != '\'' && b[n] != '"' {
		return a, 0, &Error{stream.NotWellFormed.Err, n, "attribute value without quotes"}
	}
	a.quote = b[n]
	n++
	a.value.from = n
	length := bytes.IndexByte(b[n:end], a.quote)
	if length < 0 {
		return a, 0, &Error{stream.NotWellFormed.Err, n, "attribute value without an end"}
	}
	n += length
	if i := bytes.IndexByte(b[a.value.from:n], '<'); i >= 0 {
		return a, 0, &Error{stream.NotWellFormed.Err, a.value.from + i, "'<' in an attribute value"}
	}
	a.value.to = n
	return a, n + 1, checkValue(b, a.value.from, n)
}

// Classes of bytes.
const (
	nameStart = 1 << iota
	nameChar
	whitespace
)

// classes says what the ASCII characters are (XML 1.0 section 2.3); the colon is
// left to scanName.
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
	}
	return t
}()

func isSpace(c byte) bool { return classes[c]&whitespace != 0 }

// scanName reads a qualified name at b[i:end]; it returns where it ends, -1 when
// there is none, and where its colon is, if any.
func scanName(b []byte, i, end int) (next, colon int) {
	start, colon := i, -1
	for i < end {
		c := b[i]
		if c == ':' {
			if colon >= 0 || i == start || i+1 == end {
				return -1, -1
			}
			colon = i
			i++
			continue
		}
		first := i == start || i == colon+1
		if c < utf8.RuneSelf {
			if classes[c]&nameChar == 0 {
				break
			}
			if first && classes[c]&nameStart == 0 {
				return -1, -1
			}
			i++
			continue
		}
		r, n := utf8.DecodeRune(b[i:end])
		if !isNameRune(r, first) {
			return -1, -1
		}
		i += n
	}
	if i == start || i == colon+1 {
		return -1, -1
	}
	return i, colon
}

// isNameRune reports whether a non-ASCII character may be in a name (XML 1.0
// fifth edition, productions 4 and 4a).
func isNameRune(r rune, first bool) bool {
	switch {
	case r == utf8.RuneError:
		return false
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
