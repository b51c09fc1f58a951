package xmlscan

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"mellium.im/xmpp/stream"
)

// checkRun checks the characters and references of b[from:to], which is text or
// an attribute value; literal means that it stands for itself.
func checkRun(b []byte, from, to int, text bool) (literal bool, err error) {
	b, literal = b[:to], true
	for i := from; ; {
		for i < len(b) && classes[b[i]]&plain != 0 {
			i++
		}
		if i >= len(b) {
			return literal, nil
		}
		switch c := b[i]; {
		case c == ']':
			if text && i+2 < to && b[i+1] == ']' && b[i+2] == '>' {
				return false, &Error{stream.NotWellFormed.Err, i, "']]>' in text"}
			}
			i++
		case c == '&':
			literal = false
			if i, err = checkReference(b, i, to); err != nil {
				return false, err
			}
		case c == '<':
			return false, &Error{stream.NotWellFormed.Err, i, "'<' in an attribute value"}
		default:
			literal = literal && c >= ' '
			n, err := checkChar(b, i, to)
			if err != nil {
				return false, err
			}
			i += n
		}
	}
}

// checkReference checks the reference at b[i:to] and returns where it ends.
func checkReference(b []byte, i, to int) (next int, err error) {
	if i+1 < to && b[i+1] == '#' {
		end := bytes.IndexByte(b[i:min(to, i+maxReference)], ';')
		if end < 0 {
			return 0, &Error{stream.NotWellFormed.Err, i, "character reference without an end"}
		}
		if _, ok := reference(b[i+1 : i+end]); !ok {
			return 0, &Error{stream.NotWellFormed.Err, i, "bad character reference"}
		}
		return i + end + 1, nil
	}
	end, _ := scanName(b, i+1, to)
	if end < 0 || end == to || b[end] != ';' {
		return 0, malformedName(b, i, to, "'&' without a reference")
	}
	if _, ok := reference(b[i+1 : end]); !ok {
		return 0, &Error{stream.RestrictedXML.Err, i, "undefined entity"} // RFC 6120 section 11.1
	}
	return end + 1, nil
}

// maxReference bounds the length of a character reference: zeros may lead.
const maxReference = 64

// reference is the character that &name; stands for.
func reference(name []byte) (rune, bool) {
	switch string(name) {
	case "lt":
		return '<', true
	case "gt":
		return '>', true
	case "amp":
		return '&', true
	case "apos":
		return '\'', true
	case "quot":
		return '"', true
	}
	if len(name) < 2 || name[0] != '#' {
		return 0, false
	}
	digits, base := string(name[1:]), 10
	if digits[0] == 'x' {
		digits, base = digits[1:], 16
	}
	if strings.HasPrefix(digits, "+") || strings.HasPrefix(digits, "-") || strings.Contains(digits, "_") {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, base, 32)
	if err != nil || n > utf8.MaxRune || !isChar(rune(n)) {
		return 0, false
	}
	return rune(n), true
}

// isChar is production 2 of XML 1.0.
func isChar(r rune) bool {
	return r == '\t' || r == '\n' || r == '\r' ||
		r >= 0x20 && r <= 0xD7FF || r >= 0xE000 && r <= 0xFFFD || r >= 0x10000 && r <= utf8.MaxRune
}

// checkChars checks the characters of b[from:to], where nothing is markup.
func checkChars(b []byte, from, to int) error {
	for i := from; i < to; {
		if classes[b[i]]&plain != 0 {
			i++
			continue
		}
		n, err := checkChar(b, i, to)
		if err != nil {
			return err
		}
		i += n
	}
	return nil
}

// checkChar checks that b[i:to] begins with a character that XML allows and
// returns its length. What is no UTF-8 is an unsupported encoding (RFC 6120
// section 4.9.3.22).
func checkChar(b []byte, i, to int) (n int, err error) {
	r, n := utf8.DecodeRune(b[i:to])
	switch {
	case r == utf8.RuneError && n <= 1:
		return 0, &Error{stream.UnsupportedEncoding.Err, i, "not UTF-8"}
	case r < ' ' && !isChar(r):
		return 0, &Error{stream.NotWellFormed.Err, i, "control character"}
	case !isChar(r):
		return 0, &Error{stream.NotWellFormed.Err, i, "character that XML forbids"}
	}
	return n, nil
}

