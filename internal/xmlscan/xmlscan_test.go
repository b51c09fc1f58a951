package xmlscan

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"unicode"
)

const header = `<?xml version='1.0'?><stream:stream to='localhost' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' xmlns:o='urn:outer' version='1.0'>`

var limits = Limits{Bytes: 1 << 16, Depth: 32, Attrs: 32}

// message is 291 bytes long, like those that people send.
const message = `<message xmlns='jabber:client' to='u000001@localhost/web-0123456789' type='chat' id='m-0000000017' xml:lang='en'><body>The quick brown fox jumps over the lazy dog &amp; goes on for a while until the line is full.</body><active xmlns='http://jabber.org/protocol/chatstates'/><thread>7f0c5a0d</thread></message>`

// open returns a scanner that has taken the header.
func open(t testing.TB) *Scanner {
	t.Helper()
	s := New(limits)
	var el Element
	n, err := s.Next([]byte(header), &el)
	if err != nil || n != len(header) || el.Kind != Header {
		t.Fatalf("header: %d %v", n, err)
	}
	return s
}

// next feeds one input whole, and byte by byte to a second scanner, and checks
// that both say the same.
func next(t *testing.T, s, drip *Scanner, in string) (Element, error) {
	t.Helper()
	var el, slow Element
	_, err := s.Next([]byte(in), &el)
	buf := make([]byte, 0, len(in))
	var slowErr error = ErrMore
	from := 0
	for i := 0; i < len(in) && slowErr == ErrMore; i++ {
		// A fresh array each time: the scanner keeps no pointers into the old one.
		if len(buf) < 1<<12 {
			buf = bytes.Clone(buf)
		}
		buf = append(buf, in[i])
		var n int
		n, slowErr = drip.Next(buf[from:], &slow)
		if slowErr == ErrMore {
			from += n
		}
	}
	var a, b *Error
	switch {
	case errors.As(err, &a) && errors.As(slowErr, &b):
		if a.Condition != b.Condition {
			t.Errorf("%.80q: %v, byte by byte %v", in, err, slowErr)
		}
	case err != slowErr:
		t.Errorf("%.80q: %v, byte by byte %v", in, err, slowErr)
	case err == nil && string(el.Raw) != string(slow.Raw):
		t.Errorf("%q, byte by byte %q", el.Raw, slow.Raw)
	}
	return el, err
}

func TestElements(t *testing.T) {
	for _, test := range []struct {
		in, prefix, local, space, inner string
		children                        int
		child                           string
		outer                           int
	}{
		{in: `<presence/>`, local: "presence", space: "jabber:client"},
		{in: `  <presence />`, local: "presence", space: "jabber:client"},
		{in: `<a><b/><c/></a>`, local: "a", space: "jabber:client", inner: "<b/><c/>", children: 2, child: "{jabber:client}b"},
		{in: `<a xmlns='urn:x'><b>t<c/></b></a >`, local: "a", space: "urn:x", inner: "<b>t<c/></b>", children: 1, child: "{urn:x}b"},
		{in: `<x:a xmlns:x="urn:&amp;x"><x:b/></x:a>`, prefix: "x", local: "a", space: "urn:&x", inner: "<x:b/>", children: 1, child: "{urn:&x}b"},
		{in: `<a><o:b/></a>`, local: "a", space: "jabber:client", inner: "<o:b/>", children: 1, child: "{urn:outer}b", outer: 1},
		{in: `<stream:error/>`, prefix: "stream", local: "error", space: "http://etherx.jabber.org/streams", outer: 1},
		{in: `<a><![CDATA[<b>&]]></a>`, local: "a", space: "jabber:client", inner: "<![CDATA[<b>&]]>"},
		{in: `<a b='>' c="'/>"/>`, local: "a", space: "jabber:client"},
		{in: `<a xml:lang='en'>é&#xe9;&#233;</a>`, local: "a", space: "jabber:client", inner: "é&#xe9;&#233;"},
		{in: `<é/>`, local: "é", space: "jabber:client"},
		{in: `<a xmlns=''><b xmlns='y'/></a>`, local: "a", space: "", inner: "<b xmlns='y'/>", children: 1, child: "{y}b"},
	} {
		el, err := next(t, open(t), open(t), test.in)
		if err != nil {
			t.Errorf("%s: %v", test.in, err)
			continue
		}
		child := ""
		if el.Children > 0 {
			child = "{" + string(el.ChildSpace) + "}" + string(el.ChildLocal)
		}
		if el.Kind != Stanza || string(el.Prefix) != test.prefix || string(el.Local) != test.local ||
			string(el.Space) != test.space || string(el.Inner) != test.inner || el.Children != test.children ||
			child != test.child || len(el.Outer) != test.outer || string(el.Raw) != strings.TrimSpace(test.in) {
			t.Errorf("%s: %+v, child %s", test.in, el, child)
		}
	}
}

