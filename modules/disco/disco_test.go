package disco_test

import (
	"context"
	"testing"

	"mellium.im/xmpp/stanza"

	"rollcall/internal/servertest"
	"rollcall/modules/disco"
	"rollcall/server"
)

const (
	info  = "http://jabber.org/protocol/disco#info"
	items = "http://jabber.org/protocol/disco#items"
)

// services has service hosts and features of its own.
type services []string

func (services) Name() string { return "services" }

func (s services) Start(h *server.Host) error {
	for _, name := range s {
		if err := h.Serve(name, nowhere{}); err != nil {
			return err
		}
	}
	h.Feature(server.ToServer, "urn:of:the:server")
	h.Feature(server.ToSelf, "urn:of:accounts")
	return nil
}

type nowhere struct{}

func (nowhere) ServeIQ(context.Context, *server.IQ) (server.Payload, error) {
	return nil, server.Error(stanza.ServiceUnavailable, "")
}
func (nowhere) ServeMessage(context.Context, *server.Stanza) {}

func (nowhere) ServePresence(context.Context, *server.Stanza, *server.Presence) {}

func TestDisco(t *testing.T) {
	const refused = "<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>...</error>"
	const noNode = "<error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>...</error>"
	query := func(space, rest string) string { return "<query xmlns='" + space + "'" + rest }
	account := "><identity category='account' type='registered'/><feature var='" + info + "'/><feature var='" + items +
		"'/><feature var='urn:of:accounts'/></query>"
	tests := []struct {
		name, typ, to, ask string
		kind, want         string
	}{
		{"a server", "get", "example.com", query(info, "/>"), "result",
			query(info, "><identity category='server' type='im' name='rollcall'/><feature var='"+info+"'/><feature var='"+items+
				"'/><feature var='urn:of:the:server'/></query>")},
		{"its services", "get", "example.com", query(items, "/>"), "result",
			query(items, "><item jid='a.example.com'/><item jid='b.example.com'/></query>")},
		{"services of a host below", "get", "sub.example.com", query(items, "/>"), "result",
			query(items, "><item jid='c.sub.example.com'/></query>")},
		{"oneself", "get", "", query(info, "/>"), "result", query(info, account)},
		{"oneself by name", "get", "alice@example.com", query(info, "/>"), "result", query(info, account)},
		{"own items", "get", "", query(items, "/>"), "result", query(items, "/>")},
		{"empty node", "get", "", query(items, " node=''/>"), "result", query(items, " node=''/>")},
		{"node of the server", "get", "example.com", query(info, " node='x'/>"), "error", noNode},
		{"node of items", "get", "example.com", query(items, " node='x'/>"), "error", noNode},
		{"node of oneself", "get", "", query(info, " node='x'/>"), "error", noNode},
		{"another user", "get", "bob@example.com", query(info, "/>"), "error", refused},
		{"nobody", "get", "nobody@example.com", query(info, "/>"), "error", refused},
		{"another user's items", "get", "bob@example.com", query(items, " node='x'/>"), "result", query(items, " node='x'/>")},
		{"nobody's items", "get", "nobody@example.com", query(items, " node='x'/>"), "result", query(items, " node='x'/>")},
		{"set", "set", "example.com", query(info, "/>"), "error", refused},
		{"set items of another", "set", "bob@example.com", query(items, "/>"), "error", refused},
	}
	dir := servertest.NewDirectory().AddUser("alice", "").AddUser("bob", "")
	s := servertest.New(t, servertest.Options{
		Directory: dir, Hosts: []string{"example.com", "sub.example.com"},
		Modules: []server.Module{services{"b.example.com", "a.example.com", "c.sub.example.com", "elsewhere.org"}, disco.New()},
	})
	alice := s.Login("alice/web")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			from := tt.to
			if from == "" {
				from = "alice@example.com"
			}
			alice.Match("<iq type='"+tt.kind+"' from='"+from+"' to='{alice}' id='{any}'>"+tt.want+"</iq>",
				alice.Ask(tt.typ, tt.to, tt.ask))
		})
	}
}
