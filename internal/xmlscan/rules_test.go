package xmlscan

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

const plainHeader = `<stream:stream xmlns:stream="http://etherx.jabber.org/streams" xmlns="jabber:client">`

// condition is that of an *Error, or the error itself.
func condition(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Condition
	}
	return fmt.Sprint(err)
}

// all feeds a scanner in pieces of the size given and says what it found.
func all(s *Scanner, in string, size int) (found []string, err error) {
	var buf []byte
	var el Element
	for err == nil || err == ErrMore {
		var n int
		n, err = s.Next(buf, &el)
		if err == nil {
			found = append(found, fmt.Sprint(el.Kind, " ", string(el.Raw), len(el.Outer)))
		}
		if err == nil || err == ErrMore {
			buf = buf[n:]
		}
		if err == ErrMore {
			if in == "" {
				return found, err
			}
			k := min(size, len(in))
			buf, in = append(bytes.Clone(buf), in[:k]...), in[k:]
		}
	}
	return found, err
}

// A declaration may come first only: also when the stream began without one.
func TestDeclarationComesFirst(t *testing.T) {
	const decl = "<?xml version='1.0'?>"
	for _, test := range []struct {
		in, want string
		found    int
	}{
		{decl + plainHeader, ErrMore.Error(), 1},
		{"\n" + decl + plainHeader, ErrMore.Error(), 1},
		{plainHeader + decl + "<b/>", "restricted-xml", 1},
		{plainHeader + "<a>" + decl + "<b/>", "restricted-xml", 1},
		{plainHeader + "<a><x/>" + decl + "</a>", "restricted-xml", 1},
		{decl + decl + plainHeader, "restricted-xml", 0},
		{"<?xml version='1.1'?>" + plainHeader, "not-well-formed", 0},
		{"\ufeff" + plainHeader, "not-well-formed", 0},
	} {
		for _, size := range []int{1, 7, 1 << 20} {
			found, err := all(New(limits), test.in, size)
			if condition(err) != test.want || len(found) != test.found {
				t.Errorf("%q by %d: %q %v, want %d and %s", test.in, size, found, err, test.found, test.want)
			}
		}
	}
}

func TestRules(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		// Escaping hides no reserved name.
		{`<a xmlns:p='http://www.w3.org/XML/1998/namespac&#101;'/>`, "not-well-formed"},
		{`<a xmlns:p='http://www.w3.org/2000/xmlns&#x2F;'/>`, "not-well-formed"},
		{`<a xmlns:xml='http://www.w3.org/XML/1998/namespac&#101;'/>`, ""},
		{`<xmlns:a/>`, "not-well-formed"},
		{`<a xmlns:p='u&#32;v' xmlns:q='u v' p:k='' q:k=''/>`, "not-well-formed"},
		{"<a xmlns:p='u\tv' xmlns:q='u v' p:k='' q:k=''/>", "not-well-formed"},
		{"<a xmlns:p='u' xmlns:q='v' p:k='' q:k='' k=''/>", ""},
		{"<a><b xmlns:p='u'><p:c/></b><c p:d=''/></a>", "not-well-formed"},
		{"<a xmlns:p='u'><b xmlns:p='v'/><p:c/></a>", ""},
		{"<a>& b;</a>", "not-well-formed"},
		{"<a>&;</a>", "not-well-formed"},
		{"<a>&amp</a>", "not-well-formed"},
		{"<a>&#;</a>", "not-well-formed"},
		{"<a>&#x;</a>", "not-well-formed"},
		{"<a>&#X41;</a>", "not-well-formed"},
		{"<a>&#x110000;</a>", "not-well-formed"},
		{"<a>&#99999999999999999999;</a>", "not-well-formed"},
		{"<a>&#xFFFF;</a>", "not-well-formed"},
		{"<a>&#10;&#x10FFFF;&lt;&gt;&amp;&apos;&quot;</a>", ""},
		{"<a>&" + strings.Repeat("long", 100) + ";</a>", "restricted-xml"},
		{"<a>]]&gt; ]] ] ></a>", ""},
		{"<a b=']]>'/>", ""},
		{"<a><![CDATA[]]]]><![CDATA[>]]></a>", ""},
		{"<a><![CDATA[\x01]]></a>", "not-well-formed"},
		{"<a><![CDATA[\xff]]></a>", "unsupported-encoding"},
		{"<a><![CDATE[x]]></a>", "restricted-xml"},
		{"<a\xff/>", "unsupported-encoding"},
		{"<a b\xff='1'/>", "unsupported-encoding"},
		{"<a\u00d7/>", "not-well-formed"},
		{"<\u0300/>", "not-well-formed"},
		{"<a\u0300\u00b7\u203f/>", ""},
		{"<\U000e0000/>", ""},
		{"<\U000f0000/>", "not-well-formed"},
		{"<a\ufffd/>", ""},
		{"<p:1 xmlns:p='u'/>", "not-well-formed"},
		{"<a/ >", "not-well-formed"},
		{"<a></ a>", "not-well-formed"},
		{"<a></a b='1'>", "not-well-formed"},
		{"<a></a/>", "not-well-formed"},
		{"<a xmlns:p='u'><p:b></b></p:a>", "not-well-formed"},
		{"<a \n b\t=\r'1' ></a\n>", ""},
		{"<a b='\x7f\u0085'/>", ""},
	} {
		_, err := next(t, open(t), open(t), test.in)
		if got := condition(err); err != nil && got != test.want || err == nil && test.want != "" {
			t.Errorf("%.80q: %v, want %q", test.in, err, test.want)
		}
	}
}

