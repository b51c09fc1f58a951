package transcript

import (
	"fmt"
	"os"
	"slices"

	"github.com/beevik/etree"
)

// Script is a parsed transcript.
type Script struct {
	// File is the name for messages.
	File string
	// Title is the first comment line.
	Title string
	// Only names the kinds of target the script is for; empty for all.
	Only []string
	// Cast holds the actors in the order of the file.
	Cast []Actor
	// Steps hold what happens.
	Steps []Step
}

// Actor is a member of the cast.
type Actor struct {
	Name string
	Account
	Line int
}

// Verb says what happens in a step.
type Verb int

// The verbs; see the package documentation.
const (
	Dials Verb = iota + 1
	Opens
	Authenticates
	Restarts
	Connects
	Disconnects
	Drops
	Sends
	Streams
	Receives
	ReceivesAnyOrder
	ReceivesNothing
	IsClosed
	Do
)

// Step is one line of the script with the text below it.
type Step struct {
	Line int
	// Source is the line itself.
	Source string
	Actor  string
	Verb   Verb
	// Arg is the domain of "opens to", the condition of "is closed with" or the
	// action of "do".
	Arg string
	// NoTLS is set for "opens without tls".
	NoTLS bool
	// Text is what is sent: complete elements, one string each, or for Streams
	// one string.
	Text []string
	// Times is how often Streams sends its text.
	Times int
	// Want is what Receives and ReceivesAnyOrder expect.
	Want []*etree.Element
}

// Nobody is the domain of a header without one.
const Nobody = "nobody"

// PlaysOn reports whether the script is for a kind of target.
func (s *Script) PlaysOn(kind string) bool {
	return len(s.Only) == 0 || slices.Contains(s.Only, kind)
}

// Actor returns a member of the cast.
func (s *Script) Actor(name string) (Actor, bool) {
	i := slices.IndexFunc(s.Cast, func(a Actor) bool { return a.Name == name })
	if i < 0 {
		return Actor{}, false
	}
	return s.Cast[i], true
}

// ParseFile reads a script.
func ParseFile(path string) (*Script, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, string(text))
}

// SyntaxError is a place where a script breaks the rules.
type SyntaxError struct {
	File string
	Line int
	Msg  string
}

// Error is "file:line: message".
func (e *SyntaxError) Error() string { return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Msg) }
