package importfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"rollcall/internal/jid"
)

// maxDepth is how deeply encoding/json lets values nest.
const maxDepth = 10_000

// Parse reads a file. When there are problems, File holds the entries that are
// free of them, so that a caller can look for more; nothing of it should be
// imported.
func Parse(name string, data []byte) (File, Problems) {
	p := &parser{problems: Problems{file: name}}
	if len(data) > MaxSize {
		p.problems.Add(Place{1, 1}, "the file is larger than %d MiB", MaxSize>>20)
		return File{}, p.problems
	}
	// Editors on Windows write a byte order mark, and RFC 8259 section 8.1 lets
	// readers ignore it.
	p.data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	p.at = Place{1, 1}
	if i := invalidUTF8(p.data); i >= 0 {
		p.problems.Add(p.place(i), "the file is not UTF-8 text")
		return File{}, p.problems
	}
	p.syntax()
	p.dec = json.NewDecoder(bytes.NewReader(p.data))
	p.dec.UseNumber()
	p.file()
	return p.result, p.problems
}

// parser walks over the tokens of a file. Once a token cannot be read it is
// stopped: every method then returns without doing anything.
type parser struct {
	data     []byte
	dec      *json.Decoder
	stopped  bool
	problems Problems
	result   File

	// at is the place of offset, the one asked for last.
	at     Place
	offset int
}