// The limit is exact, however the bytes arrive, and what is beyond it is not
// looked at.
func TestBytesLimit(t *testing.T) {
	const whole = "<a b='1234567890'>1234567890</a>"
	for limit := range len(whole) + 2 {
		for _, size := range []int{1, 5, 1000} {
			s := New(Limits{Bytes: limit, Depth: 4, Attrs: 4})
			s.Scope(nil)
			found, err := all(s, "  "+whole+" ", size)
			switch {
			case limit >= len(whole) && (err != ErrMore || len(found) != 1):
				t.Errorf("limit %d by %d: %q %v", limit, size, found, err)
			case limit < len(whole) && condition(err) != "policy-violation":
				t.Errorf("limit %d by %d: %q %v", limit, size, found, err)
			}
		}
	}
	for _, in := range []string{"<a>", "<a b='", "<a><![CDATA[", "<a ", "<a><b></b"} {
		s := New(Limits{Bytes: 1000, Depth: 4, Attrs: 4})
		s.Scope(nil)
		var el Element
		in += strings.Repeat(" ", 1000-len(in))
		if _, err := s.Next([]byte(in), &el); err != ErrMore {
			t.Errorf("%.20q: %v at the limit", in, err)
		}
		if _, err := s.Next([]byte(in+" "), &el); condition(err) != "policy-violation" {
			t.Errorf("%.20q: %v beyond the limit", in, err)
		}
	}
}

func TestHugeValue(t *testing.T) {
	in := []byte("<a b='" + strings.Repeat("x", 64<<20) + "'/>")
	s := open(t)
	var el Element
	if _, err := s.Next(in, &el); condition(err) != "policy-violation" {
		t.Error(err)
	}
}

func TestLimitLoweredMeanwhile(t *testing.T) {
	s := open(t)
	var el Element
	in := []byte("<a>" + strings.Repeat("x", 500))
	if _, err := s.Next(in, &el); err != ErrMore {
		t.Fatal(err)
	}
	s.SetLimits(Limits{Bytes: 100, Depth: 1, Attrs: 1})
	if _, err := s.Next(append(in, "</a>"...), &el); condition(err) != "policy-violation" {
		t.Error(err)
	}
}

