// Package rollcall holds no code: only the test that keeps the rooms of the house
// apart (docs/ARCHITECTURE.md).
package rollcall

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// doors says what each room may import of the others; the longest matching room
// counts. Tests may import more.
var doors = []struct {
	room  string
	may   []string
	never []string
}{
	{room: "cmd", may: []string{""}},
	{room: "conf", may: []string{"internal/jid"}},
	{room: "server", may: []string{"conf", "storage", "internal"}, never: []string{"storage/", "internal/servertest", "internal/transcript"}},
	{room: "c2s", may: []string{"server", "conf", "internal"}},
	{room: "bosh", may: []string{"server", "conf", "internal"}},
	{room: "modules", may: []string{"server", "storage", "internal"}, never: []string{"storage/"}},
	{room: "storage", may: []string{"internal/jid", "storage"}},
	{room: "storage/sqlite", may: []string{"storage", "internal/jid"}, never: []string{"storage/"}},
	{room: "storage/memory", may: []string{"storage"}, never: []string{"storage/"}},
	{room: "storage/redis", may: []string{"storage"}, never: []string{"storage/"}},
	{room: "storage/mongo", may: []string{"storage", "internal/jid"}, never: []string{"storage/"}},
	{room: "internal", may: []string{"internal"}},
	{room: "internal/auth", may: []string{"internal", "storage"}, never: []string{"storage/"}},
	// Test kits drive the whole house from outside.
	{room: "internal/servertest", may: []string{""}},
	{room: "internal/transcript", may: []string{"internal", "server"}},
	{room: "test", may: []string{""}},
}

// source is one Go file that is no test.
type source struct {
	path string // slash-separated, from the top
	file *ast.File
}

func sources(t *testing.T) (files []source, set *token.FileSet) {
	t.Helper()
	set = token.NewFileSet()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && path != "." && (strings.HasPrefix(name, ".") || name == "node_modules" || name == "testdata") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		files = append(files, source{filepath.ToSlash(path), f})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 20 {
		t.Fatalf("only %d files: is this the top of the tree?", len(files))
	}
	return files, set
}

func under(path, room string) bool {
	return room == "" || path == room || strings.HasPrefix(path, strings.TrimSuffix(room, "/")+"/")
}

func TestImportsGoOneWay(t *testing.T) {
	files, set := sources(t)
	for _, f := range files {
		best := -1
		for i, d := range doors {
			if under(f.path, d.room) && (best < 0 || len(d.room) > len(doors[best].room)) {
				best = i
			}
		}
		if best < 0 {
			t.Errorf("%s is in no room", f.path)
			continue
		}
		own := filepath.ToSlash(filepath.Dir(f.path))
		for _, spec := range f.file.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			rest, ours := strings.CutPrefix(path, "rollcall/")
			if !ours || under(rest, own) {
				continue
			}
			if !allowed(doors[best].may, doors[best].never, rest) {
				t.Errorf("%s: %s must not import %s", set.Position(spec.Pos()), doors[best].room, rest)
			}
		}
	}
}

func allowed(may, never []string, path string) bool {
	for _, n := range never {
		if under(path, n) && path != strings.TrimSuffix(n, "/") {
			return false
		}
	}
	for _, m := range may {
		if under(path, m) {
			return true
		}
	}
	return false
}

// TestOnlyMainExits also finds init functions, which would act behind everybody's
// back.
func TestOnlyMainExits(t *testing.T) {
	files, set := sources(t)
	for _, f := range files {
		ast.Inspect(f.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Name.Name == "init" && n.Recv == nil {
					t.Errorf("%s: init function", set.Position(n.Pos()))
				}
			case *ast.SelectorExpr:
				pkg, ok := n.X.(*ast.Ident)
				if !ok || under(f.path, "cmd") || f.path == "test/performance/main.go" {
					return true
				}
				if call := pkg.Name + "." + n.Sel.Name; call == "os.Exit" || strings.HasPrefix(call, "log.Fatal") {
					t.Errorf("%s: %s", set.Position(n.Pos()), call)
				}
			}
			return true
		})
	}
}

// TestServerKnowsNoTransport looks for transports' names in the core's code;
// comments may name them.
func TestServerKnowsNoTransport(t *testing.T) {
	files, set := sources(t)
	for _, f := range files {
		if !under(f.path, "server") {
			continue
		}
		ast.Inspect(f.file, func(n ast.Node) bool {
			text := ""
			switch n := n.(type) {
			case *ast.Ident:
				text = n.Name
			case *ast.BasicLit:
				text = n.Value
			}
			for _, name := range []string{"bosh", "websocket", "tcp"} {
				if strings.Contains(strings.ToLower(text), name) {
					t.Errorf("%s: the core names %s: %s", set.Position(n.Pos()), name, text)
				}
			}
			return true
		})
	}
}
