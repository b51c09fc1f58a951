package transcript

import (
	"fmt"
	"maps"
	"regexp"
	"strings"

	"github.com/beevik/etree"
)

// Vars holds what holes captured, by name.
type Vars map[string]string

// The marks and holes with a meaning of their own.
const (
	holeAny     = "any"
	holeAbsent  = "{absent}"
	holeBrace   = "lbrace"
	markOthers  = "..."
	markNoOrder = "{any order}"
)

func holePattern() *regexp.Regexp { return regexp.MustCompile(`\{([a-zA-Z][a-zA-Z0-9_]*)\}`) }

// Compare reports how got differs in meaning from want, nil when it does not.
// The order of attributes, prefixes, quoting and text of white space only do not
// count. Values of want may hold holes, children of want marks; see the package
// documentation. It returns vars and what the holes captured; vars itself stays
// as it is.
func Compare(want, got *etree.Element, vars Vars) (Vars, error) {
	return compareElement(want, got, vars, "/"+want.Tag)
}

func compareElement(want, got *etree.Element, vars Vars, path string) (Vars, error) {
	if want.Tag != got.Tag {
		return nil, fmt.Errorf("%s: got <%s>", path, got.Tag)
	}
	if w, g := want.NamespaceURI(), got.NamespaceURI(); w != g {
		return nil, fmt.Errorf("%s: namespace %q, want %q", path, g, w)
	}
	text, others, anyOrder := marks(want)
	vars, err := compareAttrs(want, got, vars, others, path)
	if err != nil {
		return nil, err
	}
	gotText := textOf(got)
	if text != "" || !others {
		next, ok := matchValue(text, gotText, vars)
		if !ok {
			return nil, fmt.Errorf("%s: text %q, want %q", path, gotText, text)
		}
		vars = next
	}
	return compareChildren(want.ChildElements(), got.ChildElements(), vars, others, anyOrder, path)
}

// textOf joins the texts between children; those of white space only count when
// they are all there is.
func textOf(e *etree.Element) string {
	var b strings.Builder
	for _, t := range e.Child {
		if c, ok := t.(*etree.CharData); ok && strings.TrimSpace(c.Data) != "" {
			b.WriteString(c.Data)
		}
	}
	return b.String()
}

// marks takes the marks out of an expected element's text. A mark stands alone
// between two children: a text that merely ends in dots is none.
func marks(want *etree.Element) (text string, others, anyOrder bool) {
	var b strings.Builder
	for _, t := range want.Child {
		c, ok := t.(*etree.CharData)
		if !ok {
			continue
		}
		switch strings.TrimSpace(c.Data) {
		case "":
		case markOthers:
			others = true
		case markNoOrder:
			anyOrder = true
		case markNoOrder + " " + markOthers, markOthers + " " + markNoOrder:
			others, anyOrder = true, true
		default:
			b.WriteString(c.Data)
		}
	}
	return b.String(), others, anyOrder
}

// isMark reports whether a text would be read as marks.
func isMark(text string) bool {
	text = strings.TrimSpace(text)
	return text == markOthers || text == markNoOrder ||
		text == markNoOrder+" "+markOthers || text == markOthers+" "+markNoOrder
}

func compareAttrs(want, got *etree.Element, vars Vars, others bool, path string) (Vars, error) {
	gotAttrs, wantAttrs := attrsOf(got), attrsOf(want)
	for _, name := range sortedKeys(wantAttrs) {
		pattern := wantAttrs[name]
		value, present := gotAttrs[name]
		if pattern == holeAbsent {
			if present {
				return nil, fmt.Errorf("%s: attribute %s=%q, want none", path, name, value)
			}
			continue
		}
		if !present {
			return nil, fmt.Errorf("%s: no attribute %s, want %q", path, name, pattern)
		}
		next, ok := matchValue(pattern, value, vars)
		if !ok {
			return nil, fmt.Errorf("%s: attribute %s=%q, want %q", path, name, value, substituteKnown(pattern, vars))
		}
		vars = next
	}
	for _, name := range sortedKeys(gotAttrs) {
		if _, wanted := wantAttrs[name]; !wanted && !others {
			return nil, fmt.Errorf("%s: attribute %s=%q is not expected", path, name, gotAttrs[name])
		}
	}
	return vars, nil
}

