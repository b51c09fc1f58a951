package transcript

import (
	"strings"
	"testing"
)

func TestCompare(t *testing.T) {
	for _, tc := range []struct {
		name, want, got string
		wrong           string // part of the error; "" for a match
	}{
		{"attribute order and quoting", `<message to='a' id="1"/>`, `<message id='1' to="a"></message>`, ""},
		{"prefixes", `<iq><ping xmlns='urn:xmpp:ping'/></iq>`, `<iq xmlns:p='urn:xmpp:ping'><p:ping/></iq>`, ""},
		{"prefixed attribute", `<m xmlns:a='u' a:k='v'/>`, `<m xmlns:b='u' b:k='v'/>`, ""},
		{"prefixed attribute is not the plain one", `<m xmlns:a='u' a:k='v'/>`, `<m k='v'/>`, "no attribute u k"},
		{"white space", "<m>\n <b>x</b>\n</m>", `<m><b>x</b></m>`, ""},
		{"entities", `<b>a &amp; b</b>`, `<b>a &#38; b</b>`, ""},
		{"text differs", `<b>x</b>`, `<b>x </b>`, "text"},
		{"namespace differs", `<iq><ping xmlns='urn:xmpp:ping'/></iq>`, `<iq><ping/></iq>`, "namespace"},
		{"name differs", `<message/>`, `<presence/>`, "<presence>"},
		{"attribute value", `<m id='1'/>`, `<m id='2'/>`, `id="2", want "1"`},
		{"attribute missing", `<m id='1'/>`, `<m/>`, "no attribute id"},
		{"attribute unexpected", `<m/>`, `<m id='1'/>`, "not expected"},
		{"attribute absent", `<m id='{absent}'>...</m>`, `<m to='x'/>`, ""},
		{"attribute not absent", `<m id='{absent}'>...</m>`, `<m id=''/>`, "want none"},
		{"any value", `<m id='{any}'>{any}</m>`, `<m id='x'>y</m>`, ""},
		{"any is not empty", `<m id='{any}'/>`, `<m id=''/>`, "id"},
		{"any within", `<m from='p1@h/{any}'/>`, `<m from='p1@h/u2'/>`, ""},
		{"any within, wrong", `<m from='p1@h/{any}'/>`, `<m from='p2@h/u2'/>`, "from"},
		{"a known hole", `<m id='{known}'/>`, `<m id='k.1'/>`, ""},
		{"a known hole, wrong", `<m id='{known}'/>`, `<m id='kx1'/>`, `want "k.1"`},
		{"captured twice, the same", `<m id='{a}' to='{a}'/>`, `<m id='1' to='1'/>`, ""},
		{"captured twice, different", `<m id='{a}' to='{a}'/>`, `<m id='1' to='2'/>`, "to"},
		{"captured twice in a value", `<m id='{a}-{a}'/>`, `<m id='1-2'/>`, "id"},
		{"no hole", `<m>{"task":"t9"}</m>`, `<m>{"task":"t9"}</m>`, ""},
		{"escaped brace", `<m>{lbrace}any}</m>`, `<m>{any}</m>`, ""},
		{"escaped brace, wrong", `<m>{lbrace}any}</m>`, `<m>x</m>`, "text"},
		{"child missing", `<m><a/><b/></m>`, `<m><a/></m>`, "/m/b: missing"},
		{"child unexpected", `<m><a/></m>`, `<m><a/><b/></m>`, "child <b>"},
		{"order of children", `<m><a/><b/></m>`, `<m><b/><a/></m>`, "/m/a"},
		{"any order", `<m>{any order}<a/><b/></m>`, `<m><b/><a/></m>`, ""},
		{"any order, one too many", `<m>{any order}<a/></m>`, `<m><b/><a/></m>`, "not expected"},
		{"any order, a wrong first choice undone", `<m>{any order}<i id='{x}'/><i id='{known}'/></m>`, `<m><i id='k.1'/><i id='2'/></m>`, ""},
		{"others", `<m><b/>...</m>`, `<m x='1'>text<a/><b/><c/></m>`, ""},
		{"others, in order", `<m><a/>...<c/></m>`, `<m><c/><b/><a/></m>`, "/m/c"},
		{"others in any order", `<m><a/>{any order} ...<c/></m>`, `<m><c/><b/><a/></m>`, ""},
		{"others, but one missing", `<m><b/>...</m>`, `<m><a/></m>`, "/m/b"},
		{"dots at the end of a text", `<m>wait...</m>`, `<m>wait</m>`, "text"},
		{"deep", `<m><a><b c='1'/></a></m>`, `<m><a><b c='2'/></a></m>`, "/m/a/b: attribute c"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			want, err := parseElement(tc.want, streamScope())
			if err != nil {
				t.Fatal(err)
			}
			got, err := parseElement(tc.got, streamScope())
			if err != nil {
				t.Fatal(err)
			}
			_, err = Compare(want, got, Vars{"known": "k.1"})
			switch {
			case tc.wrong == "" && err != nil:
				t.Errorf("%v", err)
			case tc.wrong != "" && err == nil:
				t.Error("no difference found")
			case tc.wrong != "" && !strings.Contains(err.Error(), tc.wrong):
				t.Errorf("%v does not tell %q", err, tc.wrong)
			}
		})
	}
}