// checkDecl checks an XML declaration (XML 1.0 section 2.8).
func checkDecl(b []byte) error {
	malformed := func() error { return &Error{stream.NotWellFormed.Err, 0, "XML declaration"} }
	i, end := len("<?xml"), len(b)-len("?>")
	for last := 0; ; {
		spaced := i < end && isSpace(b[i])
		for i < end && isSpace(b[i]) {
			i++
		}
		if i == end {
			if last == 0 {
				return malformed()
			}
			return nil
		}
		var a attr
		next, err := parseAttr(b, i, end, &a)
		if err != nil || !spaced {
			return malformed()
		}
		value := a.value.in(b)
		place := 1 + slices.Index(declAttrs[:], string(a.name.in(b)))
		ok := place > last && (place == 1) == (last == 0)
		switch {
		case place == 1:
			ok = ok && string(value) == "1.0" // XML 1.1 allows other characters
		case ok && place == 2 && !bytes.EqualFold(value, []byte("utf-8")):
			return &Error{stream.UnsupportedEncoding.Err, 0, "encoding " + strconv.Quote(string(value[:min(len(value), 32)]))}
		case place == 3:
			ok = ok && (string(value) == "yes" || string(value) == "no")
		}
		if !ok {
			return malformed()
		}
		i, last = next, place
	}
}

// declAttrs is what an XML declaration may say, in this order, the first in any case.
var declAttrs = [...]string{"version", "encoding", "standalone"}

// Unescape resolves the references in a value that a Scanner accepted, and turns
// white space into spaces (XML 1.0 section 3.3.3).
func Unescape(raw []byte) string {
	if !bytes.ContainsAny(raw, "&\t\r\n") {
		return string(raw)
	}
	return string(appendUnescaped(make([]byte, 0, len(raw)), raw, true))
}

func appendUnescaped(dst, raw []byte, value bool) []byte {
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case c == '&':
			if end := bytes.IndexByte(raw[i:], ';'); end > 0 {
				if r, ok := reference(raw[i+1 : i+end]); ok {
					dst = utf8.AppendRune(dst, r)
					i += end
					continue
				}
			}
			dst = append(dst, c)
		case c == '\r':
			// XML 1.0 section 2.11.
			if i+1 < len(raw) && raw[i+1] == '\n' {
				i++
			}
			if value {
				dst = append(dst, ' ')
			} else {
				dst = append(dst, '\n')
			}
		case value && (c == '\t' || c == '\n'):
			dst = append(dst, ' ')
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// AppendText appends s as character data. What XML cannot carry becomes U+FFFD.
func AppendText(dst []byte, s string) []byte { return appendEscaped(dst, s, false) }

// AppendAttr appends s as an attribute value in single or double quotes.
func AppendAttr(dst []byte, s string) []byte { return appendEscaped(dst, s, true) }

func appendEscaped(dst []byte, s string, value bool) []byte {
	from := 0
	for i := 0; i < len(s); {
		if classes[s[i]]&clean != 0 {
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		esc := ""
		switch {
		case r == '<':
			esc = "&lt;"
		case r == '>':
			esc = "&gt;"
		case r == '&':
			esc = "&amp;"
		case r == '\'' && value:
			esc = "&apos;"
		case r == '"' && value:
			esc = "&quot;"
		case r == '\t' && value:
			esc = "&#9;"
		case r == '\n' && value:
			esc = "&#10;"
		case r == '\r':
			esc = "&#13;"
		case r == utf8.RuneError && n == 1, !isChar(r):
			esc = "\uFFFD"
		default:
			i += n
			continue
		}
		dst = append(dst, s[from:i]...)
		dst = append(dst, esc...)
		i += n
		from = i
	}
	return append(dst, s[from:]...)
}
