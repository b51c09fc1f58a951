package servertest

import (
	"bytes"
	"errors"
	"fmt"
	"iter"

	"github.com/beevik/etree"

	"rollcall/internal/ns"
	"rollcall/internal/xmlscan"
)

// parse reads one element.
func parse(text string) (*etree.Element, error) {
	doc := etree.NewDocument()
	if err := doc.ReadFromString(text); err != nil {
		return nil, fmt.Errorf("%w: %s", err, text)
	}
	if doc.Root() == nil {
		return nil, errors.New("no element")
	}
	return doc.Root(), nil
}

// xml writes an element for messages.
func xml(el *etree.Element) string {
	doc := etree.NewDocument()
	doc.SetRoot(el.Copy())
	doc.WriteSettings.AttrSingleQuote = true
	text, err := doc.WriteToString()
	if err != nil {
		return err.Error()
	}
	return text
}

func escape(s string) string { return string(xmlscan.AppendAttr(nil, s)) }

// scan cuts text into the elements that a transport would bring.
func scan(text []byte) iter.Seq2[*xmlscan.Element, error] {
	return func(yield func(*xmlscan.Element, error) bool) {
		sc := xmlscan.New(xmlscan.Limits{Bytes: 1 << 20, Depth: 1000, Attrs: 1000})
		sc.Scope([]xmlscan.Attr{
			{Name: []byte("xmlns"), Value: []byte(ns.Client), Quote: '\''},
			{Name: []byte("xmlns:stream"), Value: []byte(ns.Stream), Quote: '\''},
		})
		for text = bytes.TrimSpace(text); len(text) > 0; text = bytes.TrimSpace(text) {
			var el xmlscan.Element
			n, err := sc.Next(text, &el)
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(&el, nil) {
				return
			}
			text = text[n:]
		}
	}
}