func invalidUTF8(data []byte) int {
	for i := 0; i < len(data); {
		if data[i] < utf8.RuneSelf {
			i++
			continue
		}
		r, n := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return -1
}

// place is where the byte at offset stands.
func (p *parser) place(offset int) Place {
	if offset < p.offset {
		p.at, p.offset = Place{1, 1}, 0
	}
	passed := p.data[p.offset:offset]
	if n := bytes.Count(passed, []byte("\n")); n > 0 {
		p.at = Place{p.at.Line + n, 1}
		passed = passed[bytes.LastIndexByte(passed, '\n')+1:]
	}
	p.at.Column += utf8.RuneCount(passed)
	p.offset = offset
	return p.at
}

// ignored is any JSON value.
type ignored struct{}

func (*ignored) UnmarshalJSON([]byte) error { return nil }

// syntax reports the first syntax error. It goes ahead of the walk because only
// a whole value's errors tell where they are; the walk then reports what is
// wrong up to there.
func (p *parser) syntax() {
	err := json.Unmarshal(p.data, new(ignored))
	if err == nil {
		return
	}
	var syntax *json.SyntaxError
	if !errors.As(err, &syntax) {
		p.problems.Add(Place{1, 1}, "not JSON: %v", err)
		return
	}
	// Offset counts the bytes read, the wrong one included.
	p.problems.Add(p.place(max(int(syntax.Offset)-1, 0)), "not JSON: %v", err)
}

// next is where the next token starts.
func (p *parser) next() Place {
	i := int(p.dec.InputOffset())
	for i < len(p.data) && bytes.IndexByte([]byte(" \t\r\n,:"), p.data[i]) >= 0 {
		i++
	}
	return p.place(i)
}

// token reads a token; nil stands for null and for a stopped parser.
func (p *parser) token() json.Token {
	if p.stopped {
		return nil
	}
	t, err := p.dec.Token()
	if err != nil {
		p.stopped = true // syntax has reported it
		return nil
	}
	return t
}

// skip passes over the rest of the value that t began.
func (p *parser) skip(t json.Token) {
	if !opens(t) {
		return
	}
	for depth := 1; depth > 0 && !p.stopped; {
		switch t := p.token(); {
		case opens(t):
			depth++
		case closes(t):
			depth--
		}
		if depth > maxDepth {
			p.stopped = true // syntax has reported it
		}
	}
}

func opens(t json.Token) bool  { return t == json.Delim('{') || t == json.Delim('[') }
func closes(t json.Token) bool { return t == json.Delim('}') || t == json.Delim(']') }

// kind is how messages call the type of the value that t begins.
func kind(t json.Token) string {
	switch t := t.(type) {
	case json.Delim:
		if t == '[' {
			return "an array"
		}
		return "an object"
	case string:
		return "a string"
	case json.Number:
		return "a number"
	case bool:
		return "a boolean"
	}
	return "null"
}

// object reads an object. value is called for each of the keys, once, with the
// place of its value, and has to read that. what names the object in messages.
// It returns false when there is no whole object.
func (p *parser) object(what string, keys []string, value func(key string, at Place)) bool {
	if !p.begin('{', what, "an object") {
		return false
	}
	seen := make([]Place, len(keys))
	for !p.stopped && p.dec.More() {
		at := p.next()
		key, ok := p.token().(string)
		if !ok {
			return false // stopped: keys are strings
		}
		i := slices.Index(keys, key)
		switch {
		case i < 0:
			p.problems.Add(at, "%s has the unknown key %s; known are %s", what, quote(key), list(keys))
			p.skip(p.token())
		case seen[i] != Place{}:
			p.problems.Add(at, "%s has the key %q twice, first at %d:%d", what, key, seen[i].Line, seen[i].Column)
			p.skip(p.token())
		default:
			seen[i] = at
			value(key, p.next())
		}
	}
	p.token()
	return !p.stopped
}

// array reads an array; value has to read each element.
func (p *parser) array(what string, value func(at Place)) {
	if !p.begin('[', what, "an array") {
		return
	}
	for !p.stopped && p.dec.More() {
		value(p.next())
	}
	p.token()
}

// begin reads the start of an object or array, or reports another value and
// passes over it.
func (p *parser) begin(d json.Delim, what, want string) bool {
	at := p.next()
	t := p.token()
	if p.stopped || t == d {
		return !p.stopped
	}
	p.problems.Add(at, "%s must be %s, not %s", what, want, kind(t))
	p.skip(t)
	return false
}

// text reads a string, or reports another value and passes over it.
func (p *parser) text(what string) (string, bool) {
	at := p.next()
	t := p.token()
	if s, ok := t.(string); ok || p.stopped {
		return s, ok
	}
	p.problems.Add(at, "%s must be a string, not %s", what, kind(t))
	p.skip(t)
	return "", false
}

// id reads an id of a user or project and checks its form.
func (p *parser) id(what string) (string, bool) {
	at := p.next()
	id, ok := p.text("the id of a " + what)
	if !ok {
		return "", false
	}
	if id == "" {
		p.problems.Add(at, "the id of a %s is empty", what)
		return "", false
	}
	// The domain does not matter: it only makes an address of the id.
	j, err := jid.New(id, "example.com", "")
	switch {
	case err != nil || j.Local() == "":
		p.problems.Add(at, "%s id %s cannot be the local part of an address (RFC 7622)", what, quote(id))
	case j.Local() == norm.NFC.String(id) && j.Local() != id:
		// The two look the same unless they are escaped.
		p.problems.Add(at, "%s id %s is not in its canonical form %s", what, escape(id), escape(j.Local()))
	case j.Local() != id:
		p.problems.Add(at, "%s id %s is not in its canonical form %s", what, quote(id), quote(j.Local()))
	default:
		return id, true
	}
	return "", false
}

// quote is s for a message, cut when it is long.
func quote(s string) string { return quoteAs("%q", s) }

// escape is quote in ASCII.
func escape(s string) string { return quoteAs("%+q", s) }

func quoteAs(format, s string) string {
	const most = 64
	if len(s) <= most {
		return fmt.Sprintf(format, s)
	}
	cut := most
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return fmt.Sprintf(format, s[:cut]) + "..."
}

// list is "a, b and c".
func list(words []string) string {
	s := words[0]
	for i, w := range words[1:] {
		if i == len(words)-2 {
			s += " and " + w
		} else {
			s += ", " + w
		}
	}
	return s
}
