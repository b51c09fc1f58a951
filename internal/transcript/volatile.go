package transcript

import (
	"strconv"
	"strings"

	"github.com/beevik/etree"

	"rollcall/internal/ns"
)

// volatileValue names a value that differs from one session to the next: an
// attribute or, with attr "", the text of an element.
type volatileValue struct {
	namespace, element, attr string // element "" for all of the namespace
}

// volatileValues is the table of what a Recorder writes as {any}.
func volatileValues() []volatileValue {
	const delay = "urn:xmpp:delay" // XEP-0203
	return []volatileValue{
		{ns.StanzaID, "stanza-id", "id"},
		{ns.Project, "", "rev"},
		{ns.Notification, "event", "ts"},
		{ns.Roster, "query", "ver"},
		{ns.Time, "utc", ""},
		{ns.Time, "tzo", ""},
		{ns.Version, "version", ""},
		{ns.Version, "os", ""},
		{delay, "delay", "stamp"},
	}
}

// volatile reports whether an attribute of e, or with a nil attribute its text,
// is in the table.
func volatile(e *etree.Element, a *etree.Attr) bool {
	attr := ""
	if a != nil {
		attr = a.Key
	}
	uri := e.NamespaceURI()
	for _, v := range volatileValues() {
		if v.namespace == uri && (v.element == "" || v.element == e.Tag) && v.attr == attr {
			return true
		}
	}
	return false
}

// personal writes a value as script text, with the hole of an actor for a full
// JID that the server made.
func (r *Recorder) personal(value string) string {
	if hole, ok := r.fulls[value]; ok {
		return hole
	}
	return holePattern().ReplaceAllStringFunc(value, func(looksLikeHole string) string {
		return "{" + holeBrace + "}" + looksLikeHole[1:]
	})
}

// holes rewrites each value of an element and of what is inside by rewrite,
// which gets a nil attribute for a text.
func (r *Recorder) holes(e *etree.Element, rewrite func(e *etree.Element, a *etree.Attr, value string) string) {
	for i := range e.Attr {
		a := &e.Attr[i]
		if _, ok := declares(*a); !ok {
			a.Value = rewrite(e, a, a.Value)
		}
	}
	for _, t := range e.Child {
		switch t := t.(type) {
		case *etree.CharData:
			if strings.TrimSpace(t.Data) != "" {
				t.Data = rewrite(e, nil, t.Data)
			}
		case *etree.Element:
			r.holes(t, rewrite)
		}
	}
}

// scriptText writes an element on one line of a script.
func scriptText(e *etree.Element) string {
	e = e.Copy()
	for i, a := range e.Attr {
		if a.Space == "" && a.Key == "xmlns" && a.Value == ns.Client {
			e.Attr = append(e.Attr[:i], e.Attr[i+1:]...)
			break
		}
	}
	return strings.NewReplacer("\n", "&#xA;", "\r", "&#xD;").Replace(Text(e))
}

// quoteRaw writes bytes for a "streams:" step.
func quoteRaw(data []byte) string {
	quoted := strconv.Quote(string(data))
	text := strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
	if strings.HasPrefix(text, " ") { // the block is read without its indentation
		text = `\x20` + text[1:]
	}
	return text
}