func TestErrors(t *testing.T) {
	deep := strings.Repeat("<a>", 100_000)
	for _, test := range []struct{ in, want string }{
		{"text", "not-well-formed"},
		{"<a></b>", "not-well-formed"},
		{"<a b=1/>", "not-well-formed"},
		{"<a b='1'c='2'/>", "not-well-formed"},
		{"<a b='1' b='2'/>", "not-well-formed"},
		{"<a xmlns:p='u' xmlns:q='u' p:b='1' q:b='2'/>", "not-well-formed"},
		{"<a b='<'/>", "not-well-formed"},
		{"<a b/>", "not-well-formed"},
		{"<a b='1' <", "not-well-formed"},
		{"<1/>", "not-well-formed"},
		{"<:a/>", "not-well-formed"},
		{"<a:/>", "not-well-formed"},
		{"<a:b:c/>", "not-well-formed"},
		{"<>", "not-well-formed"},
		{"</>", "not-well-formed"},
		{"</other>", "not-well-formed"},
		{"< a/>", "not-well-formed"},
		{"<a>\x00</a>", "not-well-formed"},
		{"<a>\x1f</a>", "not-well-formed"},
		{"<a>\uFFFE</a>", "not-well-formed"},
		{"<a>&#0;</a>", "not-well-formed"},
		{"<a>&#xD800;</a>", "not-well-formed"},
		{"<a>&#+65;</a>", "not-well-formed"},
		{"<a>& b</a>", "not-well-formed"},
		{"<a>]]></a>", "not-well-formed"},
		{"<![CDATA[x]]>", "not-well-formed"},
		{"<a>\xc0\x80</a>", "unsupported-encoding"},
		{"<a>\xff</a>", "unsupported-encoding"},
		{"<a>\xed\xa0\x80</a>", "unsupported-encoding"},
		{"<a b='\xff'/>", "unsupported-encoding"},
		{"<a>&nbsp;</a>", "restricted-xml"},
		{"<a b='&lol9;'/>", "restricted-xml"},
		{"<!-- x -->", "restricted-xml"},
		{"<a><!-- x --></a>", "restricted-xml"},
		{"<!DOCTYPE a>", "restricted-xml"},
		{"<!ENTITY a 'b'>", "restricted-xml"},
		{"<?php ?>", "restricted-xml"},
		{"<?xml version='1.0'?>", "restricted-xml"},
		{"<a><?xml version='1.0'?></a>", "restricted-xml"},
		{"<p:a/>", "not-well-formed"},
		{"<a p:b='1'/>", "not-well-formed"},
		{"<a xmlns:p=''/>", "not-well-formed"},
		{"<a xmlns:xml='urn:x'/>", "not-well-formed"},
		{"<a xmlns:xmlns='urn:x'/>", "not-well-formed"},
		{"<a xmlns='http://www.w3.org/2000/xmlns/'/>", "not-well-formed"},
		{"<a xmlns='http://www.w3.org/XML/1998/namespace'/>", "not-well-formed"},
		{"<a><b xmlns:p='u'/><p:c/></a>", "not-well-formed"},
		{deep, "policy-violation"},
		{"<a>" + strings.Repeat("x", 1<<16) + "</a>", "policy-violation"},
		{"<a>" + strings.Repeat("x", 1<<17), "policy-violation"},
		{"<a b='" + strings.Repeat("x", 1<<17), "policy-violation"},
		{"<a" + strings.Repeat(" b='1'", 33) + "/>", "policy-violation"},
	} {
		_, err := next(t, open(t), open(t), test.in)
		var e *Error
		if !errors.As(err, &e) || e.Condition != test.want {
			t.Errorf("%.60q: %v, want %s", test.in, err, test.want)
		}
	}
}

