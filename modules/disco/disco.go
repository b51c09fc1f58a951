// Package disco answers service discovery (XEP-0030) for virtual hosts and for
// accounts. Service hosts answer for themselves.
//
// What a user's own account can do is told to that user only. To requests about
// other accounts XEP-0030 section 8 wants service-unavailable from whoever may
// not see the account's presence; rollcall has nothing to tell about accounts to
// others anyway, so everybody gets that answer, from the core, whether there is
// such an account or not. Lists of items, which would be resources, are empty.
package disco

import (
	"context"
	"strings"

	"github.com/beevik/etree"
	"mellium.im/xmpp/stanza"

	"rollcall/internal/ns"
	"rollcall/server"
)

// Module implements server.Module.
type Module struct{ host *server.Host }

var _ server.Module = (*Module)(nil)

// New makes the module.
func New() *Module { return new(Module) }

// Name implements server.Module.
func (m *Module) Name() string { return "disco" }

// Start implements server.Module.
func (m *Module) Start(h *server.Host) error {
	m.host = h
	h.Declare(server.Protocol{
		Number: "XEP-0030", Title: "Service Discovery", Version: "2.5.0", Notes: "of hosts, services and one's own account",
		Features: []string{ns.DiscoInfo, ns.DiscoItems},
	})
	if err := h.HandleIQ(server.ToServer|server.ToSelf|server.FromForeign, ns.DiscoInfo, "query", m.info); err != nil {
		return err
	}
	if err := h.HandleIQ(server.ToServer|server.ToSelf|server.FromForeign, ns.DiscoItems, "query", m.items); err != nil {
		return err
	}
	return h.HandleIQ(server.ToOther, ns.DiscoItems, "query", m.noItems)
}

// answer starts the answer to a request, with its node (XEP-0030 section 3.2).
func answer(iq *server.IQ) (query *etree.Element, node string, err error) {
	if iq.Set() {
		return nil, "", server.Error(stanza.ServiceUnavailable, "discovery sets nothing")
	}
	request, err := iq.Payload()
	if err != nil {
		return nil, "", err
	}
	query = etree.NewElement("query")
	query.CreateAttr("xmlns", iq.Space)
	if a := request.SelectAttr("node"); a != nil {
		node = a.Value
		query.CreateAttr("node", node)
	}
	return query, node, nil
}

// about is answer for what is asked about an address itself; other is what another
// module answers about a node.
func (m *Module) about(ctx context.Context, iq *server.IQ) (query *etree.Element, other server.Payload, err error) {
	query, node, err := answer(iq)
	if err != nil || node == "" {
		return query, nil, err
	}
	other, ok, err := m.host.AboutNode(ctx, iq, node)
	if err == nil && !ok {
		err = server.Error(stanza.ItemNotFound, "there is no such node")
	}
	return nil, other, err
}

// info tells identity and features (XEP-0030 section 3.1).
func (m *Module) info(ctx context.Context, iq *server.IQ) (server.Payload, error) {
	query, other, err := m.about(ctx, iq)
	if err != nil || other != nil {
		return other, err
	}
	is := m.host.Identity(iq.Scope)
	if iq.Scope == server.ToSelf && iq.Session.Anonymous() {
		is.Type = "anonymous" // XEP-0175 section 5
	}
	identity := query.CreateElement("identity")
	identity.CreateAttr("category", is.Category)
	identity.CreateAttr("type", is.Type)
	if is.Name != "" {
		identity.CreateAttr("name", is.Name)
	}
	for _, f := range m.host.Features(iq.Scope) {
		query.CreateElement("feature").CreateAttr("var", f)
	}
	return server.Tree{Element: query}, nil
}

// items lists the services of a virtual host (XEP-0030 section 4.1); an account
// has none.
func (m *Module) items(ctx context.Context, iq *server.IQ) (server.Payload, error) {
	query, other, err := m.about(ctx, iq)
	if err != nil || other != nil {
		return other, err
	}
	if iq.Scope == server.ToServer {
		for _, name := range m.host.Services() {
			if m.owner(name) == iq.To.Domain() {
				query.CreateElement("item").CreateAttr("jid", name)
			}
		}
	}
	return server.Tree{Element: query}, nil
}

// owner is the virtual host that a service is below; one host may be below
// another.
func (m *Module) owner(service string) string {
	owner := ""
	for _, host := range m.host.Domains() {
		if strings.HasSuffix(service, "."+host) && len(host) > len(owner) {
			owner = host
		}
	}
	return owner
}

// noItems answers about another account, node or not (XEP-0030 section 8).
func (m *Module) noItems(_ context.Context, iq *server.IQ) (server.Payload, error) {
	query, _, err := answer(iq)
	if err != nil {
		return nil, err
	}
	return server.Tree{Element: query}, nil
}
