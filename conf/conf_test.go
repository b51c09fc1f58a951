package conf

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"
)

func TestDefaultYAMLIsDefault(t *testing.T) {
	got, err := Parse("rollcall.yml", DefaultYAML())
	if err != nil {
		t.Fatal(err)
	}
	if want := Default(); !reflect.DeepEqual(got, want) {
		t.Errorf("rollcall.yml parses to\n%+v\nand the defaults are\n%+v", got, want)
	}
}

func TestEmptyFileIsDefault(t *testing.T) {
	for _, text := range []string{"", "\n", "# nothing\n", "---\n", "log:\nmodules:\n  # ping:\n"} {
		got, err := Parse("empty", []byte(text))
		if err != nil {
			t.Errorf("%q: %v", text, err)
		} else if !reflect.DeepEqual(got, Default()) {
			t.Errorf("%q: got %+v", text, got)
		}
	}
}

// A default outside of the permitted range would be refused by check.
func TestDefaultIsValid(t *testing.T) {
	c, r := Default(), newReport("default", nil)
	check(c, r)
	if err := r.err(); err != nil {
		t.Error(err)
	}
	if !reflect.DeepEqual(c, Default()) {
		t.Errorf("check changed the defaults to %+v", c)
	}
}

func TestDefaultIsFresh(t *testing.T) {
	a := Default()
	a.Hosts[0], a.Listen.TCP[0].Address = "changed", "changed"
	if b := Default(); b.Hosts[0] != "localhost" || b.Listen.TCP[0].Address != ":5222" {
		t.Error("two defaults share memory")
	}
	DefaultYAML()[0] = 'x'
	if DefaultYAML()[0] != '#' {
		t.Error("DefaultYAML gives its memory away")
	}
}

// Every key of the tree is in rollcall.yml, with a comment above it.
func TestDefaultYAMLExplainsEveryKey(t *testing.T) {
	var doc yaml.Node
	if err := yaml.Load(DefaultYAML(), &doc); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(DefaultYAML()), "\n")
	explained(t, lines, "", doc.Content[0], reflect.TypeFor[Config]())
}

func explained(t *testing.T, lines []string, path string, n *yaml.Node, typ reflect.Type) {
	t.Helper()
	for i := range typ.NumField() {
		f := typ.Field(i)
		key := f.Tag.Get("yaml")
		if key == "" {
			t.Errorf("%s.%s has no key", typ, f.Name)
		}
		here := join(path, key)
		at := keyIndex(n, key)
		if at < 0 {
			t.Errorf("%s is not in rollcall.yml", here)
			continue
		}
		above := commentAbove(lines, n.Content[at].Line)
		if above == "" {
			t.Errorf("%s has no comment", here)
		}
		for word := range strings.FieldsSeq(f.Tag.Get("enum")) {
			if !strings.Contains(above, word) {
				t.Errorf("the comment of %s does not mention %s", here, word)
			}
		}
		value := n.Content[at+1]
		switch {
		case f.Type.Kind() == reflect.Struct:
			explained(t, lines, here, value, f.Type)
		case f.Type.Kind() != reflect.Slice || f.Type.Elem().Kind() != reflect.Struct || f.Type == reflect.TypeFor[Document]():
		case len(value.Content) > 0:
			explained(t, lines, here+"[0]", value.Content[0], f.Type.Elem())
		default: // the keys of the entries of an empty list are in its comment
			for j := range f.Type.Elem().NumField() {
				if sub := f.Type.Elem().Field(j).Tag.Get("yaml"); !strings.Contains(above, "#   "+sub+"  ") {
					t.Errorf("the comment of %s does not explain %s", here, sub)
				}
			}
		}
	}
}

func keyIndex(n *yaml.Node, key string) int {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return i
		}
	}
	return -1
}

// commentAbove is the block of comment lines right above a line, counted from 1.
func commentAbove(lines []string, line int) string {
	first := line - 1
	for first > 0 && strings.HasPrefix(strings.TrimSpace(lines[first-1]), "#") {
		first--
	}
	return strings.Join(lines[first:line-1], "\n")
}

