package commands

import (
	"context"

	"github.com/beevik/etree"

	"rollcall/internal/ns"
	"rollcall/server"
)

// node answers discovery about commands (XEP-0050 section 2.2).
func (m *Module) node(_ context.Context, iq *server.IQ, node string) (server.Payload, bool, error) {
	query := etree.NewElement("query")
	query.CreateAttr("xmlns", iq.Space)
	query.CreateAttr("node", node)
	if node == ns.Commands {
		if iq.Space == ns.DiscoItems {
			m.list(iq, query)
		} else {
			identify(query, "command-list", "Commands")
		}
		return server.Tree{Element: query}, true, nil
	}
	if !m.knows(node) {
		return nil, false, nil
	}
	c, err := m.find(node, iq.From)
	if err != nil {
		return nil, true, err
	}
	if iq.Space == ns.DiscoInfo {
		identify(query, "command-node", c.name)
		if c.form != nil {
			query.CreateElement("feature").CreateAttr("var", ns.DataForms)
		}
	}
	return server.Tree{Element: query}, true, nil
}

func (m *Module) knows(node string) bool {
	for _, c := range m.commands {
		if c.node == node {
			return true
		}
	}
	return false
}

func identify(query *etree.Element, kind, name string) {
	identity := query.CreateElement("identity")
	identity.CreateAttr("category", "automation")
	identity.CreateAttr("type", kind)
	identity.CreateAttr("name", name)
	query.CreateElement("feature").CreateAttr("var", ns.Commands)
}

// list lists the commands that the sender may give, at the address that was asked.
func (m *Module) list(iq *server.IQ, query *etree.Element) {
	at := iq.To
	if at.IsZero() {
		at = iq.From.Bare()
	}
	for _, c := range m.commands {
		if _, err := m.find(c.node, iq.From); err != nil {
			continue
		}
		item := query.CreateElement("item")
		item.CreateAttr("jid", at.String())
		item.CreateAttr("node", c.node)
		item.CreateAttr("name", c.name)
	}
}
