package bosh

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"unicode"

	"rollcall/conf"
	"rollcall/internal/xmlscan"
)

var testLimits = conf.Default().Limits

// elementsOf lists the elements of a body as namespace, name and content.
func elementsOf(t testing.TB, b *body) (list []string) {
	t.Helper()
	err := b.each(func() xmlscan.Limits {
		return xmlscan.Limits{Bytes: 1 << 20, Depth: testLimits.Depth, Attrs: testLimits.Attributes}
	}, func(el *xmlscan.Element) bool {
		list = append(list, string(el.Space)+" "+string(el.Local)+" "+string(el.Inner))
		return true
	})
	if err != nil {
		t.Errorf("elements: %v", err)
	}
	return list
}

func TestBodyAttributes(t *testing.T) {
	raw := `<?xml version="1.0" encoding="UTF-8"?>
<b:body xmlns:b='http://jabber.org/protocol/httpbind' rid="4711" sid='a&amp;b' to='example.com' from='me@example.com'
 xml:lang='de' ver='1.6' wait='60' hold='1' pause="7" content='text/xml' type='terminate' route='xmpp:evil:1'
 x:version='1.0' x:restart='true' xmlns:x='urn:xmpp:xbosh' stream='s'/>
`
	b, err := parseBody([]byte(raw), testLimits)
	if err != nil {
		t.Fatal(err)
	}
	want := body{
		rid: 4711, sid: []byte("a&b"), to: "example.com", from: "me@example.com", lang: "de", version: "1.0", ver: "1.6",
		content: "text/xml", wait: number{60, true}, hold: number{1, true}, pause: number{7, true},
		terminate: true, restart: true,
	}
	b.decls = nil
	if got, want := *b, want; got.rid != want.rid || string(got.sid) != string(want.sid) || got.to != want.to || got.from != want.from ||
		got.lang != want.lang || got.version != want.version || got.ver != want.ver || got.content != want.content ||
		got.wait != want.wait || got.hold != want.hold || got.pause != want.pause || !got.terminate || !got.restart || got.stuff {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// TestB29 is about the namespace of attributes.
func TestB29RestartUnderAnyPrefix(t *testing.T) {
	for attrs, want := range map[string]bool{
		"xmpp:restart='true' xmlns:xmpp='urn:xmpp:xbosh'":  true,
		"xmpp:restart='1' xmlns:xmpp='urn:xmpp:xbosh'":     true,
		"y:restart='true' xmlns:y='urn:xmpp:xbosh'":        true,
		"xmpp:restart='true' xmlns:xmpp='urn:xmpp:other'":  false,
		"restart='true' xmlns:xmpp='urn:xmpp:xbosh'":       false,
		"xmpp:restart='false' xmlns:xmpp='urn:xmpp:xbosh'": false,
	} {
		b, err := parseBody([]byte("<body rid='1' xmlns='http://jabber.org/protocol/httpbind' "+attrs+"/>"), testLimits)
		if err != nil || b.restart != want {
			t.Errorf("%s: %v %v", attrs, b.restart, err)
		}
	}
}

func TestBodyElements(t *testing.T) {
	for _, test := range []struct {
		name, raw string
		want      []string
	}{
		{"their own namespace", `<body rid='1' xmlns='http://jabber.org/protocol/httpbind'> <iq xmlns='jabber:client'><q xmlns='q'/></iq>
			<auth xmlns='a'>x</auth></body>`, []string{"jabber:client iq <q xmlns='q'/>", "a auth x"}},
		{"inherited", `<body rid='1' xmlns='http://jabber.org/protocol/httpbind'><presence/><message><body>hi</body></message></body>`,
			[]string{"jabber:client presence ", "jabber:client message <body>hi</body>"}},
		{"a prefixed body", `<b:body rid='1' xmlns:b='http://jabber.org/protocol/httpbind' xmlns='jabber:client'><presence/></b:body>`,
			[]string{"jabber:client presence "}},
		{"prefixes of the body", `<body rid='1' xmlns='http://jabber.org/protocol/httpbind' xmlns:s='urn:s'><message xmlns='jabber:client'><s:x/></message><s:y/></body>`,
			[]string{"jabber:client message <s:x/>", "urn:s y "}},
	} {
		t.Run(test.name, func(t *testing.T) {
			b, err := parseBody([]byte(test.raw), testLimits)
			if err != nil {
				t.Fatal(err)
			}
			if got := elementsOf(t, b); !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// TestB41 and B2 and B40: what is no proper body is refused.
func TestB41BadBodies(t *testing.T) {
	const start = "<body xmlns='http://jabber.org/protocol/httpbind' sid='s' rid='1'"
	for _, test := range []struct{ raw, condition, sid string }{
		{"", badRequestCondition, ""},
		{"  ", badRequestCondition, ""},
		{"rubbish", badRequestCondition, ""},
		{"<body sid='s' rid='1'/>", badRequestCondition, ""},
		{"<nobody xmlns='http://jabber.org/protocol/httpbind' sid='s' rid='1'/>", badRequestCondition, ""},
		{"<body xmlns='http://jabber.org/protocol/httpbind' sid='s'/>", badRequestCondition, "s"},
		{"<body xmlns='http://jabber.org/protocol/httpbind' sid='s' rid='0'/>", badRequestCondition, "s"},
		{"<body xmlns='http://jabber.org/protocol/httpbind' sid='s' rid='-1'/>", badRequestCondition, "s"},
		{"<body xmlns='http://jabber.org/protocol/httpbind' sid='s' rid='x'/>", badRequestCondition, "s"},
		{"<body xmlns='http://jabber.org/protocol/httpbind' sid='s' rid='9007199254740992'/>", badRequestCondition, "s"},
		{start + " wait='soon'/>", badRequestCondition, "s"},
		{start + ">", badRequestCondition, "s"},
		{start + ">text</body>", badRequestCondition, "s"},
		{start + "><presence/>text</body>", badRequestCondition, "s"},
		{start + "><![CDATA[x]]></body>", badRequestCondition, "s"},
		{start + "><!-- x --></body>", badRequestCondition, "s"},
		{start + "><?php?></body>", badRequestCondition, "s"},
		{start + "><presence></body>", badRequestCondition, "s"},
		{start + "><x:presence/></body>", badRequestCondition, "s"},
		{start + "><presence a='&b;'/></body>", badRequestCondition, "s"},
		{start + "><presence>\xff</presence></body>", badRequestCondition, "s"},
		{start + "/>" + start + "/>", badRequestCondition, "s"},
		{start + "/>text", badRequestCondition, "s"},
		{"<!DOCTYPE body [<!ENTITY a 'b'>]>" + start + "/>", badRequestCondition, ""},
		{"<!-- x -->" + start + "/>", badRequestCondition, ""},
		{start + "/><!-- x -->", badRequestCondition, "s"},
		{"<?xml version='1.0' encoding='ISO-8859-1'?>" + start + "/>", badRequestCondition, ""},
		{"<?xml version='1.0'", badRequestCondition, ""},
		{start + ">" + strings.Repeat("<a>", 200) + strings.Repeat("</a>", 200) + "</body>", policyViolation, "s"},
		{start + "><a " + strings.Repeat("b ", 500) + "/></body>", badRequestCondition, "s"},
	} {
		b, err := parseBody([]byte(test.raw), testLimits)
		if err == nil {
			t.Errorf("%.90s: accepted", test.raw)
			continue
		}
		if err.condition != test.condition || string(b.sid) != test.sid {
			t.Errorf("%.90s: %v, sid %q", test.raw, err, b.sid)
		}
	}
	if b, err := parseBody([]byte(start+" rid2='x'> \n</body> \n"), testLimits); err != nil || b.rid != 1 {
		t.Errorf("white space: %v", err)
	}
	highest := strings.Replace(start, "'1'", "'9007199254740991'", 1) + "/>"
	if b, err := parseBody([]byte(highest), testLimits); err != nil || b.rid != maxRID {
		t.Errorf("the highest rid: %v", err)
	}
}

func TestPeek(t *testing.T) {
	const start = "<body xmlns='http://jabber.org/protocol/httpbind' sid='s' rid='1'>"
	for raw, want := range map[string]string{
		start + "<message><body>a long":                 "s",
		start[:20]:                                      "",
		"<body xmlns='other' sid='s'>x":                 "",
		strings.Replace(start, "sid", "xid", 1) + "<a>": "",
	} {
		if got := peekSID([]byte(raw), testLimits); string(got) != want {
			t.Errorf("%s: %q", raw, got)
		}
	}
}

// FuzzBody compares with encoding/xml, which accepts more than it should, and
// checks that accepted elements are the same in the end.
func FuzzBody(f *testing.F) {
	for _, s := range []string{
		"<body rid='1' xmlns='http://jabber.org/protocol/httpbind'/>",
		"<?xml version='1.0'?><body rid='1' sid='2' xmlns='http://jabber.org/protocol/httpbind' xmlns:x='y'><message><x:z/></message></body>",
		"<b:body rid='12' xmlns:b='http://jabber.org/protocol/httpbind' xmlns='jabber:client' xmpp:restart='true' xmlns:xmpp='urn:xmpp:xbosh'><iq/> </b:body>",
		"<body xmlns='http://jabber.org/protocol/httpbind' rid='5'><![CDATA[]]></body>",
		"<body xmlns='http://jabber.org/protocol/httpbind' rid='6' sid='&lt;&#x20;\r\n\t&#10;&apos;' to=\"é'\" xml:lang='de' v:version='&quot;' xmlns:v='urn:xmpp:xbosh'/>",
		"<body xmOnkԙs='a' xmlns='http://jabber.org/protocol/httpbind' rid='7'><iq/></body>",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		before := bytes.Clone(raw)
		b, refused := parseBody(raw, testLimits)
		if b == nil {
			t.Fatal("no body at all")
		}
		if !bytes.Equal(raw, before) {
			t.Fatal("the input was changed")
		}
		if refused != nil {
			return
		}
		if b.rid < 1 || b.rid > maxRID {
			t.Errorf("rid %d", b.rid)
		}
		sameAttributes(t, raw, b)
		if got, want := elementsOf(t, b), countChildren(t, raw); want >= 0 && len(got) != want {
			t.Errorf("%d elements of %d: %q", len(got), want, got)
		}
	})
}

// countChildren counts the elements right below the root, or says -1 where encoding/xml
// does not know their names.
func countChildren(t *testing.T, raw []byte) (n int) {
	raw, err := skipDeclaration(raw)
	if err != nil {
		t.Fatal(err)
	}
	d := xml.NewDecoder(bytes.NewReader(raw))
	for depth := 0; ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return n
		}
		if oldNames(raw, err) {
			return -1
		}
		if err != nil {
			t.Fatalf("encoding/xml refuses: %v", err)
		}
		switch token.(type) {
		case xml.StartElement:
			if depth == 1 {
				n++
			}
			depth++
		case xml.EndElement:
			depth--
		}
	}
}

// oldNames reports whether the error is that encoding/xml knows the names of the fourth
// edition of XML 1.0 only, which the fifth widens.
func oldNames(raw []byte, err error) bool {
	return err != nil && strings.Contains(err.Error(), "invalid XML name") &&
		bytes.ContainsFunc(raw, func(r rune) bool { return r > unicode.MaxASCII })
}

// parseBody parses what a client posted.
func parseBody(raw []byte, limits conf.Limits) (*body, *bodyError) {
	b := &body{raw: raw}
	return b, b.parse(limits)
}