func TestDepthLimit(t *testing.T) {
	for depth := range 5 {
		s := New(Limits{Bytes: 1000, Depth: 3, Attrs: 1})
		s.Scope(nil)
		_, err := all(s, strings.Repeat("<a>", depth)+"<b/>"+strings.Repeat("</a>", depth), 1000)
		if ok := err == ErrMore; ok != (depth <= 3) {
			t.Errorf("%d below the root: %v", depth, err)
		}
	}
}

// Declarations in force are bounded, so that names cost little however many
// elements declare prefixes around them.
func TestDeclarationsLimit(t *testing.T) {
	s := New(Limits{Bytes: 1 << 20, Depth: 10, Attrs: 10})
	s.Scope(nil)
	nested := func(n int) (in string) {
		for i := range n {
			in += fmt.Sprintf("<a xmlns='u' xmlns:p%d='u' xmlns:q%d='u'>", i, i)
		}
		return in + strings.Repeat("</a>", n)
	}
	if _, err := all(s, nested(6), 1<<20); err != ErrMore {
		t.Errorf("18 declarations: %v", err)
	}
	if _, err := all(s, strings.Repeat(nested(6), 10), 1<<20); err != ErrMore {
		t.Errorf("one after the other: %v", err)
	}
	if _, err := all(s, nested(7), 1<<20); condition(err) != "policy-violation" {
		t.Errorf("21 declarations: %v", err)
	}
}

func TestOffset(t *testing.T) {
	_, err := open(t).Next([]byte("   <a>\x01</a>"), new(Element))
	var e *Error
	if !errors.As(err, &e) || e.Offset != 6 {
		t.Errorf("%v, want byte 6", err)
	}
}

// However an element is cut, the scanner goes on where it stopped: at most a
// few bytes before the end of what it was given, never at the tag's beginning.
func TestLinearWork(t *testing.T) {
	long := strings.Repeat("v", 300)
	in := "<" + long + " a='" + long + "' b=\"" + long + "\"><![CDATA[" + long + "]]>" + long + "<b x='" + long + "'/></" + long + ">"
	for _, size := range []int{1, 3, 50} {
		s := open(t)
		var el Element
		for end := size; end < len(in); end += size {
			if _, err := s.Next([]byte(in[:end]), &el); err != ErrMore {
				t.Fatal(err)
			}
			if end-s.pos > len(cdata) || end-s.tok > len(cdata) && s.pos == s.tok+1 {
				t.Fatalf("of %q at %d the bytes from %d are looked at again", in[s.tok:end], end, s.pos)
			}
		}
	}
}

// TestIdle: whoever keeps the root of an idle stream can go on with any Scanner, and
// usual streams share it.
func TestIdle(t *testing.T) {
	const usual = `<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>`
	const own = `<s:stream xmlns:s='http://etherx.jabber.org/streams' xmlns='jabber:client' xmlns:x='u'>`
	for _, h := range []string{usual, "<?xml version='1.0'?> " + usual, own} {
		end := "</stream:stream>"
		if strings.Contains(h, own) {
			end = "</s:stream>"
		}
		stream := h + " " + message + " <presence/>" + message + end
		for size := range len(stream) {
			s := New(limits)
			var el Element
			idle, kinds := 0, ""
			for from, to := 0, 0; len(kinds) < 5; {
				n, err := s.Next([]byte(stream[from:to]), &el)
				from += n
				switch {
				case err == nil:
					kinds += fmt.Sprint(el.Kind)
				case err != ErrMore || to == len(stream):
					t.Fatalf("%s in pieces of %d: %v after %q", h, size+1, err, stream[:to])
				default:
					to = min(to+size+1, len(stream))
				}
				if root, ok := s.Idle(); ok {
					if idle++; s.w != nil || root == usualRoot != strings.Contains(h, usual) && root != nil {
						t.Fatalf("%s: holds %v and %v", h, s.w, root)
					}
					s = New(limits)
					s.Resume(root)
				}
			}
			if kinds != "21113" || idle < 5 {
				t.Errorf("%s in pieces of %d: %s, idle %d times", h, size+1, kinds, idle)
			}
		}
	}
	s := New(limits)
	var el Element
	for _, begun := range []string{"<?xml version='1.0'?>", "<", usual + "<"} {
		s.Reset()
		n, err := s.Next([]byte(begun), &el)
		if err == nil {
			_, err = s.Next([]byte(begun[n:]), &el)
		}
		if err != ErrMore {
			t.Error(begun, err)
		}
		if _, ok := s.Idle(); ok {
			t.Errorf("idle after %q", begun)
		}
	}
}

