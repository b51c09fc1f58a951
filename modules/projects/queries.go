package projects

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/beevik/etree"
	"mellium.im/xmpp/stanza"

	"rollcall/internal/jid"
	"rollcall/internal/ns"
	"rollcall/server"
	"rollcall/storage"
)

// maxStatuses bounds a <status/> request.
const maxStatuses = 200

// tree starts a payload.
func tree(space, name string) *etree.Element {
	el := etree.NewElement(name)
	el.CreateAttr("xmlns", space)
	return el
}

// ownProjects answers <projects/>: the asker's projects with the number of their
// members and of those online.
func (c *community) ownProjects(ctx context.Context, iq *server.IQ) (server.Payload, error) {
	list, err := c.m.o.Directory.ProjectsOf(ctx, iq.From.Local())
	if err != nil {
		return nil, err
	}
	answer := tree(ns.Project, "projects")
	for _, p := range list {
		members, err := c.m.o.Directory.Members(ctx, p.ID)
		if errors.Is(err, storage.ErrNotFound) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		online, _, err := c.m.o.Presence.OnlineIn(ctx, c.key(p.ID))
		if err != nil {
			return nil, err
		}
		el := answer.CreateElement("project")
		el.CreateAttr("id", p.ID)
		el.CreateAttr("jid", c.projectJID(p.ID))
		el.CreateAttr("name", p.Name)
		el.CreateAttr("members", strconv.Itoa(len(members)))
		el.CreateAttr("online", strconv.Itoa(len(c.seen(c.byID(online), iq.From))))
	}
	return server.Tree{Element: answer}, nil
}

// statuses answers <status/>: the states of users who share a project with the
// asker. Others are left out.
func (c *community) statuses(ctx context.Context, iq *server.IQ) (server.Payload, error) {
	request, err := iq.Payload()
	if err != nil {
		return nil, err
	}
	asked := request.SelectElements("user")
	if len(asked) > maxStatuses {
		return nil, server.Error(stanza.PolicyViolation, "at most 200 users at a time")
	}
	known, err := c.coMembers(ctx, iq.From.Local())
	if err != nil {
		return nil, err
	}
	var ids, keys []string
	for _, el := range asked {
		j, err := jid.Parse(el.SelectAttrValue("jid", ""))
		if err != nil {
			return nil, server.Error(stanza.JIDMalformed, "")
		}
		if _, ok := known[j.Local()]; ok && j.Domain() == c.host {
			ids, keys = append(ids, j.Local()), append(keys, c.key(j.Local()))
		}
	}
	shows, err := c.m.o.Presence.Status(ctx, keys)
	if err != nil {
		return nil, err
	}
	answer := tree(ns.Project, "status")
	for i, id := range ids {
		if c.hidden(id, iq.From) {
			shows[i] = storage.Offline
		}
		c.addUser(answer, id, shows[i])
	}
	return server.Tree{Element: answer}, nil
}

// coMembers is the set of users who share a project with the user, the user
// included.
func (c *community) coMembers(ctx context.Context, user string) (map[string]struct{}, error) {
	list, err := c.m.o.Directory.ProjectsOf(ctx, user)
	if err != nil {
		return nil, err
	}
	known := map[string]struct{}{user: {}}
	for _, p := range list {
		members, err := c.m.o.Directory.Members(ctx, p.ID)
		if errors.Is(err, storage.ErrNotFound) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		for _, u := range members {
			known[u.ID] = struct{}{}
		}
	}
	return known, nil
}

func (c *community) addUser(to *etree.Element, id string, show storage.Show) {
	el := to.CreateElement("user")
	el.CreateAttr("jid", id+"@"+c.host)
	el.CreateAttr("status", strconv.Itoa(int(show)))
}

func (c *community) projectJID(id string) string { return id + "@" + c.service.String() }

