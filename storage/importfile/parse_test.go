package importfile_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"rollcall/storage/importfile"
)

// Each testdata/NAME.json has the problems that are to be found in it, one a
// line, in testdata/NAME.want.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			want, err := os.ReadFile(strings.TrimSuffix(file, ".json") + ".want")
			if err != nil {
				t.Fatal(err)
			}
			_, problems := importfile.Parse("f.json", data)
			got := ""
			if err := problems.Err(); err != nil {
				got = err.Error() + "\n"
			}
			if got != string(want) {
				t.Errorf("problems:\n%swant:\n%s", got, want)
			}
		})
	}
}

func TestParse(t *testing.T) {
	const text = `{
  "projects": [{"members": ["bob", "ann"], "id": "apollo"}, {"id": "zeus", "name": "Zeus", "members": []}],
  "users": [
    {"id": "ann", "name": "Ann \u2665", "password": "correct horse"}, {"id": "bob"}
  ]
}`
	password := "correct horse"
	at := func(line, column int) importfile.Place { return importfile.Place{Line: line, Column: column} }
	want := importfile.File{
		Users: []importfile.User{
			{ID: "ann", Name: "Ann ♥", Password: &password, Place: at(4, 5)},
			{ID: "bob", Place: at(4, 71)},
		},
		Projects: []importfile.Project{
			{
				ID:      "apollo",
				Members: []importfile.Member{{ID: "bob", Place: at(2, 29)}, {ID: "ann", Place: at(2, 36)}},
				Place:   at(2, 16),
			},
			{ID: "zeus", Name: "Zeus", Members: []importfile.Member{}, Place: at(2, 61)},
		},
	}
	for name, text := range map[string]string{"plain": text, "with a byte order mark": "\ufeff" + text} {
		got, problems := importfile.Parse("f.json", []byte(text))
		if err := problems.Err(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
}

// Entries without problems are returned beside the problems of others.
func TestParseKeepsGoodEntries(t *testing.T) {
	got, problems := importfile.Parse("f.json", []byte(`{
		"users": [{"id": "ann"}, {"id": "Bob"}, 5, {"id": "ann"}, {"id": "cyd", "age": 7}, {"id": "dee"}],
		"projects": [{"id": "p1", "members": ["ann", "ann"]}, {"id": "p2", "members": ["eve"]}]}`))
	if problems.Err() == nil {
		t.Fatal("no problems found")
	}
	ids := ""
	for _, u := range got.Users {
		ids += u.ID + " "
	}
	for _, p := range got.Projects {
		ids += p.ID + " "
	}
	if want := "ann dee p2 "; ids != want {
		t.Errorf("kept %q, want %q", ids, want)
	}
}

func TestProblemsOfCallers(t *testing.T) {
	f, problems := importfile.Parse("f.json", []byte("{\"users\": [{\"id\": \"ann\"}],\n\"colour\": 1,\n\"projects\": [{\"id\": \"p\", \"members\": [\"eve\"]}]}"))
	problems.Add(f.Projects[0].Members[0].Place, "no user %q", f.Projects[0].Members[0].ID)
	problems.Add(f.Users[0].Place, "a new user needs a password")
	const want = `f.json:1:12: a new user needs a password
f.json:2:1: the file has the unknown key "colour"; known are users and projects
f.json:3:38: no user "eve"`
	if err := problems.Err(); err == nil || err.Error() != want {
		t.Errorf("problems:\n%v\nwant:\n%s", err, want)
	}
}

func TestProblemsAreCapped(t *testing.T) {
	const n = 250
	_, problems := importfile.Parse("f.json", []byte(`{"users":[`+strings.Repeat("1,\n", n-1)+`1]}`))
	list, more := problems.List()
	if len(list) != importfile.MaxProblems || more != n-importfile.MaxProblems {
		t.Errorf("%d problems and %d more", len(list), more)
	}
	if last := list[len(list)-1].String(); last != "f.json:100:1: a user must be an object, not a number" {
		t.Errorf("the last one told is %q", last)
	}
	if err := problems.Err(); err == nil || !strings.HasSuffix(err.Error(), "\nf.json: and 150 more") {
		t.Errorf("the error is %v", err)
	}
}

func TestSize(t *testing.T) {
	// Spaces are as cheap as 64 MiB of JSON get.
	data := []byte("{}" + strings.Repeat(" ", importfile.MaxSize-1))
	if _, problems := importfile.Parse("f.json", data[:importfile.MaxSize]); problems.Err() != nil {
		t.Errorf("a file of the largest size: %v", problems.Err())
	}
	const want = "f.json:1:1: the file is larger than 64 MiB"
	if _, problems := importfile.Parse("f.json", data); problems.Err() == nil || problems.Err().Error() != want {
		t.Errorf("a file that is too large: %v, want %s", problems.Err(), want)
	}
	endless := &counter{}
	_, problems, err := importfile.Read("f.json", endless)
	if err != nil || problems.Err() == nil || problems.Err().Error() != want {
		t.Errorf("an endless file: %v, %v, want %s", problems.Err(), err, want)
	}
	if endless.n > 2*importfile.MaxSize {
		t.Errorf("read %d bytes of it", endless.n)
	}
}

// counter is an endless file of spaces that counts what was read.
type counter struct{ n int }

func (c *counter) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = ' '
	}
	c.n += len(b)
	return len(b), nil
}

