package xmlscan

import (
	"bytes"
	"iter"

	"rollcall/internal/ns"
)

// Child is an element directly inside another one.
type Child struct {
	Local []byte
	// Space is the namespace name; nil when the prefix is declared further out: see
	// Element.SpaceOf.
	Space []byte
	Attrs []Attr
	Raw   []byte
	Inner []byte
}

// Attr returns the raw value of an attribute, nil when there is none.
func (c *Child) Attr(name string) []byte {
	for i := range c.Attrs {
		if string(c.Attrs[i].Name) == name {
			return c.Attrs[i].Value
		}
	}
	return nil
}

// SpaceOf is the namespace name of a child of e, whose prefix may be declared there or in
// the scope around it; nil when it is not declared.
func (e *Element) SpaceOf(c *Child) []byte {
	if c.Space != nil {
		return c.Space
	}
	prefix, _, _ := bytes.Cut(c.Raw[1:], []byte(":"))
	for _, list := range [...][]Attr{e.Attrs, e.Outer} {
		for _, a := range list {
			if name, ok := bytes.CutPrefix(a.Name, []byte("xmlns:")); ok && bytes.Equal(name, prefix) {
				return []byte(Unescape(a.Value))
			}
		}
	}
	return nil
}

// Children walks over the elements directly inside the content of an element
// that a Scanner accepted. space is the default namespace there.
func Children(inner []byte, space string) iter.Seq[Child] {
	return func(yield func(Child) bool) {
		around := usualScope[0].Value
		if space != ns.Client {
			around = []byte(space)
		}
		for i := 0; i < len(inner); {
			from, open := nextTag(inner, i)
			if from < 0 {
				return
			}
			c := child(inner[from:open], around)
			end := open
			if inner[open-2] != '/' {
				var to int
				to, end = closing(inner, open)
				c.Inner = inner[open:to]
			}
			c.Raw = inner[from:end]
			if !yield(c) {
				return
			}
			i = end
		}
	}
}

// nextTag finds the next tag at or after i: where it begins and ends, or -1.
func nextTag(b []byte, i int) (from, end int) {
	for i < len(b) {
		at := bytes.IndexByte(b[i:], '<')
		if at < 0 {
			break
		}
		i += at
		if bytes.HasPrefix(b[i:], []byte(cdata)) {
			end := bytes.Index(b[i:], []byte("]]>"))
			if end < 0 {
				break
			}
			i += end + 3
			continue
		}
		if end := tagEnd(b, i); end > 0 {
			return i, end
		}
		break
	}
	return -1, -1
}

// tagEnd is where the tag at i ends, or -1.
func tagEnd(b []byte, i int) int {
	var quote byte
	for start := i; i < len(b); i++ {
		switch c := b[i]; {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '\'' || c == '"':
			quote = c
		case c == '>' && i-start >= 2:
			return i + 1
		}
	}
	return -1
}

// closing finds the end tag of an element whose content begins at i.
func closing(b []byte, i int) (inner, end int) {
	depth := 1
	for {
		from, to := nextTag(b, i)
		switch {
		case from < 0:
			return len(b), len(b)
		case b[from+1] == '/':
			depth--
		case b[to-2] != '/':
			depth++
		}
		if depth == 0 {
			return from, to
		}
		i = to
	}
}

// child reads an accepted start tag.
func child(tag, space []byte) Child {
	end := len(tag) - 1
	if tag[end-1] == '/' {
		end--
	}
	i, colon := scanName(tag, 1, end)
	if i < 0 {
		return Child{}
	}
	c := Child{Local: tag[1:i]}
	prefix := []byte(nil)
	if colon >= 0 {
		prefix, c.Local = tag[1:colon], tag[colon+1:i]
	} else {
		c.Space = space
	}
	for {
		for i < end && isSpace(tag[i]) {
			i++
		}
		if i >= end {
			return c
		}
		var a attr
		next, err := parseAttr(tag, i, end, &a)
		if err != nil {
			return c
		}
		at := Attr{Name: a.name.in(tag), Value: a.value.in(tag), Quote: a.quote}
		c.Attrs = append(c.Attrs, at)
		if isDecl(at.Name) && string(bytes.TrimPrefix(at.Name[len("xmlns"):], []byte(":"))) == string(prefix) {
			c.Space = []byte(Unescape(at.Value))
		}
		i = next
	}
}

// Text is the character data directly inside an element that a Scanner accepted.
func Text(inner []byte) string {
	if bytes.IndexByte(inner, '<') < 0 {
		return string(appendUnescaped(nil, inner, false))
	}
	var out []byte
	for i := 0; i < len(inner); {
		at := bytes.IndexByte(inner[i:], '<')
		if at < 0 {
			out = appendUnescaped(out, inner[i:], false)
			break
		}
		out = appendUnescaped(out, inner[i:i+at], false)
		i += at
		if rest := inner[i:]; bytes.HasPrefix(rest, []byte(cdata)) {
			end := bytes.Index(rest, []byte("]]>"))
			if end < 0 {
				break
			}
			out = append(out, rest[len(cdata):end]...)
			i += end + 3
			continue
		}
		to := tagEnd(inner, i)
		if to < 0 {
			break
		}
		if inner[to-2] != '/' {
			_, to = closing(inner, to)
		}
		i = to
	}
	return string(out)
}