// attrsOf maps "namespace name" of each attribute that is no declaration.
func attrsOf(e *etree.Element) map[string]string {
	attrs := make(map[string]string, len(e.Attr))
	for _, a := range e.Attr {
		if _, ok := declares(a); ok {
			continue
		}
		name := a.Key
		switch {
		case a.Space == "xml":
			name = "xml:" + name
		case a.Space != "":
			name = a.NamespaceURI() + " " + name
		}
		attrs[name] = a.Value
	}
	return attrs
}

// compareChildren matches want against got: one to one in order, or with others
// in between, or in any order. Holes may capture, so a wrong choice is undone.
func compareChildren(want, got []*etree.Element, vars Vars, others, anyOrder bool, path string) (Vars, error) {
	if len(want) == 0 {
		if len(got) > 0 && !others {
			return nil, fmt.Errorf("%s: child <%s> is not expected", path, got[0].Tag)
		}
		return vars, nil
	}
	first := want[0]
	inner := path + "/" + first.Tag
	err := fmt.Errorf("%s: missing", inner)
	for i, candidate := range got {
		next, why := compareElement(first, candidate, vars, inner)
		if why == nil {
			rest := got[i+1:]
			if anyOrder {
				rest = append(append([]*etree.Element(nil), got[:i]...), rest...)
			}
			next, why = compareChildren(want[1:], rest, next, others, anyOrder, path)
			if why == nil {
				return next, nil
			}
		}
		if i == 0 || candidate.Tag == first.Tag {
			err = why
		}
		if !others && !anyOrder {
			break
		}
	}
	return nil, err
}

// matchValue matches a whole value against a pattern with holes.
func matchValue(pattern, value string, vars Vars) (Vars, bool) {
	holes := holePattern().FindAllStringSubmatchIndex(pattern, -1)
	if holes == nil {
		return vars, pattern == value
	}
	var expr strings.Builder
	var captured []string
	expr.WriteString(`(?s)\A`)
	at := 0
	for _, h := range holes {
		expr.WriteString(regexp.QuoteMeta(pattern[at:h[0]]))
		at = h[1]
		name := pattern[h[2]:h[3]]
		known, isKnown := lookup(vars, name)
		switch {
		case name == holeAny:
			expr.WriteString(`.+`)
		case isKnown:
			expr.WriteString(regexp.QuoteMeta(known))
		default:
			expr.WriteString(`(.+)`)
			captured = append(captured, name)
		}
	}
	expr.WriteString(regexp.QuoteMeta(pattern[at:]) + `\z`)
	re, err := regexp.Compile(expr.String())
	if err != nil { // a value that is no UTF-8 or far too long: nothing to match by
		return nil, false
	}
	found := re.FindStringSubmatch(value)
	if found == nil {
		return nil, false
	}
	if len(captured) == 0 {
		return vars, true
	}
	next := maps.Clone(vars)
	if next == nil {
		next = make(Vars)
	}
	for i, name := range captured {
		if old, twice := next[name]; twice && old != found[i+1] {
			return nil, false
		}
		next[name] = found[i+1]
	}
	return next, true
}

func lookup(vars Vars, name string) (string, bool) {
	if name == holeBrace {
		return "{", true
	}
	value, ok := vars[name]
	return value, ok
}

// substituteKnown fills in what is captured already, for messages.
func substituteKnown(text string, vars Vars) string {
	return holePattern().ReplaceAllStringFunc(text, func(hole string) string {
		if value, ok := lookup(vars, hole[1:len(hole)-1]); ok {
			return value
		}
		return hole
	})
}

// substitute fills the holes of XML text that is to be sent.
func substitute(text string, vars Vars) (string, error) {
	var missing error
	filled := holePattern().ReplaceAllStringFunc(text, func(hole string) string {
		value, ok := lookup(vars, hole[1:len(hole)-1])
		if !ok {
			missing = fmt.Errorf("nothing was captured for %s", hole)
		}
		return escape(value)
	})
	return filled, missing
}
