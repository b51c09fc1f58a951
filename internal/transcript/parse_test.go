package transcript

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

const sample = `# A title
# and more

only tcp websocket

alice: alice@localhost/web password=secret
bob: bob@localhost password=p mechanism=PLAIN

alice connects
bob opens without tls
bob opens to example.com
alice sends:
    <message
        to='{bob}'>
      <body>two words</body>
    </message>

    <presence/>

bob receives in any order:
	<presence/>
	<message>...</message>
alice receives nothing
alice streams 3 times:
    <a>\xff
    \n
alice is closed with not-well-formed
do shut down
`

func TestParse(t *testing.T) {
	s, err := Parse("sample.txt", sample)
	if err != nil {
		t.Fatal(err)
	}
	if s.Title != "A title" || !s.PlaysOn("tcp") || s.PlaysOn("bosh") {
		t.Errorf("title %q, only %v", s.Title, s.Only)
	}
	cast := []Actor{
		{Name: "alice", Line: 6, Account: Account{JID: "alice@localhost/web", Password: "secret"}},
		{Name: "bob", Line: 7, Account: Account{JID: "bob@localhost", Password: "p", Mechanism: "PLAIN"}},
	}
	if !reflect.DeepEqual(s.Cast, cast) {
		t.Errorf("cast %+v", s.Cast)
	}
	type short struct {
		line  int
		actor string
		verb  Verb
		arg   string
		text  string
		want  int
		times int
	}
	var got []short
	for _, step := range s.Steps {
		got = append(got, short{step.Line, step.Actor, step.Verb, step.Arg, strings.Join(step.Text, "|"), len(step.Want), step.Times})
	}
	want := []short{
		{9, "alice", Connects, "", "", 0, 1},
		{10, "bob", Opens, "", "", 0, 1},
		{11, "bob", Opens, "example.com", "", 0, 1},
		{12, "alice", Sends, "", "<message\nto='{bob}'><body>two words</body></message>|<presence/>", 0, 1},
		{20, "bob", ReceivesAnyOrder, "", "", 2, 1},
		{23, "alice", ReceivesNothing, "", "", 0, 1},
		{24, "alice", Streams, "", "<a>\xff\n", 0, 3},
		{27, "alice", IsClosed, "not-well-formed", "", 0, 1},
		{28, "", Do, "shut down", "", 0, 1},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("steps\ngot  %+v\nwant %+v", got, want)
	}
	if !s.Steps[1].NoTLS || s.Steps[2].NoTLS {
		t.Error("NoTLS")
	}
}

func TestParseErrors(t *testing.T) {
	const cast = "a: a@h password=x\n"
	for _, tc := range []struct {
		name, text string
		line       int
		msg        string
	}{
		{"unknown actor", "bob connects\n", 1, "not in the cast"},
		{"unknown step", cast + "a jumps\n", 2, "no such step"},
		{"text for nothing", cast + "\n  <a/>\n", 3, "indented text"},
		{"text missing", cast + "a sends:\na connects\n", 2, "missing"},
		{"half an element", cast + "a sends:\n  <a>\n", 2, "EOF"},
		{"wrong end", cast + "a receives:\n  <a></b>\n", 2, "ended by"},
		{"text between elements", cast + "a receives:\n  <a/>x\n", 2, "between elements"},
		{"a comment", cast + "a receives:\n  <!-- x -->\n", 2, "comment"},
		{"undeclared prefix", cast + "a receives:\n  <x:a/>\n", 2, "not declared"},
		{"no address", "a:\n", 1, "needs an address"},
		{"address without a user", "a: localhost\n", 1, "address of a user"},
		{"bad name", "1a: a@h\n", 1, "actor's name"},
		{"reserved name", "any: a@h\n", 1, "actor's name"},
		{"twice in the cast", cast + cast, 2, "already"},
		{"unknown key", "a: a@h pass=x\n", 1, "neither"},
		{"only after the cast", cast + "only tcp\n", 2, "before the cast"},
		{"only what", "only\n", 1, "kind"},
		{"do what", "do\n", 1, "action"},
		{"bad escape", cast + "a streams:\n  \\q\n", 2, "bad escape"},
		{"bad count", cast + "a streams 0 times:\n  x\n", 2, "not a number"},
		{"too much", cast + "a streams 268435456 times:\n  xx\n", 2, "more than"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Parse("f", tc.text)
			var syntax *SyntaxError
			if !errors.As(err, &syntax) {
				t.Fatalf("got %v", err)
			}
			if syntax.Line != tc.line || !strings.Contains(syntax.Msg, tc.msg) {
				t.Errorf("got %v, want line %d, %q", err, tc.line, tc.msg)
			}
		})
	}
}

// TestScripts parses every script of the repository's own.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatal("no scripts")
	}
	for _, file := range files {
		s, err := ParseFile(file)
		if err != nil {
			t.Error(err)
			continue
		}
		if s.Title == "" || len(s.Cast) == 0 || len(s.Steps) == 0 {
			t.Errorf("%s: a title, a cast and steps are needed", file)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(sample)
	files, err := filepath.Glob("testdata/core/*.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse("fuzz", text)
		if err != nil {
			var syntax *SyntaxError
			if !errors.As(err, &syntax) || syntax.Line < 1 {
				t.Fatalf("%v", err)
			}
			return
		}
		for _, step := range s.Steps {
			if step.Verb == 0 || step.Line < 1 {
				t.Fatalf("%+v", step)
			}
			for _, want := range step.Want { // what it expects matches itself, holes aside
				if !strings.Contains(Text(want), "{") && !strings.Contains(Text(want), markOthers) {
					if _, err := Compare(want, want, nil); err != nil {
						t.Fatalf("%s: %v", Text(want), err)
					}
				}
			}
		}
	})
}