func TestCompareCaptures(t *testing.T) {
	want, err := parseElement(`<m id='{id}'><b>{text}</b></m>`, streamScope())
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseElement(`<m id='7'><b>a&lt;b</b></m>`, streamScope())
	if err != nil {
		t.Fatal(err)
	}
	before := Vars{"x": "y"}
	vars, err := Compare(want, got, before)
	if err != nil {
		t.Fatal(err)
	}
	if vars["id"] != "7" || vars["text"] != "a<b" || vars["x"] != "y" || len(before) != 1 {
		t.Errorf("captured %v, before %v", vars, before)
	}
	sent, err := substitute("<m id='{id}'>{text} {lbrace}id}</m>", vars)
	if err != nil || sent != "<m id='7'>a&lt;b {id}</m>" {
		t.Errorf("%s, %v", sent, err)
	}
	if _, err := substitute("{nothing}", vars); err == nil {
		t.Error("a hole without a value was sent")
	}
}

func TestParseElementRefuses(t *testing.T) {
	for _, text := range []string{
		"<a:b/>", "<a x:y='1'/>", "<a b='1' b='2'/>", "<a xmlns:p='u' xmlns:q='u' p:b='1' q:b='2'/>", "",
	} {
		if e, err := parseElement(text, streamScope()); err == nil {
			t.Errorf("%s: parsed as %s", text, Text(e))
		}
	}
}

func TestParseElementStandsAlone(t *testing.T) {
	e, err := parseElement("<stream:error><p:x/><y a='1'/></stream:error>", scope{"stream": "s", "p": "q", "": "d", "other": "o"})
	if err != nil {
		t.Fatal(err)
	}
	const want = "<stream:error xmlns='d' xmlns:p='q' xmlns:stream='s'><p:x/><y a='1'/></stream:error>"
	if got := Text(e); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestStandalone(t *testing.T) {
	for in, want := range map[string]string{
		"<presence/>":               "<presence xmlns='jabber:client'/>",
		"<iq id='1'><a/></iq>":      "<iq xmlns='jabber:client' id='1'><a/></iq>",
		"<a xmlns='x'/><b\nc='d'/>": "<a xmlns='x'/><b xmlns='jabber:client'\nc='d'/>",
		"<iq><a xmlns='x'/></iq>":   "<iq xmlns='jabber:client'><a xmlns='x'/></iq>",
		"<stream:error/>":           "<stream:error xmlns:stream='http://etherx.jabber.org/streams'/>",
	} {
		got, err := standalone(in)
		if err != nil || got != want {
			t.Errorf("%s: got %s, %v, want %s", in, got, err, want)
		}
	}
	if got, err := standalone("<a>"); err == nil {
		t.Errorf("half an element became %s", got)
	}
}