// online answers <online/>: who of a project is online. With since it lists only
// users whose state may have changed after that revision, if that is known; with
// a result set (XEP-0059) a page.
func (c *community) online(ctx context.Context, iq *server.IQ, p storage.Project, _ []storage.User) (server.Payload, error) {
	request, err := iq.Payload()
	if err != nil {
		return nil, err
	}
	list, rev, delta, err := c.list(ctx, p.ID)
	if err != nil {
		return nil, err
	}
	list = c.seen(list, iq.From)
	answer := tree(ns.Project, "online")
	answer.CreateAttr("rev", strconv.FormatUint(rev, 10))
	answer.CreateAttr("total", strconv.Itoa(len(list)))
	if since := request.SelectAttr("since"); since != nil {
		n, err := strconv.ParseUint(since.Value, 10, 64)
		if err != nil {
			return nil, server.Error(stanza.BadRequest, "since is a revision")
		}
		if changed, ok := delta(n); ok {
			answer.CreateAttr("since", since.Value)
			c.addDelta(answer, list, changed)
			return server.Tree{Element: answer}, nil
		}
	}
	ids := make([]string, len(list))
	for i, u := range list {
		ids[i] = u.ID
	}
	first, last, set, err := page(request, ids)
	if err != nil {
		return nil, err
	}
	for _, u := range list[first:last] {
		c.addUser(answer, u.ID, u.Show)
	}
	if set != nil {
		answer.AddChild(set)
	}
	return server.Tree{Element: answer}, nil
}

// list reads who of a project is online, ordered by id, the revision to tell with
// it, and what tells whose state may have changed since an earlier one.
func (c *community) list(ctx context.Context, project string) (
	list []storage.OnlineUser, rev uint64, delta func(since uint64) (map[string]struct{}, bool), err error,
) {
	r := c.room(project)
	if r == nil {
		// Nobody of it is here, and nobody notes what changes.
		list, rev, err = c.m.o.Presence.OnlineIn(ctx, c.key(project))
		c.sawRev(rev)
		return c.byID(list), rev, func(uint64) (map[string]struct{}, bool) { return nil, false }, err
	}
	epoch := r.log.begin()
	list, rev, err = c.m.o.Presence.OnlineIn(ctx, c.key(project))
	if err != nil {
		return nil, 0, nil, err
	}
	c.sawRev(rev)
	rev = r.log.answer(epoch, rev)
	list = c.byID(list)
	if c.m.clustered {
		r.doubt(list)
	}
	return list, rev, r.log.since, nil
}

// doubt makes the next delta tell of whomever the store takes for something else than
// this node does: one of the two is going to change its mind without a word.
func (r *room) doubt(list []storage.OnlineUser) {
	shows := make(map[string]storage.Show, len(list))
	for _, u := range list {
		shows[u.ID] = u.Show
	}
	for _, p := range append(r.everybody(), r.everybodyFar()...) {
		id := p.bare.Local()
		if show := p.takenFor(); show != shows[id] {
			r.log.note(0, id)
		}
		delete(shows, id)
	}
	for id := range shows {
		r.log.note(0, id)
	}
}

// byID turns what the store gave into ids, in their order: that of the store is
// the order of its keys.
func (c *community) byID(list []storage.OnlineUser) []storage.OnlineUser {
	if c.suffix == "" {
		return list
	}
	list = slices.Clone(list)
	for i := range list {
		list[i].ID = c.id(list[i].ID)
	}
	slices.SortFunc(list, func(a, b storage.OnlineUser) int { return strings.Compare(a.ID, b.ID) })
	return list
}

// hidden reports whether a user is offline for somebody who asks, whatever is true: one of
// the two blocks the other (XEP-0191 section 3.3).
func (c *community) hidden(id string, from jid.JID) bool {
	user, err := jid.New(id, c.host, "")
	return err == nil && !c.m.host.Passes(user, from)
}

// seen is those of a list who are not hidden.
func (c *community) seen(list []storage.OnlineUser, from jid.JID) []storage.OnlineUser {
	hidden := func(u storage.OnlineUser) bool { return c.hidden(u.ID, from) }
	if !slices.ContainsFunc(list, hidden) {
		return list
	}
	return slices.DeleteFunc(slices.Clone(list), hidden)
}

// addDelta lists the changed users as they are now.
func (c *community) addDelta(answer *etree.Element, list []storage.OnlineUser, changed map[string]struct{}) {
	shows := make(map[string]storage.Show, len(list))
	for _, u := range list {
		shows[u.ID] = u.Show
	}
	ids := make([]string, 0, len(changed))
	for id := range changed {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		c.addUser(answer, id, shows[id])
	}
}

