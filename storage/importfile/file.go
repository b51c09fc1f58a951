// Package importfile reads the file that "rollcall import" takes: users and
// projects as one JSON object.
//
//	{
//	  "users": [
//	    {"id": "ann", "name": "Ann Lee", "password": "correct horse"},
//	    {"id": "bob"}
//	  ],
//	  "projects": [
//	    {"id": "apollo", "name": "Apollo", "members": ["ann", "bob"]}
//	  ]
//	}
//
// Only ids and a project's members are required. Everything wrong in a file is
// told at once, each with its place.
package importfile

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

const (
	// MaxSize is the size in bytes of the largest file that is read.
	MaxSize = 64 << 20
	// MaxProblems is how many problems are told; more are only counted.
	MaxProblems = 100
)

// Place is where something stands in the file, counted from 1. Columns count
// characters.
type Place struct {
	Line, Column int
}

// File is what a file says. Marshalled to JSON it is such a file again.
type File struct {
	Users    []User    `json:"users,omitempty"`
	Projects []Project `json:"projects,omitempty"`
}

// User is an entry of "users". ID is a local part as RFC 7622 section 3.3
// prescribes, and that of no other entry.
type User struct {
	ID   string `json:"id"`
	Name string `json:"name,omitempty"`
	// Password is nil when the entry has none, which leaves that of an existing
	// user as it is. It is never empty.
	Password *string `json:"password,omitempty"`
	Place    `json:"-"`
}

// Project is an entry of "projects". ID is a local part as RFC 7622 section 3.3
// prescribes, and that of no other entry.
type Project struct {
	ID   string `json:"id"`
	Name string `json:"name,omitempty"`
	// Members are all the members the project will have, each once. They need
	// not be users of this file.
	Members []Member `json:"members"`
	Place   `json:"-"`
}

// Member is the id of a project's member.
type Member struct {
	ID string
	Place
}

// MarshalJSON returns the id as a JSON string.
func (m Member) MarshalJSON() ([]byte, error) { return json.Marshal(m.ID) }

// Problem is one thing wrong in a file.
type Problem struct {
	File string
	Place
	Text string
}

// String is "file:line:column: text".
func (p Problem) String() string {
	return fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Text)
}

// Problems is everything wrong in a file. Callers that know more than the file,
// such as which members exist in the store, add what they find.
type Problems struct {
	file string
	list []Problem
	more int
}

// Add notes a problem, or counts it when there are MaxProblems already.
func (ps *Problems) Add(at Place, format string, args ...any) {
	if len(ps.list) == MaxProblems {
		ps.more++
		return
	}
	ps.list = append(ps.list, Problem{File: ps.file, Place: at, Text: fmt.Sprintf(format, args...)})
}

func (ps *Problems) count() int { return len(ps.list) + ps.more }

// List returns the problems noted, in the order of their places, and how many
// more there are.
func (ps *Problems) List() (list []Problem, more int) {
	list = slices.Clone(ps.list)
	slices.SortStableFunc(list, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return list, ps.more
}

// Err returns nil when there are no problems, otherwise an error with a line for
// each.
func (ps *Problems) Err() error {
	list, more := ps.List()
	if len(list) == 0 {
		return nil
	}
	lines := make([]string, len(list), len(list)+1)
	for i, p := range list {
		lines[i] = p.String()
	}
	if more > 0 {
		lines = append(lines, fmt.Sprintf("%s: and %d more", ps.file, more))
	}
	return errors.New(strings.Join(lines, "\n"))
}

// Read parses what r holds, without reading much more than MaxSize bytes of it.
// name stands for the file in problems. The error is that of r.
func Read(name string, r io.Reader) (File, Problems, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	if err != nil {
		return File{}, Problems{}, fmt.Errorf("read %s: %w", name, err)
	}
	f, problems := Parse(name, data)
	return f, problems, nil
}