func TestReadFails(t *testing.T) {
	broken := errors.New("broken disk")
	if _, _, err := importfile.Read("f.json", iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("error %v, want %v", err, broken)
	}
	f, problems, err := importfile.Read("f.json", iotest.OneByteReader(strings.NewReader(`{"users":[{"id":"ann"}]}`)))
	if err != nil || problems.Err() != nil || len(f.Users) != 1 {
		t.Errorf("read %+v, %v, %v", f, problems.Err(), err)
	}
}

// What nests without end costs neither stack nor memory without bound.
func TestNesting(t *testing.T) {
	const depth = 1 << 20
	for _, text := range []string{
		strings.Repeat("[", depth),
		`{"users":` + strings.Repeat("[", depth),
		`{"users":[{"id":` + strings.Repeat(`{"a":`, depth),
		`{"x":` + strings.Repeat("[", depth) + strings.Repeat("]", depth) + "}",
	} {
		data := []byte(text)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, problems := importfile.Parse("f.json", data)
		runtime.ReadMemStats(&after)
		if err := problems.Err(); err == nil || !strings.Contains(err.Error(), "exceeded max depth") {
			t.Errorf("%.20s...: %v", text, err)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 4<<20 {
			t.Errorf("%.20s...: %d bytes allocated", text, n)
		}
	}
}

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file, problems := importfile.Parse("f.json", data)
		list, _ := problems.List()
		lines := 1 + strings.Count(string(data), "\n")
		for _, p := range list {
			if p.Line < 1 || p.Line > lines || p.Column < 1 || p.Column > len(data)+1 || p.Text == "" {
				t.Errorf("problem %q of a file of %d lines", p, lines)
			}
		}
		if problems.Err() != nil {
			return
		}
		if !json.Valid([]byte(strings.TrimPrefix(string(data), "\ufeff"))) {
			t.Fatal("accepted what is not JSON")
		}
		text, err := json.MarshalIndent(file, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		again, problems := importfile.Parse("again.json", text)
		if err := problems.Err(); err != nil {
			t.Fatalf("%s\nis refused: %v", text, err)
		}
		if got, want := unplaced(again), unplaced(file); got != want {
			t.Errorf("marshalled and parsed again: %s, want %s", got, want)
		}
	})
}

// unplaced says everything about a file but the places.
func unplaced(f importfile.File) string {
	var b strings.Builder
	for _, u := range f.Users {
		password := "none"
		if u.Password != nil {
			password = fmt.Sprintf("%q", *u.Password)
		}
		fmt.Fprintf(&b, "user %q %q %s\n", u.ID, u.Name, password)
	}
	for _, p := range f.Projects {
		fmt.Fprintf(&b, "project %q %q", p.ID, p.Name)
		for _, m := range p.Members {
			fmt.Fprintf(&b, " %q", m.ID)
		}
		fmt.Fprintln(&b)
	}
	return b.String()
}

func BenchmarkParse(b *testing.B) {
	var text strings.Builder
	text.WriteString(`{"users":[`)
	for i := range 10_000 {
		if i > 0 {
			text.WriteString(",\n")
		}
		fmt.Fprintf(&text, `{"id":"user%d","name":"User %d","password":"secret%d"}`, i, i, i)
	}
	text.WriteString(`]}`)
	data := []byte(text.String())
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, problems := importfile.Parse("f.json", data); problems.Err() != nil {
			b.Fatal(problems.Err())
		}
	}
}