// hostInfo answers disco#info at the service host (XEP-0030 section 3).
func (c *community) hostInfo(_ context.Context, iq *server.IQ) (server.Payload, error) {
	return info(iq, "Projects")
}

func (c *community) projectInfo(_ context.Context, iq *server.IQ, p storage.Project, _ []storage.User) (server.Payload, error) {
	name := p.Name
	if name == "" {
		name = p.ID
	}
	return info(iq, name)
}

// info describes an address. The identity is not that of a conference, or clients
// would try to join.
func info(iq *server.IQ, name string) (server.Payload, error) {
	request, err := iq.Payload()
	if err != nil {
		return nil, err
	}
	if node := request.SelectAttrValue("node", ""); node != "" && node != onlineNode {
		return nil, server.Error(stanza.ItemNotFound, "there is no such node")
	}
	answer := tree(ns.DiscoInfo, "query")
	if node := request.SelectAttr("node"); node != nil {
		answer.CreateAttr("node", node.Value)
	}
	id := answer.CreateElement("identity")
	id.CreateAttr("category", "component")
	id.CreateAttr("type", "generic")
	id.CreateAttr("name", name)
	for _, feature := range []string{ns.DiscoInfo, ns.DiscoItems, ns.RSM, ns.Ping, ns.Project} {
		answer.CreateElement("feature").CreateAttr("var", feature)
	}
	return server.Tree{Element: answer}, nil
}

// onlineNode is the disco#items node that lists who is online.
const onlineNode = "online"

// hostItems answers disco#items at the service host: the asker's projects.
func (c *community) hostItems(ctx context.Context, iq *server.IQ) (server.Payload, error) {
	list, err := c.m.o.Directory.ProjectsOf(ctx, iq.From.Local())
	if err != nil {
		return nil, err
	}
	items := make([]item, len(list))
	for i, p := range list {
		items[i] = item{id: p.ID, jid: c.projectJID(p.ID), name: p.Name}
	}
	return discoItems(iq, "", items)
}

// projectItems answers disco#items at a project: with the node "online" its
// members who are online, without a node that node.
func (c *community) projectItems(ctx context.Context, iq *server.IQ, p storage.Project, members []storage.User) (server.Payload, error) {
	if iq.Element.ChildLocal == nil {
		return nil, server.Error(stanza.BadRequest, "")
	}
	list, _, err := c.m.o.Presence.OnlineIn(ctx, c.key(p.ID))
	if err != nil {
		return nil, err
	}
	list = c.seen(c.byID(list), iq.From)
	names := make(map[string]string, len(members))
	for _, u := range members {
		names[u.ID] = u.Name
	}
	items := make([]item, len(list))
	for i, u := range list {
		items[i] = item{id: u.ID, jid: u.ID + "@" + c.host, name: names[u.ID]}
	}
	return discoItems(iq, onlineNode, items)
}

// item is one of a list that is ordered by id, which addresses need not be.
type item struct{ id, jid, name string }

// discoItems answers disco#items for an address whose items are under a node;
// asked without a node, an address with one lists just that.
func discoItems(iq *server.IQ, under string, items []item) (server.Payload, error) {
	request, err := iq.Payload()
	if err != nil {
		return nil, err
	}
	answer := tree(ns.DiscoItems, "query")
	node := request.SelectAttrValue("node", "")
	switch {
	case node != "":
		answer.CreateAttr("node", node)
		if node != under {
			return nil, server.Error(stanza.ItemNotFound, "there is no such node")
		}
	case under != "":
		el := answer.CreateElement("item")
		el.CreateAttr("jid", iq.To.String())
		el.CreateAttr("node", under)
		el.CreateAttr("name", "Online")
		return server.Tree{Element: answer}, nil
	}
	ids := make([]string, len(items))
	for i, it := range items {
		ids[i] = it.id
	}
	first, last, set, err := page(request, ids)
	if err != nil {
		return nil, err
	}
	for _, it := range items[first:last] {
		el := answer.CreateElement("item")
		el.CreateAttr("jid", it.jid)
		if it.name != "" {
			el.CreateAttr("name", it.name)
		}
	}
	if set != nil {
		answer.AddChild(set)
	}
	return server.Tree{Element: answer}, nil
}
