package projects

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"hash/maphash"

	"mellium.im/xmpp/stanza"

	"rollcall/internal/jid"
	"rollcall/internal/ns"
	"rollcall/internal/xmlscan"
	"rollcall/server"
	"rollcall/storage"
)

var _ server.Service = (*community)(nil)

// ServeIQ implements server.Service: it answers at the service host and at the
// projects' own addresses.
func (c *community) ServeIQ(ctx context.Context, iq *server.IQ) (server.Payload, error) {
	if iq.From.Domain() != c.host || iq.To.IsFull() {
		return nil, server.Error(stanza.ServiceUnavailable, "")
	}
	answer := c.hostQuery(iq)
	if iq.To.Local() != "" {
		answer = c.projectQuery(iq)
	}
	if answer == nil {
		return nil, server.Error(stanza.ServiceUnavailable, "")
	}
	payload, err := answer(ctx, iq)
	return payload, stanzaError(err)
}

type handler func(ctx context.Context, iq *server.IQ) (server.Payload, error)

// hostQuery finds what answers a request to the service host.
func (c *community) hostQuery(iq *server.IQ) handler {
	if iq.Set() {
		return nil
	}
	switch [2]string{iq.Space, iq.Name} {
	case [2]string{ns.Project, "projects"}:
		return c.ownProjects
	case [2]string{ns.Project, "status"}:
		return c.statuses
	case [2]string{ns.DiscoInfo, "query"}:
		return c.hostInfo
	case [2]string{ns.DiscoItems, "query"}:
		return c.hostItems
	case [2]string{ns.Ping, "ping"}:
		return pong
	}
	return nil
}

// projectQuery finds what answers a request to a project.
func (c *community) projectQuery(iq *server.IQ) handler {
	if iq.Set() {
		return nil
	}
	switch [2]string{iq.Space, iq.Name} {
	case [2]string{ns.Project, "online"}:
		return c.forMembers(c.online)
	case [2]string{ns.DiscoInfo, "query"}:
		return c.forMembers(c.projectInfo)
	case [2]string{ns.DiscoItems, "query"}:
		return c.forMembers(c.projectItems)
	case [2]string{ns.Ping, "ping"}:
		return c.forMembers(func(context.Context, *server.IQ, storage.Project, []storage.User) (server.Payload, error) {
			return nil, nil
		})
	}
	return nil
}

func pong(context.Context, *server.IQ) (server.Payload, error) { return nil, nil }

// memberHandler answers a request to a project from one of its members.
type memberHandler func(ctx context.Context, iq *server.IQ, p storage.Project, members []storage.User) (server.Payload, error)

func (c *community) forMembers(f memberHandler) handler {
	return func(ctx context.Context, iq *server.IQ) (server.Payload, error) {
		p, members, err := c.membership(ctx, iq.To, iq.From)
		if err != nil {
			return nil, err
		}
		return f(ctx, iq, p, members)
	}
}

// membership returns a project and its members, if user is one of them.
func (c *community) membership(ctx context.Context, project, user jid.JID) (storage.Project, []storage.User, error) {
	p, err := c.m.o.Directory.Project(ctx, project.Local())
	if err != nil {
		return p, nil, err
	}
	members, err := c.m.o.Directory.Members(ctx, p.ID)
	if err != nil {
		return p, nil, err
	}
	for _, u := range members {
		if u.ID == user.Local() {
			return p, members, nil
		}
	}
	return p, nil, server.Error(stanza.Forbidden, "only members may ask this")
}

// stanzaError says what a client is told of a store's error.
func stanzaError(err error) error {
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return server.Error(stanza.ItemNotFound, "there is no such project")
	case errors.Is(err, storage.ErrUnavailable):
		e := server.Error(stanza.InternalServerError, "try again later")
		e.Type = stanza.Wait
		return e
	}
	return err
}

// ServeMessage implements server.Service: a group message goes to every member
// of the project, the sender included.
func (c *community) ServeMessage(ctx context.Context, st *server.Stanza) {
	err := c.groupMessage(ctx, st)
	if err == nil || st.Type == "error" {
		return
	}
	var e stanza.Error
	if !errors.As(stanzaError(err), &e) {
		c.m.failed("members", err, "project", st.To.String())
		e = server.Error(stanza.InternalServerError, "")
	}
	st.Reply(e)
}

func (c *community) groupMessage(ctx context.Context, st *server.Stanza) error {
	switch {
	case st.From.Domain() != c.host || st.To.Local() == "" || st.To.IsFull():
		return server.Error(stanza.ServiceUnavailable, "")
	case st.Type != "groupchat":
		return server.Error(stanza.NotAcceptable, "a message to a project is of type groupchat")
	}
	_, members, err := c.membership(ctx, st.To, st.From)
	if err != nil {
		return err
	}
	from, err := st.To.WithResource(st.From.Local())
	if err != nil {
		return err
	}
	content := stamped(st, st.To)
	order := &c.chat[maphash.String(c.seed, st.To.Local())%uint64(len(c.chat))]
	order.Lock()
	defer order.Unlock()
	users := make([]jid.JID, 0, len(members))
	for _, u := range members {
		bare, err := jid.New(u.ID, c.host, "")
		if err != nil {
			c.m.failed("members", err, "user", u.ID)
			continue
		}
		users = append(users, bare)
	}
	st.Batch.SendEach(users, st.Fanout(from, content))
	return nil
}

// stamped is a message's content with the project's own stanza id and without
// ids that pretend to be one (XEP-0359 section 6).
func stamped(st *server.Stanza, by jid.JID) []byte {
	var content []byte
	for child := range xmlscan.Children(st.Element.Inner, ns.Client) {
		if string(child.Space) == ns.StanzaID && bytes.Equal(child.Local, []byte("stanza-id")) {
			continue
		}
		content = append(content, child.Raw...)
	}
	content = append(content, "<stanza-id xmlns='"+ns.StanzaID+"' by='"...)
	content = xmlscan.AppendAttr(content, by.String())
	content = append(content, "' id='"...)
	content = append(content, rand.Text()...)
	return append(content, "'/>"...)
}

// ServePresence implements server.Service. There is nothing to join here.
func (c *community) ServePresence(_ context.Context, st *server.Stanza, p *server.Presence) {
	if p.Available {
		st.Reply(server.Error(stanza.FeatureNotImplemented, "projects are not rooms that one joins"))
	}
}