func TestHeader(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{`<stream:stream xmlns:stream='s'>`, ""},
		{`<?xml version="1.0" encoding="UTF-8" standalone='yes' ?>  <stream:stream xmlns:stream='s'>`, ""},
		{`<?xml version='1.0' encoding='utf-8'?><open xmlns='x'>`, ""},
		{`<?xml version='1.0' encoding='latin1'?><a>`, "unsupported-encoding"},
		{`<?xml encoding='utf-8'?><a>`, "not-well-formed"},
		{`<?xml version='2.0'?><a>`, "not-well-formed"},
		{`<?xml version='1.0'?>x<a>`, "not-well-formed"},
		{`<?xmlx version='1.0'?><a>`, "restricted-xml"},
		{`<?xml version='1.0'?><?xml version='1.0'?><a>`, "restricted-xml"},
		{`<stream:stream>`, "not-well-formed"},
		{`<stream/>`, "not-well-formed"},
		{`</stream>`, "not-well-formed"},
		{`GET / HTTP/1.1`, "not-well-formed"},
		{"\x16\x03\x01\x02\x00", "not-well-formed"},
	} {
		el, err := next(t, New(limits), New(limits), test.in)
		var e *Error
		switch {
		case test.want == "" && (err != nil || el.Kind != Header):
			t.Errorf("%q: %v", test.in, err)
		case test.want != "" && (!errors.As(err, &e) || e.Condition != test.want):
			t.Errorf("%q: %v, want %s", test.in, err, test.want)
		}
	}
}

func TestStream(t *testing.T) {
	in := []byte(header + " \n<a/>\n" + message + "</stream:stream >")
	s := New(limits)
	var el Element
	var kinds []Kind
	for {
		n, err := s.Next(in, &el)
		in = in[n:]
		if err != nil {
			break
		}
		kinds = append(kinds, el.Kind)
	}
	if len(in) != 0 || !bytes.Equal([]byte{byte(kinds[0]), byte(kinds[1]), byte(kinds[2]), byte(kinds[3])},
		[]byte{byte(Header), byte(Stanza), byte(Stanza), byte(End)}) {
		t.Errorf("kinds %v, left %q", kinds, in)
	}
}

func TestFragment(t *testing.T) {
	s := New(limits)
	s.Scope([]Attr{{Name: []byte("xmlns"), Value: []byte("urn:d"), Quote: '\''}, {Name: []byte("xmlns:p"), Value: []byte("urn:p"), Quote: '"'}, {Name: []byte("rid"), Value: []byte("1")}})
	var el Element
	in := []byte(`<a p:x='1'/></a>`)
	n, err := s.Next(in, &el)
	if err != nil || string(el.Space) != "urn:d" || len(el.Outer) != 1 || string(el.Outer[0].Name) != "xmlns:p" {
		t.Fatalf("%+v %v", el, err)
	}
	if _, err := s.Next(in[n:], &el); err == nil || err == ErrMore {
		t.Errorf("stray end tag: %v", err)
	}
}

func TestPrefixesNeedMore(t *testing.T) {
	for i := range len(message) {
		var el Element
		if _, err := open(t).Next([]byte(message[:i]), &el); err != ErrMore {
			t.Fatalf("%q: %v", message[:i], err)
		}
	}
}

func TestChildrenAndText(t *testing.T) {
	inner := []byte(`t<a x='>'>u<b/></a><![CDATA[<no/>]]><c xmlns="urn:c"><c/></c><p:d xmlns:p='urn:p'/>&amp;`)
	var got []string
	for c := range Children(inner, "urn:d") {
		got = append(got, string(c.Space)+" "+string(c.Local)+" "+string(c.Raw)+" "+string(c.Inner))
	}
	want := []string{`urn:d a <a x='>'>u<b/></a> u<b/>`, `urn:c c <c xmlns="urn:c"><c/></c> <c/>`, `urn:p d <p:d xmlns:p='urn:p'/> `}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("children\n%q\n%q", got, want)
	}
	el := Element{
		Attrs: []Attr{{Name: []byte("xmlns:q"), Value: []byte("urn:&#x71;")}, {Name: []byte("xmlns"), Value: []byte("urn:d")}},
		Outer: []Attr{{Name: []byte("xmlns:o"), Value: []byte("urn:o")}},
	}
	got = nil
	for c := range Children([]byte("<q:a/><o:b/><c/><o:d xmlns:o='urn:x'/><z:e/>"), "urn:d") {
		got = append(got, string(el.SpaceOf(&c))+" "+string(c.Local))
	}
	if strings.Join(got, "|") != "urn:q a|urn:o b|urn:d c|urn:x d| e" {
		t.Errorf("namespaces of children: %q", got)
	}
	if got := Text(inner); got != "t<no/>&" {
		t.Errorf("text %q", got)
	}
}

