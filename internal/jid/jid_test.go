package jid

import (
	stdxml "encoding/xml"
	"errors"
	"strings"
	"testing"

	mellium "mellium.im/xmpp/jid"
)

func TestParse(t *testing.T) {
	long := strings.Repeat("a", 64)
	tests := []struct{ in, want string }{
		{"juliet@example.com", "juliet@example.com"},
		{"juliet@example.com/balcony", "juliet@example.com/balcony"},
		{"Juliet@Example.COM/Balcony", "juliet@example.com/Balcony"},
		{"example.com", "example.com"},
		{"example.com/x", "example.com/x"},
		{"example.com.", "example.com"},
		{"a@b/c/d@e", "a@b/c/d@e"},
		{"a@b/with space", "a@b/with space"},
		{"fußball@example.com", "fußball@example.com"},
		{"a@xn--bcher-kva.example", "a@bücher.example"},
		{"a@[::1]/r", "a@[::1]/r"},
		{"127.0.0.1", "127.0.0.1"},
		{`d\27artagnan@example.com`, `d\27artagnan@example.com`},
		{"", ""},
		{"@example.com", ""},
		{"a@", ""},
		{"a@/b", ""},
		{"a@b/", ""},
		{"/r", ""},
		{"..", ""},
		{"a@exa..mple", ""},
		{"a@-b", ""},
		{"a@b-", ""},
		{"a@" + long + ".com", ""},
		{"a b@example.com", ""},
		{"a\"b@example.com", ""},
		{"henry\u2163@example.com", ""},
		{"a@b\x00", ""},
		{"a@b/\x00", ""},
		{"a@b/\xff", ""},
		{"\xff@b", ""},
		{strings.Repeat("a", 1024) + "@b", ""},
		{"a@b/" + strings.Repeat("r", 1024), ""},
		{"a@b/" + strings.Repeat("r", 1023), "a@b/" + strings.Repeat("r", 1023)},
		{strings.Repeat("x", 1<<20), ""},
	}
	for _, tt := range tests {
		got, err := Parse(tt.in)
		if tt.want == "" {
			if !errors.Is(err, ErrMalformed) {
				t.Errorf("Parse(%.40q) = %q, %v; want ErrMalformed", tt.in, got, err)
			}
			continue
		}
		if err != nil || got.String() != tt.want {
			t.Errorf("Parse(%.40q) = %q, %v; want %q", tt.in, got, err, tt.want)
		}
	}
}

func TestParts(t *testing.T) {
	j, err := Parse("a@b.c/d/e@f")
	if err != nil {
		t.Fatal(err)
	}
	if j.Local() != "a" || j.Domain() != "b.c" || j.Resource() != "d/e@f" || !j.IsFull() || j.Bare().String() != "a@b.c" || j.Bare().IsFull() {
		t.Errorf("parts of %v: %q %q %q", j, j.Local(), j.Domain(), j.Resource())
	}
	d, err := Parse("b.c/r")
	if err != nil || d.Local() != "" || d.Domain() != "b.c" || d.Resource() != "r" {
		t.Errorf("parts of %v: %q %q %q (%v)", d, d.Local(), d.Domain(), d.Resource(), err)
	}
	if again, err := j.Bare().WithResource("d/e@f"); err != nil || again != j {
		t.Errorf("WithResource: %v, %v; want %v", again, err, j)
	}
	if _, err := New("a@b", "c", ""); err == nil {
		t.Error("New took a separator in the local part")
	}
}

// TestEveryRune puts each character of the basic plane, fullwidth forms of ASCII among
// them, into a local part and into a domain: what comes of it needs no escaping, and is
// its own canonical form.
func TestEveryRune(t *testing.T) {
	for r := rune(0); r <= 0xffff; r++ {
		for _, in := range []string{"a" + string(r) + "b@host", "a@h" + string(r) + "b"} {
			j, err := Parse(in)
			if err != nil {
				continue
			}
			if !j.InXML() || strings.ContainsAny(j.String(), "<>&'\"") {
				t.Errorf("%q becomes %q, which cannot stand in XML", in, j)
			}
			if again, err := Parse(j.String()); err != nil || again != j {
				t.Errorf("%q becomes %q, which becomes %q, %v", in, j, again, err)
			}
		}
	}
}

func TestInXML(t *testing.T) {
	for in, want := range map[string]bool{
		"juliet@example.com": true, "example.com/x": true, "a@b/a<b": false, "a@b/a&b": false, "a@b/'": false,
		"A@b/\"": false, "a@b/>": false, "d\\27artagnan@example.com/x": true,
	} {
		j, err := Parse(in)
		if err != nil || j.InXML() != want {
			t.Errorf("%q: %t, %v", in, j.InXML(), err)
		}
	}
}

// FuzzParse holds the fast path against the general one: they agree on what is
// valid and on its canonical form, and a canonical form is its own.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"a@b.c/d", "A@B", "x", "a@xn--bcher-kva.example", "a--b.c", "ab--c.d", "..", "a@b/\u212b", "1.2.3.4", "a@[::1]", "a@b/<&", "a@b/it's", "a@b/\u0153 \""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		j, err := Parse(s)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("Parse(%q): %v does not wrap ErrMalformed", s, err)
			}
			return
		}
		m, err := mellium.Parse(s)
		if err != nil || m.String() != j.String() {
			t.Fatalf("Parse(%q) = %q; mellium %q, %v", s, j, m, err)
		}
		again, err := Parse(j.String())
		if err != nil || again != j {
			t.Fatalf("Parse(%q) = %q, which parses to %q, %v", s, j, again, err)
		}
		var xml strings.Builder
		if err := stdxml.EscapeText(&xml, []byte(j.String())); err != nil {
			t.Fatal(err)
		}
		if bare := j.Bare(); !bare.InXML() || j.InXML() && xml.String() != j.String() || strings.ContainsAny(bare.String(), "<>&'\"") {
			t.Fatalf("%q can stand in XML: %t", j, j.InXML())
		}
	})
}

func BenchmarkParse(b *testing.B) {
	for _, s := range []string{"u000001@localhost/x", "juliet@example.com/balcony", "Juliet@example.com/balcony"} {
		b.Run(s, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Parse(s); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
