package commands

import (
	"context"
	"time"

	"github.com/beevik/etree"
	"mellium.im/xmpp/stanza"

	"rollcall/internal/jid"
	"rollcall/internal/ns"
	"rollcall/server"
)

// command is one ad-hoc command: at most one form, and what is done with it.
type command struct {
	node, name string
	anybody    bool  // may give it; otherwise administrators alone
	accounts   bool  // it needs Options.Accounts
	form       *form // nil for none
	run        func(ctx context.Context, m *Module, x *execution) (answer, error)
}

// execution is a command that is being carried out.
type execution struct {
	batch  *server.Batch
	by     jid.JID
	host   string // the virtual host
	values values
}

// answer is what a command that was carried out says; all of it may be empty.
type answer struct {
	note, severity string // severity is "info" when empty
	result         *etree.Element
}

// badPayload is what to say about a form that cannot be used (XEP-0050 section 4.4).
func badPayload(text string) error { return bad("bad-payload", text) }

// bad is a bad request of one of the kinds of XEP-0050 section 4.4.
func bad(detail, text string) error {
	return server.Detailed{
		Err: server.Error(stanza.BadRequest, text), Detail: "<" + detail + " xmlns='" + ns.Commands + "'/>",
	}
}

// expired is what to say about a session that is over (XEP-0050 section 4.4).
func expired() error {
	return server.Detailed{
		Err: server.Error(stanza.NotAllowed, "the command is over"), Detail: "<session-expired xmlns='" + ns.Commands + "'/>",
	}
}

// serve answers a request to carry out a command, or to go on with one.
func (m *Module) serve(ctx context.Context, iq *server.IQ) (server.Payload, error) {
	if !iq.Set() {
		return nil, server.Error(stanza.BadRequest, "commands are given with type set")
	}
	request, err := iq.Payload()
	if err != nil {
		return nil, err
	}
	c, err := m.find(request.SelectAttrValue("node", ""), iq.From)
	if err != nil {
		return nil, err
	}
	action := request.SelectAttrValue("action", "execute")
	switch action {
	case "execute", "next", "prev", "complete", "cancel":
	default:
		return nil, bad("malformed-action", "there is no such action")
	}
	x := &execution{batch: iq.Batch, by: iq.From, host: hostOf(iq)}
	if id := request.SelectAttrValue("sessionid", ""); id != "" {
		return m.goOn(ctx, c, x, request, id, action)
	}
	return m.begin(ctx, c, x, action)
}

// begin answers the first request of a command.
func (m *Module) begin(ctx context.Context, c *command, x *execution, action string) (server.Payload, error) {
	if action != "execute" && (action != "complete" || c.form != nil) {
		return nil, bad("bad-action", "a command begins with execute")
	}
	if c.form == nil {
		return m.carryOut(ctx, c, x, newID())
	}
	id := m.sessions.begin(c.node, x.by, time.Now())
	reply := c.reply(id, "executing")
	actions := reply.CreateElement("actions")
	actions.CreateAttr("execute", "complete")
	actions.CreateElement("complete")
	reply.AddChild(c.form.element())
	return server.Tree{Element: reply}, nil
}

// goOn answers a request of a command that has begun. What was wrong in a form can be
// mended and sent again.
func (m *Module) goOn(ctx context.Context, c *command, x *execution, request *etree.Element, id, action string) (server.Payload, error) {
	switch m.sessions.check(id, c.node, x.by, time.Now()) {
	case over:
		return nil, expired()
	case strange:
		return nil, bad("bad-sessionid", "that is the session of another command")
	case running:
	}
	switch action {
	case "cancel":
		m.sessions.end(id)
		return server.Tree{Element: c.reply(id, "canceled")}, nil
	case "prev", "next":
		return nil, bad("bad-action", "the command has one form")
	}
	var err error
	if x.values, err = c.form.read(request); err != nil {
		return nil, err
	}
	reply, err := m.carryOut(ctx, c, x, id)
	if err == nil {
		m.sessions.end(id)
	}
	return reply, err
}

// carryOut runs the command, and says that it is completed.
func (m *Module) carryOut(ctx context.Context, c *command, x *execution, id string) (server.Payload, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	a, err := c.run(ctx, m, x)
	if !c.anybody {
		m.log(c, x, err)
	}
	if err != nil {
		return nil, err
	}
	reply := c.reply(id, "completed")
	if a.result != nil {
		reply.AddChild(a.result)
	}
	if a.note != "" {
		note := reply.CreateElement("note")
		if a.severity == "" {
			a.severity = "info"
		}
		note.CreateAttr("type", a.severity)
		note.SetText(a.note)
	}
	return server.Tree{Element: reply}, nil
}

// log notes what was done, also where some of it failed.
func (m *Module) log(c *command, x *execution, err error) {
	attrs := []any{"node", c.node, "by", x.by.String(), "host", x.host, "about", x.values.about()}
	if err != nil {
		attrs = append(attrs, "err", err)
	}
	m.host.Log().Info("command", attrs...)
}

func (c *command) reply(id, status string) *etree.Element {
	reply := etree.NewElement("command")
	reply.CreateAttr("xmlns", ns.Commands)
	reply.CreateAttr("node", c.node)
	reply.CreateAttr("sessionid", id)
	reply.CreateAttr("status", status)
	reply.CreateAttr("xml:lang", "en")
	return reply
}
