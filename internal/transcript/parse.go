package transcript

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// maxStreamed bounds what one step streams, in bytes.
const maxStreamed = 256 << 20

// Parse reads a script; name is for messages. Errors are *SyntaxError.
func Parse(name, text string) (*Script, error) {
	p := &parser{script: &Script{File: name}, lines: strings.Split(text, "\n")}
	for p.at < len(p.lines) {
		line := strings.TrimSuffix(p.lines[p.at], "\r")
		p.at++
		if err := p.line(line); err != nil {
			return nil, &SyntaxError{File: name, Line: p.start, Msg: err.Error()}
		}
	}
	return p.script, nil
}

type parser struct {
	script *Script
	lines  []string
	at     int // index of the next line
	start  int // number of the line being parsed
}

func (p *parser) line(line string) error {
	p.start = p.at
	switch {
	case strings.TrimSpace(line) == "":
		return nil
	case line[0] == '#':
		if p.script.Title == "" {
			p.script.Title = strings.TrimSpace(line[1:])
		}
		return nil
	case line[0] == ' ' || line[0] == '\t':
		return errors.New("indented text belongs below a step that ends in a colon")
	}
	words := strings.Fields(line)
	switch {
	case words[0] == "only":
		return p.only(words[1:])
	case strings.HasSuffix(words[0], ":"):
		return p.cast(words)
	}
	return p.step(strings.TrimSpace(line), words)
}

func (p *parser) only(kinds []string) error {
	if len(p.script.Steps) > 0 || len(p.script.Cast) > 0 || len(p.script.Only) > 0 {
		return errors.New(`"only" stands once, before the cast`)
	}
	if len(kinds) == 0 {
		return errors.New(`"only" needs the kind of a target`)
	}
	p.script.Only = kinds
	return nil
}