func TestScopeIsNotShared(t *testing.T) {
	for _, h := range []string{
		`<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' xmlns:x='u'>`,
		`<s xmlns='jabber:client'>`,
		`<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams'>`,
	} {
		s := New(limits)
		var el Element
		buf := []byte(h)
		if _, err := s.Next(buf, &el); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("%q", s.Decls())
		clear(buf)
		if got := fmt.Sprintf("%q", s.Decls()); got != want || s.root == usualRoot {
			t.Errorf("%s: scope %s, was %s", h, got, want)
		}
	}
}

// Appending to a result must not write into the caller's buffer.
func TestResultsEndWhereTheyEnd(t *testing.T) {
	in := []byte("<a b='1'><c/></a><d/>")
	want := string(in)
	var el Element
	if _, err := open(t).Next(in, &el); err != nil {
		t.Fatal(err)
	}
	for _, b := range [][]byte{el.Raw, el.Inner, el.Local, el.ChildLocal, el.Attrs[0].Value} {
		if b = append(b, '!'); string(in) != want {
			t.Fatalf("%q after an append to %q", in, b)
		}
	}
}

// FuzzStream holds whole input against input in pieces, from the header on.
func FuzzStream(f *testing.F) {
	for _, in := range []string{header + message + "</stream:stream>", plainHeader + "<a>]]&gt;</a> \n<b c='d'/>", "<?xml version='1.0'?>x", "<a><?xml ?>", "\n<a><b></c>"} {
		f.Add(in, uint8(3))
	}
	f.Fuzz(func(t *testing.T, in string, size uint8) {
		l := Limits{Bytes: 300, Depth: 4, Attrs: 4}
		want, wantErr := all(New(l), in, len(in)+1)
		got, err := all(New(l), in, int(size)+1)
		if fmt.Sprint(got) != fmt.Sprint(want) || condition(err) != condition(wantErr) {
			t.Errorf("%q whole: %q %v; by %d: %q %v", in, want, wantErr, int(size)+1, got, err)
		}
	})
}

// FuzzChildren: whatever the bytes are, the walks end within them.
func FuzzChildren(f *testing.F) {
	for _, in := range []string{message, "<", "<>", "</", "<a", "<a/><b>t</b>u", "<![CDATA[", "<a><![CDATA[x", "<a b='>", "</a></a>"} {
		f.Add(in)
	}
	f.Fuzz(func(t *testing.T, in string) {
		size := 0
		for c := range Children([]byte(in), "u") {
			if !strings.Contains(string(c.Raw), string(c.Inner)) {
				t.Errorf("%q: %q is not in %q", in, c.Inner, c.Raw)
			}
			size += len(c.Raw)
		}
		if size > len(in) {
			t.Errorf("%q: children of %d bytes", in, size)
		}
		Text([]byte(in))
	})
}

// BenchmarkManyPrefixes is what a hostile element costs at most per byte, about.
func BenchmarkManyPrefixes(b *testing.B) {
	var in strings.Builder
	in.WriteString("<a")
	for i := range 120 {
		fmt.Fprintf(&in, " xmlns:prefix%03d='u'", i)
	}
	in.WriteString(">" + strings.Repeat("<prefix000:a/>", 15_000) + "</a>")
	s := New(Limits{Bytes: 1 << 18, Depth: 128, Attrs: 128})
	s.Scope(nil)
	raw := []byte(in.String())
	var el Element
	b.SetBytes(int64(len(raw)))
	for b.Loop() {
		if _, err := s.Next(raw, &el); err != nil {
			b.Fatal(err)
		}
	}
}
