package jid

import (
	"strings"
	"testing"
)

func TestEscape(t *testing.T) {
	// Many of them from XEP-0106 section 5.
	tests := []struct{ name, want string }{
		{"ann", "ann"},
		{"space cadet", `space\20cadet`},
		{`call me "ishmael"`, `call\20me\20\22ishmael\22`},
		{"at&t guy", `at\26t\20guy`},
		{"d'artagnan", `d\27artagnan`},
		{"/.fanboy", `\2f.fanboy`},
		{"::foo::", `\3a\3afoo\3a\3a`},
		{"<foo>", `\3cfoo\3e`},
		{"user@host", `user\40host`},
		{`c:\net`, `c\3a\net`},
		{`c:\\net`, `c\3a\\net`},
		{`c:\cool stuff`, `c\3a\cool\20stuff`},
		{`c:\5commas`, `c\3a\5c5commas`},
		{`a\20b`, `a\5c20b`},
		{`a\5c20b`, `a\5c5c20b`},
		{`a\ b`, `a\\20b`},
		{"日本", "日本"},
		{"", ""},
		{" ann", ""},
		{"ann ", ""},
		{"Ann", ""},
		{"an\x00n", ""},
		{"\xff", ""},
		{"e\u0301t", ""},
		{strings.Repeat("a", 1023), strings.Repeat("a", 1023)},
		{strings.Repeat("a", 1024), ""},
		{strings.Repeat("a", 1020) + " b", ""}, // 1024 bytes once escaped
	}
	for _, tt := range tests {
		local, ok := Escape(tt.name)
		if ok != (tt.want != "") || ok && local != tt.want {
			t.Errorf("Escape(%.40q) = %.40q, %v; want %.40q", tt.name, local, ok, tt.want)
		}
		if tt.want == "" {
			continue
		}
		if name, ok := Unescape(tt.want); !ok || name != tt.name {
			t.Errorf("Unescape(%.40q) = %.40q, %v; want %.40q", tt.want, name, ok, tt.name)
		}
	}
	// No name is written like that.
	for _, local := range []string{"", `\20ann`, `ann\20`, "a b", "Ann", "a@b", `a\2Fb`} {
		if name, ok := Unescape(local); ok && local != `a\2Fb` {
			t.Errorf("Unescape(%q) = %q", local, name)
		}
	}
}

func FuzzEscape(f *testing.F) {
	for _, s := range []string{"ann", `a\20b`, "a b", `\5c`, `\\5`, "日本@", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if local, ok := Escape(name); ok {
			if back, ok := Unescape(local); !ok || back != name {
				t.Errorf("Escape(%q) = %q, Unescape of that is %q, %v", name, local, back, ok)
			}
			if j, err := New(local, "x", ""); err != nil || j.Local() != local {
				t.Errorf("Escape(%q) = %q, which is no local part: %v", name, local, err)
			}
		}
		if back, ok := Unescape(name); ok {
			if local, ok := Escape(back); !ok || local != name {
				t.Errorf("Unescape(%q) = %q, Escape of that is %q, %v", name, back, local, ok)
			}
		}
	})
}
