package commands

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"mellium.im/xmpp/stanza"

	"rollcall/internal/jid"
	"rollcall/internal/ns"
	"rollcall/internal/xmlscan"
	"rollcall/server"
)

// maxListed bounds the list of who is online.
const maxListed = 5000

// none asks for as many as there are.
const none = "none"

// sessionCommands are XEP-0133 sections 4.5 and 4.20.
func sessionCommands() []*command {
	return []*command{{
		node: ns.Admin + "#end-user-session", name: "End User Session", run: endSessions,
		form: &form{title: "Ending a User Session", instructions: "Fill out this form to end sessions: all of an account, or the one of an address with a resource.", fields: []field{
			{name: "accountjids", kind: "jid-multi", label: "The addresses whose sessions to end", required: true},
		}},
	}, {
		node: ns.Admin + "#get-online-users-list", name: "Get List of Online Users", run: listOnline,
		form: &form{title: "Requesting List of Online Users", instructions: "Fill out this form to see who is connected.", fields: []field{
			{name: "max_items", kind: "list-single", label: "The most that are shown", options: []string{"25", "50", "100", "200", "1000", none}},
		}},
	}}
}

// announceCommand is XEP-0133 section 4.23.
func announceCommand() *command {
	return &command{
		node: ns.Admin + "#announce", name: "Send Announcement to Online Users", run: announce,
		form: &form{title: "Making an Announcement", instructions: "Fill out this form to tell something to everybody who is online.", fields: []field{
			{name: "subject", kind: "text-single", label: "Subject"},
			{name: "announcement", kind: "text-multi", label: "Announcement", required: true},
		}},
	}
}

// pingCommand is what other servers call by that name too.
func pingCommand() *command {
	return &command{node: "ping", name: "Ping the Server", anybody: true, run: func(context.Context, *Module, *execution) (answer, error) {
		return answer{note: "Pong"}, nil
	}}
}

// endSessions ends sessions wherever they are.
func endSessions(_ context.Context, m *Module, x *execution) (answer, error) {
	list, err := x.values.addresses("accountjids", x.host, true)
	if err != nil {
		return answer{}, err
	}
	for _, j := range list {
		m.kick(j)
		for _, node := range m.host.Nodes() {
			m.host.Tell(x.batch, node, []byte(j.String()))
		}
	}
	return answer{}, nil
}

// kick ends the sessions of an account that are here, or one of them.
func (m *Module) kick(j jid.JID) {
	for _, s := range m.host.Sessions(j.Bare()) {
		if !j.IsFull() || s.JID() == j {
			s.Kick(server.Close{Reason: server.ReasonEnded})
		}
	}
}

// Joined implements server.Peers.
func (m *Module) Joined(*server.Batch, string) {}

// Told implements server.Peers: an administrator at another node ends sessions.
func (m *Module) Told(_ *server.Batch, node string, data []byte) {
	j, err := jid.Parse(string(data))
	if err != nil {
		m.host.Log().Error("what another node tells makes no sense", "node", node, "err", err)
		return
	}
	m.kick(j)
}

// Left implements server.Peers.
func (m *Module) Left(*server.Batch, string) {}

// online lists who is connected to a virtual host, at any node.
func (m *Module) online(host string) (list []jid.JID) {
	for _, j := range m.host.Connected() {
		if j.Domain() == host {
			list = append(list, j)
		}
	}
	return list
}

func listOnline(_ context.Context, m *Module, x *execution) (answer, error) {
	limit := maxListed
	if text := x.values.text("max_items"); text != "" && text != none {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return answer{}, badPayload("max_items is no number")
		}
		limit = min(n, limit)
	}
	list := m.online(x.host)
	a := answer{result: newForm("result")}
	addType(a.result)
	el := a.result.CreateElement("field")
	el.CreateAttr("var", "onlineuserjids")
	el.CreateAttr("type", "jid-multi")
	el.CreateAttr("label", "Who is connected")
	for _, j := range list[:min(limit, len(list))] {
		el.CreateElement("value").SetText(j.String())
	}
	if more := len(list) - limit; more > 0 {
		a.note, a.severity = fmt.Sprintf("%d more are not shown", more), "warn"
	}
	return a, nil
}

func announce(_ context.Context, m *Module, x *execution) (answer, error) {
	var inner []byte
	if subject := x.values.text("subject"); subject != "" {
		inner = xmlscan.AppendText(append(inner, "<subject>"...), subject)
		inner = append(inner, "</subject>"...)
	}
	inner = xmlscan.AppendText(append(inner, "<body>"...), strings.Join(x.values["announcement"], "\n"))
	from, err := jid.New("", x.host, "")
	if err != nil {
		return answer{}, fmt.Errorf("host %s: %w", x.host, err)
	}
	x.batch.SendEach(m.online(x.host), server.NewFanout("headline", from, append(inner, "</body>"...)))
	return answer{}, nil
}

// announceTo takes administrators' messages to the address that speaks to everybody who
// is online.
func (m *Module) announceTo(_ context.Context, e *server.HostMessage) {
	st := e.Stanza
	if st.To.Resource() != "announce/online" {
		return
	}
	e.Handled = true
	if st.Type == "error" {
		return
	}
	if !m.isAdmin(st.From) {
		st.Reply(server.Error(stanza.Forbidden, "announcements are for administrators"))
		return
	}
	from, err := jid.New("", st.To.Domain(), "")
	if err != nil {
		m.host.Log().Error("announcement", "err", err)
		st.Reply(server.Error(stanza.InternalServerError, ""))
		return
	}
	e.Batch.SendEach(m.online(st.To.Domain()), st.Fanout(from, st.Element.Inner))
	m.host.Log().Info("announcement", "by", st.From.String(), "host", st.To.Domain())
}
