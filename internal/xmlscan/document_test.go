package xmlscan

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"testing"
)

// document returns a scanner for documents of their own (RFC 7395 section 3.3.3).
func document(l Limits) *Scanner {
	s := new(Scanner)
	s.Document(nil)
	s.SetLimits(l)
	return s
}

func TestDocument(t *testing.T) {
	const decl = "<?xml version='1.0' encoding='utf-8'?>"
	for _, test := range []struct {
		in    string
		found string // the first element, if there is one
		want  string // what is wrong after that
	}{
		{"<a xmlns='u'><b/></a>", "<a xmlns='u'><b/></a>", ErrMore.Error()},
		{decl + "<a/>", "<a/>", ErrMore.Error()},
		{decl + " \r\n<a/>\n", "<a/>", ErrMore.Error()},
		{"<p:a xmlns:p='u'/>", "<p:a xmlns:p='u'/>", ErrMore.Error()},
		{decl, "", ErrMore.Error()},
		{decl + decl + "<a/>", "", "restricted-xml"},
		{"<a/>" + decl, "<a/>", "restricted-xml"},
		{"<a/>" + decl + "<b/>", "<a/>", "restricted-xml"},
		{"<a>" + decl + "<b/>", "", "restricted-xml"},
		{"<a><b/>" + decl + "</a>", "", "restricted-xml"},
		{"<a>text" + decl + "</a>", "", "restricted-xml"},
		{"<?xml version='1.0' encoding='latin-1'?><a/>", "", "unsupported-encoding"},
		{"<?php?><a/>", "", "restricted-xml"},
		{"<!DOCTYPE a><a/>", "", "restricted-xml"},
		{"<stream:stream/>", "", "not-well-formed"},
		{"<a p:b=''/>", "", "not-well-formed"},
		{"</a>", "", "not-well-formed"},
	} {
		for _, size := range []int{1, 7, 1 << 20} {
			found, err := all(document(limits), test.in, size)
			first := ""
			if len(found) > 0 {
				first = found[0]
			}
			want := test.found
			if want != "" {
				want = fmt.Sprint(Stanza, " ", want, 0)
			}
			if first != want || condition(err) != test.want || len(found) > 1 {
				t.Errorf("%q by %d: %q %v, want %q and %s", test.in, size, found, err, test.found, test.want)
			}
		}
	}
}

// A document has nothing of the one before it, complete or not.
func TestDocumentForgets(t *testing.T) {
	s := document(limits)
	for _, before := range []string{"<a xmlns='u'><b", "<?xml versi", "<a><![CDATA[", "<a b='", "<a", "<a xmlns:p='u'/>", "<a></b>", "<?xml version='1.0'?><a>"} {
		var el Element
		if _, err := s.Next([]byte(before), &el); err == nil && el.Kind != Stanza {
			t.Errorf("%q: %+v", before, el)
		}
		s.Document([]Attr{{Name: []byte("xmlns"), Value: []byte("urn:v"), Quote: '\''}})
		const in = "<?xml version='1.0'?><c/>"
		if n, err := s.Next([]byte(in), &el); err != nil || n != len(in) || string(el.Raw) != "<c/>" || string(el.Space) != "urn:v" {
			t.Errorf("after %q: %d %q %q %v", before, n, el.Raw, el.Space, err)
		}
		s.Document(nil)
		if _, err := s.Next([]byte("<c/>"), &el); err != nil || len(el.Space) > 0 || s.Decls() != nil {
			t.Errorf("after %q: namespace %q of nobody, %v", before, el.Space, err)
		}
		s.Document(nil)
	}
}

// FuzzDocument: documents mean the same in whatever pieces they come, and what is
// accepted is a document for encoding/xml too.
func FuzzDocument(f *testing.F) {
	for _, in := range []string{message, "<?xml version='1.0'?><a/>", "<a><?xml version='1.0'?><b/>", "<a/><?xml version='1.0'?>", "\n<p:a xmlns:p='u'>&amp;</p:a> ", "<?xml version=\"1.0\" standalone='no'?>\n<a>"} {
		f.Add(in, uint8(3))
	}
	f.Fuzz(func(t *testing.T, in string, size uint8) {
		want, wantErr := all(document(limits), in, len(in)+1)
		got, err := all(document(limits), in, int(size)+1)
		if fmt.Sprint(got) != fmt.Sprint(want) || condition(err) != condition(wantErr) {
			t.Fatalf("%q whole: %q %v; by %d: %q %v", in, want, wantErr, int(size)+1, got, err)
		}
		var el Element
		n, err := document(limits).Next([]byte(in), &el)
		if err != nil {
			return
		}
		d := xml.NewDecoder(strings.NewReader(in[:n]))
		var root *xml.StartElement
		for {
			tok, err := d.Token()
			if err == io.EOF {
				break
			}
			if err != nil {
				if !oldNames(in, err) {
					t.Fatalf("%q: encoding/xml says %v", in[:n], err)
				}
				return
			}
			if start, ok := tok.(xml.StartElement); ok && root == nil {
				root = &start
			}
		}
		if root == nil || root.Name.Local != string(el.Local) || root.Name.Space != string(el.Space) {
			t.Fatalf("%q: %+v, scanner %q %q", in[:n], root, el.Space, el.Local)
		}
	})
}
