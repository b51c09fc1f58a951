package transcript

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"testing"
)

// Run plays a script against a target and fails the test where they differ. A
// script that is not for this kind of target is skipped.
func Run(t testing.TB, target Target, s *Script) {
	t.Helper()
	if !s.PlaysOn(target.Kind) {
		t.Skipf("%s is only for %v", s.File, s.Only)
	}
	if err := Play(t.Context(), target, s); err != nil {
		t.Fatal(err)
	}
}

// RunDir plays each script of a folder that is for this kind of target, as a
// subtest. target is called for each script, so that each may have a server of
// its own.
func RunDir(t *testing.T, dir string, kind string, target func(t *testing.T, s *Script) Target) {
	t.Helper()
	files, err := fs.Glob(os.DirFS(dir), "*.txt")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatalf("no scripts in %s", dir)
	}
	for _, file := range files {
		script, err := ParseFile(dir + "/" + file)
		if err != nil {
			t.Error(err)
			continue
		}
		if script.PlaysOn(kind) {
			t.Run(file, func(t *testing.T) { Run(t, target(t, script), script) })
		}
	}
}

// Failure is where a play and its script differ.
type Failure struct {
	File string
	Step Step
	Err  error
	// Conversation is what was said until then.
	Conversation string
}

// Error tells it all.
func (f *Failure) Error() string {
	return fmt.Sprintf("%s:%d: %s: %v\n%s", f.File, f.Step.Line, f.Step.Source, f.Err, f.Conversation)
}

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }

// Play plays a script against a target. The error is a *Failure.
func Play(ctx context.Context, target Target, s *Script) error {
	p := &play{target: target.withDefaults(), script: s, vars: make(Vars), actors: make(map[string]*player), log: new(conversation)}
	for _, a := range s.Cast {
		p.actors[a.Name] = &player{actor: a}
		if _, _, resource := splitJID(a.JID); resource != "" {
			p.vars[a.Name] = a.JID
		}
	}
	err := p.steps(ctx)
	p.leave(ctx)
	return err
}

// play is one performance of a script.
type play struct {
	target Target
	script *Script
	vars   Vars
	actors map[string]*player
	log    *conversation
	pings  int
}

func (p *play) steps(ctx context.Context) error {
	fail := func(step Step, err error) error {
		return &Failure{File: p.script.File, Step: step, Err: err, Conversation: p.log.String()}
	}
	for _, step := range p.script.Steps {
		p.log.step(step)
		if err := p.step(ctx, step); err != nil {
			return fail(step, err)
		}
	}
	last := Step{Line: 1, Source: "the end"}
	if n := len(p.script.Steps); n > 0 {
		last.Line = p.script.Steps[n-1].Line
	}
	p.log.step(last)
	for _, a := range p.script.Cast {
		if err := p.atEnd(ctx, p.actors[a.Name]); err != nil {
			return fail(last, fmt.Errorf("%s: %w", a.Name, err))
		}
	}
	return nil
}

// atEnd checks that an actor has received nothing that no step expected.
func (p *play) atEnd(ctx context.Context, a *player) error {
	if a.client == nil {
		return nil
	}
	if a.bound {
		return p.receiveNothing(ctx, a)
	}
	if e := a.queued(); e != nil {
		return fmt.Errorf("unexpected %s", Text(e))
	}
	return nil
}

// leave ends what is still open. The play is over: what goes wrong now is no
// failure of the script.
func (p *play) leave(ctx context.Context) {
	for _, a := range p.script.Cast {
		player := p.actors[a.Name]
		if player.client == nil {
			continue
		}
		ctx, cancel := p.deadline(ctx)
		if player.end == nil {
			if _, err := Leave(ctx, player.client); err != nil {
				p.log.add(err.Error())
			}
		} else if err := player.client.Drop(); err != nil {
			p.log.add(err.Error())
		}
		cancel()
		player.client = nil
	}
}

func (p *play) deadline(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, p.target.Timeout, fmt.Errorf("nothing arrived in %v", p.target.Timeout))
}

// step does one step.
func (p *play) step(ctx context.Context, step Step) error {
	if step.Verb == Do {
		action, ok := p.target.Actions[step.Arg]
		if !ok {
			return fmt.Errorf("the target has no action %q", step.Arg)
		}
		return action(ctx)
	}
	a := p.actors[step.Actor]
	switch step.Verb {
	case Dials, Opens, Connects:
		if a.client != nil {
			return errors.New("is connected already")
		}
		return p.begin(ctx, a, step)
	}
	if a.client == nil {
		return errors.New("is not connected")
	}
	switch step.Verb {
	case Authenticates:
		return p.authenticate(ctx, a, step)
	case Restarts:
		return p.restart(ctx, a)
	case Disconnects:
		return p.disconnect(ctx, a)
	case Drops:
		return p.drop(ctx, a)
	case Sends:
		return p.send(a, step)
	case Streams:
		p.stream(a, step)
		return nil
	case Receives:
		return p.receive(ctx, a, step)
	case ReceivesAnyOrder:
		return p.receiveAnyOrder(ctx, a, step)
	case ReceivesNothing:
		return p.receiveNothing(ctx, a)
	case IsClosed:
		return p.closed(ctx, a, step.Arg)
	}
	return fmt.Errorf("no such step %d", step.Verb)
}