func TestServiceHost(t *testing.T) {
	for _, c := range []struct{ pattern, host, want string }{
		{"wtmuc.@HOST@", "example.org", "wtmuc.example.org"},
		{"team.example.org", "example.org", "team.example.org"},
		{"@HOST@.x.@HOST@", "a", "a.x.a"},
	} {
		if got := ServiceHost(c.pattern, c.host); got != c.want {
			t.Errorf("ServiceHost(%q, %q) = %q, want %q", c.pattern, c.host, got, c.want)
		}
	}
}

func TestParseSize(t *testing.T) {
	for _, c := range []struct {
		text string
		want Size
		ok   bool
	}{
		{"0", 0, true}, {"4096", 4096, true}, {"256KiB", 256 << 10, true}, {"1 MiB", 1 << 20, true},
		{"2GiB", 2 << 30, true}, {"8589934591GiB", 8589934591 << 30, true},
		{"8589934592GiB", 0, false}, {"9223372036854775808", 0, false}, {"-1", 0, false}, {"+1", 0, false},
		{"", 0, false}, {"KiB", 0, false}, {"1kb", 0, false}, {"1.5MiB", 0, false}, {"1_000", 0, false},
		{"1  MiB", 0, false}, {" 1", 0, false}, {"0x10", 0, false},
	} {
		got, err := ParseSize(c.text)
		if got != c.want || (err == nil) != c.ok {
			t.Errorf("ParseSize(%q) = %d, %v", c.text, got, err)
		}
		if err != nil {
			continue
		}
		if again, err := ParseSize(got.String()); again != got || err != nil {
			t.Errorf("ParseSize(%q) = %d, %v", got.String(), again, err)
		}
	}
}

func TestPrefixes(t *testing.T) {
	got, err := Prefixes([]string{"127.0.0.1", "10.0.0.0/8", "::ffff:192.0.2.1", "2001:db8::/32"})
	if err != nil {
		t.Fatal(err)
	}
	var text []string
	for _, p := range got {
		text = append(text, p.String())
	}
	if s, want := strings.Join(text, " "), "127.0.0.1/32 10.0.0.0/8 192.0.2.1/32 2001:db8::/32"; s != want {
		t.Errorf("got %s, want %s", s, want)
	}
	if _, err := Prefixes([]string{"10.0.0.0/8", "proxy"}); err == nil {
		t.Error("a name is no prefix")
	}
}

func TestClashes(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{":5222", "0.0.0.0:5222", true}, {":5222", "[::]:5222", true}, {"0.0.0.0:1", "[::]:1", true},
		{":5222", "127.0.0.1:5222", true}, {":5222", "xmpp.example.org:5222", true},
		{"localhost:1", "127.0.0.1:1", true}, {"[::ffff:127.0.0.1]:1", "127.0.0.1:1", true},
		{"A.example:1", "a.example:1", true}, {"[::1]:1", "127.0.0.1:1", false},
		{"a.example:1", "127.0.0.1:1", false}, {"127.0.0.1:1", "127.0.0.2:1", false},
		{":1", ":2", false}, {":0", ":0", false}, {"[fe80::1%a]:1", "[fe80::1%b]:1", false},
	} {
		a, p1 := parseAddress("a", c.a)
		b, p2 := parseAddress("b", c.b)
		if p1 != "" || p2 != "" {
			t.Errorf("%s, %s: %s%s", c.a, c.b, p1, p2)
		} else if a.clashes(b) != c.want || b.clashes(a) != c.want {
			t.Errorf("%s and %s: clashes is not %v both ways", c.a, c.b, c.want)
		}
	}
}

func TestShow(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 10 * time.Second: "10s", 10 * time.Minute: "10m", 24 * time.Hour: "24h",
		90 * time.Second: "1m30s", time.Hour + 10*time.Minute: "1h10m", 20 * time.Minute: "20m", time.Hour + 10*time.Second: "1h0m10s",
	} {
		if got := show(d); got != want {
			t.Errorf("show(%d) = %s, want %s", d, got, want)
		}
	}
}
