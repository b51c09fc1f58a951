package conf

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing wrong in a configuration file.
type Problem struct {
	File         string
	Line, Column int    // from 1; Line is always a line of the file
	Path         string // such as listen.tcp[0].address; empty for the file as a whole
	Text         string
}

// String is "file:line:column: path: text".
func (p Problem) String() string {
	if p.Path == "" {
		return fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Text)
	}
	return fmt.Sprintf("%s:%d:%d: %s: %s", p.File, p.Line, p.Column, p.Path, p.Text)
}

// Problems is everything wrong in a configuration file, in the file's order. It
// is never empty when it is returned as an error.
type Problems []Problem

// Error is one line for each problem.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// place is where something stands in the file, counted from 1.
type place struct{ line, column int }

// report collects problems and knows where each path stands in the file.
type report struct {
	file     string
	lines    int // of the file
	at       map[string]place
	bad      map[string]bool // paths that have a problem
	problems Problems
}

func newReport(file string, data []byte) *report {
	lines := 1 + strings.Count(string(data), "\n")
	if strings.HasSuffix(string(data), "\n") {
		lines--
	}
	return &report{
		file: file, lines: max(lines, 1),
		at: map[string]place{"": {1, 1}}, bad: map[string]bool{},
	}
}

// addAt notes a problem at a place of the file.
func (r *report) addAt(p place, path, format string, args ...any) {
	r.bad[path] = true
	r.problems = append(r.problems, Problem{
		File: r.file, Line: min(max(p.line, 1), r.lines), Column: max(p.column, 1),
		Path: path, Text: fmt.Sprintf(format, args...),
	})
}

// add notes a problem of the value at path, unless that value has one already:
// what follows from a value that could not be read is no news.
func (r *report) add(path, format string, args ...any) {
	if !r.bad[path] {
		r.addAt(r.locate(path), path, format, args...)
	}
}

// addEither notes that two paths name the same thing, where the file says so: at
// path, or at other if path has its default.
func (r *report) addEither(path, other, what string) {
	if !r.given(path) && r.given(other) {
		path, other = other, path
	}
	r.add(path, "%s is taken by %s already", what, other)
}

// locate is the place of path, or of what it would be in if it is not in the file.
func (r *report) locate(path string) place {
	for {
		if p, ok := r.at[path]; ok {
			return p
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
}

// given reports whether the file has a value for path.
func (r *report) given(path string) bool {
	_, ok := r.at[path]
	return ok
}

// err is what was found, in the file's order.
func (r *report) err() error {
	if len(r.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(r.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return r.problems
}
