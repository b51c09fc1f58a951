package transcript

import (
	"encoding/xml"
	"fmt"
	"slices"
	"strings"

	"github.com/beevik/etree"

	"rollcall/internal/ns"
)

// scope holds the namespace declarations in force around an element: the URI of
// each prefix, "" for the default.
type scope map[string]string

// streamScope is what the header of a client's stream declares.
func streamScope() scope { return scope{"": ns.Client, "stream": ns.Stream} }

// with returns the scope inside an element.
func (sc scope) with(e *etree.Element) scope {
	inner := sc
	for _, a := range e.Attr {
		prefix, ok := declares(a)
		if !ok {
			continue
		}
		if len(inner) == len(sc) {
			inner = make(scope, len(sc)+1)
			for k, v := range sc {
				inner[k] = v
			}
		}
		inner[prefix] = a.Value
	}
	return inner
}

// declares reports whether an attribute declares a namespace, and its prefix.
func declares(a etree.Attr) (prefix string, ok bool) {
	switch {
	case a.Space == "xmlns":
		return a.Key, true
	case a.Space == "" && a.Key == "xmlns":
		return "", true
	}
	return "", false
}

// parseElement reads one complete element that stands inside sc. The result
// declares all namespaces it uses itself, so that it can be taken elsewhere.
func parseElement(text string, sc scope) (*etree.Element, error) {
	doc := etree.NewDocument()
	doc.ReadSettings = etree.ReadSettings{PreserveDuplicateAttrs: true}
	if err := doc.ReadFromString(text); err != nil {
		return nil, fmt.Errorf("%w: %w", errBadXML, err)
	}
	e := doc.Root()
	if e == nil {
		return nil, fmt.Errorf("%w: no element", errBadXML)
	}
	if err := checkNames(e, sc); err != nil {
		return nil, err
	}
	declareUsed(e, sc)
	return e, nil
}

// declareUsed declares on e the namespaces that it or anything inside uses and
// that only its surroundings declare.
func declareUsed(e *etree.Element, sc scope) {
	used := make(map[string]bool)
	gatherPrefixes(e, used)
	for _, prefix := range sortedKeys(used) {
		uri, outside := sc[prefix]
		if !outside || declaresPrefix(e, prefix) {
			continue
		}
		if prefix == "" {
			e.CreateAttr("xmlns", uri)
		} else {
			e.CreateAttr("xmlns:"+prefix, uri)
		}
	}
}

func gatherPrefixes(e *etree.Element, used map[string]bool) {
	used[e.Space] = true
	for _, a := range e.Attr {
		if _, ok := declares(a); !ok && a.Space != "" {
			used[a.Space] = true
		}
	}
	for _, child := range e.ChildElements() {
		gatherPrefixes(child, used)
	}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func declaresPrefix(e *etree.Element, prefix string) bool {
	return slices.ContainsFunc(e.Attr, func(a etree.Attr) bool {
		p, ok := declares(a)
		return ok && p == prefix
	})
}

// checkNames refuses what encoding/xml lets pass: prefixes that nobody declares
// and attributes given twice (XML Namespaces sections 5 and 6.3).
func checkNames(e *etree.Element, outer scope) error {
	sc := outer.with(e)
	if _, ok := sc[e.Space]; !ok && e.Space != "" {
		return fmt.Errorf("%w: prefix of <%s> is not declared", errBadXML, e.FullTag())
	}
	seen := make(map[string]bool, len(e.Attr))
	for _, a := range e.Attr {
		name := a.FullKey()
		if _, ok := declares(a); !ok && a.Space != "" {
			uri, err := attrNamespace(a, sc)
			if err != nil {
				return err
			}
			name = uri + " " + a.Key
		}
		if seen[name] {
			return fmt.Errorf("%w: attribute %s of <%s> given twice", errBadXML, a.FullKey(), e.FullTag())
		}
		seen[name] = true
	}
	for _, child := range e.ChildElements() {
		if err := checkNames(child, sc); err != nil {
			return err
		}
	}
	return nil
}

// attrNamespace is the namespace of an attribute, "" without a prefix.
func attrNamespace(a etree.Attr, sc scope) (string, error) {
	switch a.Space {
	case "":
		return "", nil
	case "xml":
		return ns.XML, nil
	}
	uri, ok := sc[a.Space]
	if !ok {
		return "", fmt.Errorf("%w: prefix of attribute %s is not declared", errBadXML, a.FullKey())
	}
	return uri, nil
}

// is reports whether e is the element local of namespace uri.
func is(e *etree.Element, uri, local string) bool {
	return e != nil && e.Tag == local && e.NamespaceURI() == uri
}

// child returns the first child element of that name, or nil.
func child(e *etree.Element, uri, local string) *etree.Element {
	for _, c := range e.ChildElements() {
		if is(c, uri, local) {
			return c
		}
	}
	return nil
}

// errorCondition returns the condition of a stream, stanza or SASL error: the
// name of the first child in its namespace other than <text/>.
func errorCondition(e *etree.Element, uri string) string {
	for _, c := range e.ChildElements() {
		if c.NamespaceURI() == uri && c.Tag != "text" {
			return c.Tag
		}
	}
	return ""
}

// Text writes an element as XML text with single quotes.
func Text(e *etree.Element) string {
	doc := etree.NewDocumentWithRoot(e.Copy())
	doc.WriteSettings.AttrSingleQuote = true
	text, err := doc.WriteToString()
	if err != nil { // a string builder takes everything
		return err.Error()
	}
	return strings.TrimSpace(text)
}

// escape makes a value fit for text and attributes.
func escape(value string) string {
	var b strings.Builder
	if err := xml.EscapeText(&b, []byte(value)); err != nil { // a string builder takes everything
		return ""
	}
	return b.String()
}

// standalone declares the client namespace on each element of a text that
// declares none, as framings without a stream header need it (XEP-0206 section
// 3, RFC 7395 section 3.3.3).
func standalone(text string) (string, error) {
	pieces, err := splitAll(text)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, piece := range pieces {
		end := strings.IndexAny(piece, " \t\r\n/>")
		name := piece[1:end]
		prefix, _, prefixed := strings.Cut(name, ":")
		declared, err := parseElement(piece, streamScope())
		if err != nil {
			return "", err
		}
		doc := etree.NewDocument()
		if err := doc.ReadFromString(piece); err != nil {
			return "", fmt.Errorf("%w: %w", errBadXML, err)
		}
		if !prefixed {
			prefix = ""
		}
		b.WriteString(piece[:end])
		if !declaresPrefix(doc.Root(), prefix) {
			key := "xmlns"
			if prefix != "" {
				key += ":" + prefix
			}
			b.WriteString(" " + key + "='" + declared.NamespaceURI() + "'")
		}
		b.WriteString(piece[end:])
	}
	return b.String(), nil
}
