package conf

import (
	"path/filepath"
	"strings"
	"testing"
)

const prebindKey = "5f0c8e3b9d7a4412a6c1d8e7f3b2905c"

func TestPrebindKey(t *testing.T) {
	dir := t.TempDir()
	writeKeys(t, dir)
	path := filepath.Join(dir, "rollcall.yml")
	writeFile(t, path, []byte("listen: {http: [{address: ':5280', prebind: true}]}\nbosh: {prebind_key_file: prebind.key}\n"))
	withFile, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(dir, "prebind.key"); withFile.BOSH.PrebindKeyFile != want {
		t.Errorf("the file is %s, want %s", withFile.BOSH.PrebindKeyFile, want)
	}
	gone := Default()
	gone.BOSH.PrebindKeyFile = filepath.Join(dir, "gone.key")
	other := strings.Repeat("k", 32)
	for _, c := range []struct {
		name     string
		c        *Config
		variable string
		want     string
		problem  string
	}{
		{name: "none", c: Default()},
		{name: "file", c: withFile, want: prebindKey},
		{name: "variable", c: Default(), variable: other + "\n", want: other},
		{name: "variable before file", c: withFile, variable: other, want: other},
		{name: "short variable", c: withFile, variable: "short", problem: "ROLLCALL_PREBIND_KEY: the key has 5 characters"},
		{name: "blank variable", c: withFile, variable: " ", problem: "ROLLCALL_PREBIND_KEY: there is no key"},
		{name: "long variable", c: withFile, variable: strings.Repeat("k", 1025), problem: "longer than 1024"},
		{name: "two words", c: withFile, variable: other + " " + other, problem: "not one word"},
		{name: "file is gone", c: gone, problem: "bosh.prebind_key_file: open "},
	} {
		got, err := c.c.PrebindKey(c.variable)
		switch {
		case c.problem == "" && (err != nil || got != c.want):
			t.Errorf("%s: got %q, %v", c.name, got, err)
		case c.problem != "" && (err == nil || !strings.Contains(err.Error(), c.problem)):
			t.Errorf("%s: got %q, %v", c.name, got, err)
		case err != nil && strings.Contains(err.Error(), "kkkk"):
			t.Errorf("%s: the error shows the key", c.name)
		}
	}
}