func TestEscape(t *testing.T) {
	const in = "a<b>&'\"\t\n\r\x01\xffé"
	for _, test := range []struct{ got, want string }{
		{string(AppendText(nil, in)), "a&lt;b&gt;&amp;'\"\t\n&#13;\uFFFD\uFFFDé"},
		{string(AppendAttr(nil, in)), "a&lt;b&gt;&amp;&apos;&quot;&#9;&#10;&#13;\uFFFD\uFFFDé"},
		{Unescape([]byte("&lt;&#x41;\n&quot;")), "<A \""},
	} {
		if test.got != test.want {
			t.Errorf("%q, want %q", test.got, test.want)
		}
	}
}

// FuzzScanner holds the scanner against encoding/xml: what it accepts, the
// other accepts and reads alike.
func FuzzScanner(f *testing.F) {
	for _, s := range []string{message, "<a/>", "<a xmlns:p='u' p:b='&#65;'><p:c/></a>", "<a><![CDATA[x]]>y</a>", "<o:a>é</o:a>", "<!-- -->", "<\U00010000 a='\r\n&#10;'/>", "<a><b xmlns='u'><c/></b><d/></a>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		el, err := next(t, open(t), open(t), in)
		if err != nil || el.Kind != Stanza {
			return
		}
		d := xml.NewDecoder(strings.NewReader(header + string(el.Raw) + "</stream:stream>"))
		depth, children := 0, 0
		for {
			tok, err := d.Token()
			if err == io.EOF {
				break
			}
			if err != nil && oldNames(in, err) {
				return
			}
			if err != nil {
				t.Fatalf("%q: encoding/xml says %v", el.Raw, err)
			}
			switch tok := tok.(type) {
			case xml.StartElement:
				depth++
				if depth == 2 {
					if tok.Name.Local != string(el.Local) || tok.Name.Space != string(el.Space) || len(tok.Attr) != len(el.Attrs) {
						t.Errorf("%q: %+v, scanner %+v", el.Raw, tok, el)
					}
					for i, a := range tok.Attr {
						if got := Unescape(el.Attrs[i].Value); normal(got) != normal(a.Value) {
							t.Errorf("%q: attribute %q, scanner %q", el.Raw, a.Value, got)
						}
					}
				}
				if depth == 3 {
					if children == 0 && (tok.Name.Local != string(el.ChildLocal) || tok.Name.Space != string(el.ChildSpace)) {
						t.Errorf("%q: child %+v, scanner %q %q", el.Raw, tok, el.ChildSpace, el.ChildLocal)
					}
					children++
				}
			case xml.EndElement:
				depth--
			}
		}
		if children != el.Children {
			t.Errorf("%q: %d children, scanner %d", el.Raw, children, el.Children)
		}
		n := 0
		for range Children(el.Inner, "") {
			n++
		}
		if n != children {
			t.Errorf("%q: Children sees %d of %d", el.Raw, n, children)
		}
	})
}

// oldNames reports whether the error is that encoding/xml knows the names of the
// fourth edition of XML 1.0 only, which the fifth widens.
func oldNames(in string, err error) bool {
	return strings.ContainsFunc(in, func(r rune) bool { return r > unicode.MaxASCII }) &&
		(strings.Contains(err.Error(), "name"))
}

// normal levels what encoding/xml leaves undone: white space in attributes.
func normal(s string) string {
	return strings.NewReplacer("\r\n", " ", "\t", " ", "\n", " ", "\r", " ").Replace(s)
}

func FuzzEscape(f *testing.F) {
	f.Add("a<b&'\"\r\n\t\x00")
	f.Fuzz(func(t *testing.T, in string) {
		want := strings.Map(func(r rune) rune {
			if !isChar(r) {
				return '\uFFFD'
			}
			return r
		}, strings.ToValidUTF8(in, ""))
		if strings.ToValidUTF8(in, "") != in {
			return
		}
		if got := Unescape(AppendAttr(nil, in)); got != want {
			t.Errorf("attribute %q, want %q", got, want)
		}
		if got := Text(AppendText(nil, in)); got != want {
			t.Errorf("text %q, want %q", got, want)
		}
	})
}

func BenchmarkMessage(b *testing.B) {
	s := open(b)
	var el Element
	in := []byte(message)
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Next(in, &el); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDrip feeds 64 KiB byte by byte: ns/byte must not grow with the size.
func BenchmarkDrip(b *testing.B) {
	in := []byte("<a>" + strings.Repeat("x", 60_000) + "</a>")
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		s := open(b)
		var el Element
		for i := range in {
			if _, err := s.Next(in[:i+1], &el); err != nil && err != ErrMore {
				b.Fatal(err)
			}
		}
	}
}
