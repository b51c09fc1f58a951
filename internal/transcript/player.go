package transcript

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/beevik/etree"

	"rollcall/internal/ns"
)

// player is an actor during a play.
type player struct {
	actor  Actor
	client Client // nil while not connected
	bound  bool
	sent   bool             // something that the server may not have worked off yet
	inbox  []*etree.Element // received while waiting for the answer to a ping
	end    error            // of the stream
}

// queued takes an element that was received earlier.
func (a *player) queued() *etree.Element {
	if len(a.inbox) == 0 {
		return nil
	}
	e := a.inbox[0]
	a.inbox = a.inbox[1:]
	return e
}

// read returns the next element.
func (p *play) read(ctx context.Context, a *player) (*etree.Element, error) {
	if e := a.queued(); e != nil {
		return e, nil
	}
	return p.readWire(ctx, a)
}

// readWire returns the next element that no ping has put aside.
func (p *play) readWire(ctx context.Context, a *player) (*etree.Element, error) {
	if a.end != nil {
		return nil, a.end
	}
	ctx, cancel := p.deadline(ctx)
	defer cancel()
	e, err := a.client.Receive(ctx)
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		a.end = err
	}
	return e, err
}

// begin connects an actor as far as the step says.
func (p *play) begin(ctx context.Context, a *player, step Step) error {
	target, name := p.target, a.actor.Name
	target.Trace = func(out bool, text string) {
		p.target.Trace(out, text)
		p.log.said(name, out, text)
	}
	switch {
	case step.NoTLS:
		target.TLS = nil
	case step.Arg == Nobody:
		target.Host = ""
	case step.Arg != "":
		target.Host = step.Arg
	}
	ctx, cancel := p.deadline(ctx)
	defer cancel()
	err := p.beginOn(ctx, a, step, target)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (p *play) beginOn(ctx context.Context, a *player, step Step, target Target) error {
	client, err := Dial(ctx, target)
	if err != nil {
		return err
	}
	*a = player{actor: a.actor, client: client}
	if step.Verb == Dials {
		return nil
	}
	features, err := Open(ctx, client, target)
	if err != nil {
		return p.openFailed(a, step, err)
	}
	if step.Verb == Opens {
		return nil
	}
	full, err := Login(ctx, client, target, a.actor.Account, features)
	if err != nil {
		return err
	}
	a.bound = true
	p.vars[a.actor.Name] = full
	return nil
}

// openFailed keeps an end of the stream that came instead of features, for the
// steps that expect it.
func (p *play) openFailed(a *player, step Step, err error) error {
	var unexpected *UnexpectedError
	var end *End
	switch {
	case step.Verb == Opens && errors.As(err, &unexpected) && is(unexpected.Got, ns.Stream, "error"):
		a.inbox = append(a.inbox, unexpected.Got)
		return nil
	case step.Verb == Opens && errors.As(err, &end):
		a.end = end
		return nil
	}
	return err
}

// authenticate authenticates with the mechanism of the cast, and says what the step
// does.
func (p *play) authenticate(ctx context.Context, a *player, step Step) error {
	forms := saslForms
	if len(step.Text) > 0 {
		forms = step.Text
	}
	if len(forms) != len(saslForms) {
		return fmt.Errorf("a SASL exchange takes %d elements", len(saslForms))
	}
	m, ok := mechanisms()[a.actor.Mechanism]
	if !ok {
		return fmt.Errorf("no mechanism %q", a.actor.Mechanism)
	}
	ctx, cancel := p.deadline(ctx)
	defer cancel()
	return exchange(ctx, a.client, a.actor.Account, m, []string{m.Name}, forms)
}

func (p *play) restart(ctx context.Context, a *player) error {
	ctx, cancel := p.deadline(ctx)
	defer cancel()
	if err := a.client.Open(ctx, p.target.Host); err != nil {
		return err
	}
	_, err := receiveFeatures(ctx, a.client)
	return err
}

// send sends elements with their holes filled in. Whoever binds by hand counts
// as bound from then on, so that "receives nothing" works.
func (p *play) send(a *player, step Step) error {
	texts := make([]string, len(step.Text))
	for i, text := range step.Text {
		filled, err := substitute(text, p.vars)
		if err != nil {
			return err
		}
		texts[i] = filled
	}
	a.sent = true
	return a.client.Send(strings.Join(texts, ""))
}

// stream sends raw text. The server may close while it is under way: what it
// closed with is for the next step, so a failed write is only noted.
func (p *play) stream(a *player, step Step) {
	a.sent = true
	if err := a.client.SendRaw(strings.Repeat(step.Text[0], step.Times)); err != nil {
		p.log.add(fmt.Sprintf("    %-8s -> %v", a.actor.Name, err))
	}
}

// match compares and takes over what holes captured. Who sees an own bind result, or
// that a stream is resumed, is bound.
func (p *play) match(a *player, want, got *etree.Element) error {
	vars, err := Compare(want, got, p.vars)
	if err != nil {
		return err
	}
	p.vars = vars
	if b := child(got, ns.Bind, "bind"); b != nil && got.SelectAttrValue("type", "") == "result" {
		a.bound = true
	}
	a.bound = a.bound || is(got, ns.StreamManagement, "resumed")
	return nil
}

func (p *play) receive(ctx context.Context, a *player, step Step) error {
	for _, want := range step.Want {
		got, err := p.read(ctx, a)
		if err != nil {
			return fmt.Errorf("%w\nexpected %s", err, substituteKnown(Text(want), p.vars))
		}
		if err := p.match(a, want, got); err != nil {
			return fmt.Errorf("%w\nexpected %s\ngot      %s", err, substituteKnown(Text(want), p.vars), Text(got))
		}
	}
	return nil
}

func (p *play) receiveAnyOrder(ctx context.Context, a *player, step Step) error {
	var got []*etree.Element
	var err error
	for len(got) < len(step.Want) && err == nil {
		var e *etree.Element
		if e, err = p.read(ctx, a); err == nil {
			got = append(got, e)
		}
	}
	if err == nil {
		var vars Vars
		if vars, err = compareChildren(step.Want, got, p.vars, false, true, ""); err == nil {
			p.vars = vars
			return nil
		}
	}
	var b strings.Builder
	for _, want := range step.Want {
		b.WriteString("\nexpected " + substituteKnown(Text(want), p.vars))
	}
	for _, e := range got {
		b.WriteString("\ngot      " + Text(e))
	}
	return fmt.Errorf("%w%s", err, b.String())
}

// settle lets the server work off what the others have sent.
func (p *play) settle(ctx context.Context, except *player) error {
	for _, c := range p.script.Cast {
		a := p.actors[c.Name]
		if a == except || a.client == nil || !a.bound || !a.sent || a.end != nil {
			continue
		}
		if err := p.ping(ctx, a, false); err != nil && a.end == nil {
			return fmt.Errorf("while %s pinged: %w", c.Name, err)
		}
	}
	return nil
}

// ping asks the domain (XEP-0199) and waits for the answer, result or error.
// With first it must be the very next element; otherwise what comes before is
// kept for later steps.
func (p *play) ping(ctx context.Context, a *player, first bool) error {
	p.pings++
	id := fmt.Sprintf("barrier-%d", p.pings)
	_, domain, _ := splitJID(a.actor.JID)
	if err := a.client.Send("<iq type='get' id='" + id + "' to='" + escape(domain) + "'><ping xmlns='" + ns.Ping + "'/></iq>"); err != nil {
		return err
	}
	a.sent = false
	for {
		e, err := p.readWire(ctx, a)
		if err != nil {
			return err
		}
		kind := e.SelectAttrValue("type", "")
		if is(e, ns.Client, "iq") && e.SelectAttrValue("id", "") == id && (kind == "result" || kind == "error") {
			return nil
		}
		if first {
			return fmt.Errorf("unexpected %s", Text(e))
		}
		a.inbox = append(a.inbox, e)
	}
}

func (p *play) receiveNothing(ctx context.Context, a *player) error {
	if err := p.settle(ctx, a); err != nil {
		return err
	}
	if e := a.queued(); e != nil {
		return fmt.Errorf("unexpected %s", Text(e))
	}
	if !a.bound {
		return errors.New("only who is logged in can see that nothing arrives")
	}
	return p.ping(ctx, a, true)
}

// disconnect ends the stream; the others are settled first, so that what they
// caused has arrived before the server's end.
func (p *play) disconnect(ctx context.Context, a *player) error {
	if err := p.settle(ctx, a); err != nil {
		return err
	}
	if e := a.queued(); e != nil {
		return fmt.Errorf("unexpected %s", Text(e))
	}
	ctx, cancel := p.deadline(ctx)
	defer cancel()
	late, err := Leave(ctx, a.client)
	a.client = nil
	if len(late) > 0 {
		return fmt.Errorf("unexpected %s", Text(late[0]))
	}
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("the server did not end the stream: %w", err)
	}
	return err
}

func (p *play) drop(ctx context.Context, a *player) error {
	if a.bound {
		if err := p.receiveNothing(ctx, a); err != nil {
			return err
		}
	}
	err := a.client.Drop()
	a.client = nil
	return err
}

// closed expects the end of the stream, with an error of this condition or, for
// "", none.
func (p *play) closed(ctx context.Context, a *player, condition string) error {
	e, err := p.read(ctx, a)
	got := ""
	switch {
	case err == nil && is(e, ns.Stream, "error"):
		got = errorCondition(e, ns.Streams)
		if _, err = p.read(ctx, a); err == nil {
			return errors.New("the server goes on after a stream error")
		}
	case err == nil:
		return fmt.Errorf("unexpected %s", Text(e))
	}
	var end *End
	if !errors.As(err, &end) {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("the connection ended without </stream:stream>")
		}
		return err
	}
	switch {
	case got == "":
		got = end.Condition
	case p.target.Kind == KindBOSH && end.Condition != "remote-stream-error":
		return fmt.Errorf("a stream error in a body of condition %q (XEP-0206 section 6)", end.Condition)
	}
	if got != condition {
		return fmt.Errorf("closed with %q", got)
	}
	err = a.client.Drop()
	a.client = nil
	return err
}