func actorName() *regexp.Regexp { return regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_]*$`) }

// reservedName reports whether a word cannot name an actor.
func reservedName(name string) bool {
	return slices.Contains([]string{"only", "do", holeAny, "absent", holeBrace}, name)
}

// cast parses "name: address key=value ...".
func (p *parser) cast(words []string) error {
	name := strings.TrimSuffix(words[0], ":")
	if !actorName().MatchString(name) || reservedName(name) {
		return fmt.Errorf("%q cannot be an actor's name", name)
	}
	if _, taken := p.script.Actor(name); taken {
		return fmt.Errorf("%s is in the cast already", name)
	}
	if len(words) < 2 {
		return errors.New("an actor needs an address")
	}
	actor := Actor{Name: name, Line: p.start, Account: Account{JID: words[1]}}
	if local, domain, _ := splitJID(actor.JID); local == "" || domain == "" {
		return fmt.Errorf("%q is not the address of a user", actor.JID)
	}
	for _, word := range words[2:] {
		key, value, ok := strings.Cut(word, "=")
		switch {
		case ok && key == "password":
			actor.Password = value
		case ok && key == "mechanism":
			actor.Mechanism = value
		default:
			return fmt.Errorf("%q is neither password= nor mechanism=", word)
		}
	}
	p.script.Cast = append(p.script.Cast, actor)
	return nil
}

// step parses a line of the play.
func (p *parser) step(line string, words []string) error {
	step := Step{Line: p.start, Source: line, Times: 1}
	if words[0] == "do" {
		step.Verb, step.Arg = Do, strings.Join(words[1:], " ")
		if step.Arg == "" {
			return errors.New(`"do" needs an action`)
		}
		p.script.Steps = append(p.script.Steps, step)
		return nil
	}
	step.Actor = words[0]
	if _, ok := p.script.Actor(step.Actor); !ok {
		return fmt.Errorf("%s is not in the cast", step.Actor)
	}
	if err := parseVerb(&step, strings.Join(words[1:], " ")); err != nil {
		return err
	}
	if strings.HasSuffix(line, ":") {
		block := p.block()
		if err := fillText(&step, block); err != nil {
			return err
		}
	}
	p.script.Steps = append(p.script.Steps, step)
	return nil
}

// parseVerb reads what follows the actor's name.
func parseVerb(step *Step, phrase string) error {
	switch phrase {
	case "dials":
		step.Verb = Dials
	case "opens":
		step.Verb = Opens
	case "opens without tls":
		step.Verb, step.NoTLS = Opens, true
	case "authenticates", "authenticates:":
		step.Verb = Authenticates
	case "restarts":
		step.Verb = Restarts
	case "connects":
		step.Verb = Connects
	case "disconnects":
		step.Verb = Disconnects
	case "drops":
		step.Verb = Drops
	case "sends:":
		step.Verb = Sends
	case "streams:":
		step.Verb = Streams
	case "receives:":
		step.Verb = Receives
	case "receives in any order:":
		step.Verb = ReceivesAnyOrder
	case "receives nothing":
		step.Verb = ReceivesNothing
	case "is closed":
		step.Verb = IsClosed
	default:
		return parseVerbWithArg(step, phrase)
	}
	return nil
}

func parseVerbWithArg(step *Step, phrase string) error {
	if arg, ok := strings.CutPrefix(phrase, "opens to "); ok && !strings.Contains(arg, " ") {
		step.Verb, step.Arg = Opens, arg
		return nil
	}
	if arg, ok := strings.CutPrefix(phrase, "is closed with "); ok && !strings.Contains(arg, " ") {
		step.Verb, step.Arg = IsClosed, arg
		return nil
	}
	if arg, ok := strings.CutPrefix(phrase, "streams "); ok {
		if count, ok := strings.CutSuffix(arg, " times:"); ok {
			n, err := strconv.Atoi(count)
			if err != nil || n < 1 || n > maxStreamed {
				return fmt.Errorf("%q is not a number from 1 to %d", count, maxStreamed)
			}
			step.Verb, step.Times = Streams, n
			return nil
		}
	}
	return fmt.Errorf("no such step: %q", phrase)
}

// block takes the indented lines below a step, with blank lines in between.
func (p *parser) block() []string {
	var block []string
	end := p.at
	for i := p.at; i < len(p.lines); i++ {
		line := strings.TrimRight(p.lines[i], "\r")
		if strings.TrimSpace(line) == "" {
			block = append(block, "")
			continue
		}
		if line[0] != ' ' && line[0] != '\t' {
			break
		}
		block = append(block, strings.TrimLeft(line, " \t"))
		end = i + 1
	}
	block = block[:end-p.at]
	p.at = end
	return block
}

// fillText turns the text below a step into what the step needs.
func fillText(step *Step, block []string) error {
	if len(block) == 0 {
		return errors.New("the text below the step is missing")
	}
	if step.Verb == Streams {
		text, err := unescape(strings.Join(block, ""))
		step.Text = []string{text}
		if err == nil && len(text) > maxStreamed/step.Times {
			err = fmt.Errorf("more than %d bytes in one step", maxStreamed)
		}
		return err
	}
	text := regexp.MustCompile(`>\s*\n\s*<`).ReplaceAllString(strings.Join(block, "\n"), "><")
	pieces, err := splitExpected(text)
	if err != nil {
		return err
	}
	if len(pieces) == 0 {
		return errors.New("no element below the step")
	}
	for _, piece := range pieces {
		e, err := parseElement(piece, streamScope())
		if err != nil {
			return err
		}
		step.Text = append(step.Text, piece)
		step.Want = append(step.Want, e)
	}
	if step.Verb == Sends {
		step.Want = nil
	} else {
		step.Text = nil
	}
	return nil
}

// splitExpected cuts the elements of a step. A stream header, which "dials" lets
// a script expect, is written as a complete element.
func splitExpected(text string) ([]string, error) {
	text = strings.TrimSpace(text)
	if !strings.HasPrefix(text, "<stream:stream") {
		return splitAll(text)
	}
	end := "</stream:stream>"
	header, rest, found := strings.Cut(text, end)
	if !found {
		end = "/>"
		header, rest, found = strings.Cut(text, end)
	}
	if !found {
		return nil, fmt.Errorf("%w: write the stream header as a complete element", errBadXML)
	}
	pieces, err := splitAll(rest)
	return append([]string{header + end}, pieces...), err
}

// unescape resolves Go's escapes.
func unescape(text string) (string, error) {
	var b strings.Builder
	for text != "" {
		if text[0] != '\\' {
			b.WriteByte(text[0])
			text = text[1:]
			continue
		}
		value, multibyte, rest, err := strconv.UnquoteChar(text, 0)
		if err != nil {
			return "", fmt.Errorf("bad escape in %q", text[:min(len(text), 12)])
		}
		if multibyte {
			b.WriteRune(value)
		} else {
			b.WriteByte(byte(value))
		}
		text = rest
	}
	return b.String(), nil
}
