package roster

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"slices"

	"github.com/beevik/etree"
	"mellium.im/xmpp/stanza"

	"rollcall/internal/jid"
	"rollcall/internal/ns"
	"rollcall/internal/xmlscan"
	"rollcall/server"
)

// Bounds of what a client may say of a contact, in bytes of UTF-8 and in groups.
const (
	maxName   = 1023
	maxGroup  = 1023
	maxGroups = 50
)

func foreign(context.Context, *server.IQ) (server.Payload, error) {
	return nil, server.Error(stanza.Forbidden, "a roster is its owner's business")
}

func (m *Module) query(ctx context.Context, iq *server.IQ) (server.Payload, error) {
	if iq.Set() {
		return nil, m.set(ctx, iq)
	}
	if err := m.interested(ctx, iq.Batch, iq.Session); err != nil {
		return nil, m.explain("get", err, iq.From)
	}
	if version := askedVersion(iq); version != "" {
		now := m.version(iq.From.Bare())
		if version == string(appendVersion(nil, now)) {
			return nil, nil // RFC 6121 section 2.6.3: what the client has is right
		}
	}
	return answer{m, iq.Session}, nil
}

// askedVersion is the version that a client says it has.
func askedVersion(iq *server.IQ) string {
	if !bytes.Contains(iq.Element.Inner, []byte(" ver")) {
		return ""
	}
	for c := range xmlscan.Children(iq.Element.Inner, ns.Client) {
		raw := c.Attr("ver")
		if len(raw) == hex.EncodedLen(8) {
			return string(raw)
		}
		break
	}
	return ""
}

// wish is what a client wants of its roster.
type wish struct {
	contact jid.JID
	remove  bool
	name    string
	groups  []string
}

// readWish reads a roster set (RFC 6121 sections 2.1.5 and 2.3.3).
func readWish(iq *server.IQ) (w wish, err error) {
	query, err := iq.Payload()
	if err != nil {
		return w, err
	}
	items := query.ChildElements()
	if len(items) != 1 || items[0].Tag != "item" {
		return w, server.Error(stanza.BadRequest, "a roster set has exactly one item")
	}
	i := items[0]
	if w.contact, err = jid.Parse(i.SelectAttrValue("jid", "")); err != nil || w.contact.IsFull() {
		return w, server.Error(stanza.BadRequest, "the item has no valid bare address")
	}
	w.remove = i.SelectAttrValue("subscription", "") == "remove"
	w.name = i.SelectAttrValue("name", "")
	if len(w.name) > maxName {
		return w, server.Error(stanza.NotAcceptable, "the name is too long")
	}
	w.groups, err = readGroups(i)
	return w, err
}

func readGroups(i *etree.Element) (groups []string, err error) {
	for _, el := range i.SelectElements("group") {
		g := el.Text()
		switch {
		case g == "":
			return nil, server.Error(stanza.NotAcceptable, "a group needs a name")
		case len(g) > maxGroup:
			return nil, server.Error(stanza.NotAcceptable, "the name of a group is too long")
		case len(groups) == maxGroups:
			return nil, server.Error(stanza.NotAcceptable, "too many groups")
		}
		groups = append(groups, g)
	}
	slices.Sort(groups)
	if len(slices.Compact(slices.Clone(groups))) < len(groups) {
		return nil, server.Error(stanza.BadRequest, "a group is named twice")
	}
	return groups, nil
}

// set changes the roster.
func (m *Module) set(ctx context.Context, iq *server.IQ) error {
	w, err := readWish(iq)
	if err != nil {
		return err
	}
	from := iq.From.Bare()
	if m.o.Rosters == nil {
		return server.Error(stanza.NotAllowed, "the roster follows the projects")
	}
	together, err := m.together(ctx, from, w.contact)
	switch {
	case err != nil:
		return m.explain("set", err, from)
	case together:
		return server.Error(stanza.NotAllowed, "the roster follows the projects")
	case w.contact == from:
		return server.Error(stanza.NotAllowed, "nobody is their own contact")
	case w.remove:
		err = m.remove(ctx, iq.Batch, from, w.contact)
	default:
		_, err = m.change(ctx, iq.Batch, changing{
			user: from, contact: w.contact, always: true,
			check:  func(list []*item) error { return m.fits(list, &w) },
			become: func(c *contact) { c.set(w.name, w.groups) },
		})
		m.doubt(err, from, w.contact)
	}
	if err != nil {
		return m.explain("set", err, from)
	}
	return nil
}

// perContact is what names and groups may take on the average, in bytes, in a full roster.
const perContact = 256

// fits reports whether what a client says of a contact has room beside what it says of
// others: a roster is read and sent as a whole. What becomes no larger fits always.
func (m *Module) fits(list []*item, w *wish) error {
	size, was := said(w.name, w.groups), 0
	now := size
	for _, i := range list {
		if i.jid == w.contact {
			was = said(i.Name, i.Groups)
		} else {
			size += said(i.Name, i.Groups)
		}
	}
	if now > was && size > perContact*m.o.Items {
		return server.Error(stanza.ResourceConstraint, "the names and groups of the contacts are too long")
	}
	return nil
}

// said is what a name and groups take.
func said(name string, groups []string) int {
	n := len(name)
	for _, g := range groups {
		n += len(g)
	}
	return n
}

// remove takes a contact out of a roster, and ends the subscriptions between the two
// (RFC 6121 section 2.5.2).
func (m *Module) remove(ctx context.Context, b *server.Batch, from, at jid.JID) error {
	ch, err := m.change(ctx, b, changing{user: from, contact: at, become: func(c *contact) {
		if c.Listed {
			c.remove()
		}
	}})
	switch {
	case doubtful(err):
		m.later(func(ctx context.Context) error { return m.removed(ctx, from, at) })
		return err
	case err != nil:
		return err
	case !ch.old.Listed:
		return server.Error(stanza.ItemNotFound, "there is no such item")
	case !m.local(at):
		return nil
	}
	if ch.old.watched() || ch.old.Ask {
		if err := m.leave(ctx, b, from, at); err != nil {
			m.failed("unsubscribe", err, "user", from.String(), "contact", at.String())
			m.later(func(ctx context.Context) error { return m.removed(ctx, from, at) })
		}
	}
	denial := server.AppendPresenceType(nil, from, at, "unsubscribed")
	return m.follow(ctx, b, relation{watcher: at, watched: from}, ch.new, ends(denial))
}

// leave ends a user's interest in somebody.
func (m *Module) leave(ctx context.Context, b *server.Batch, from, at jid.JID) error {
	goodbye := server.AppendPresenceType(nil, from, at, "unsubscribe")
	_, err := m.unsubscribe(ctx, b, relation{watcher: from, watched: at}, goodbye)
	return err
}

// removed does what the removal of an item was to do beside that, when the store failed;
// if it was removed at all.
func (m *Module) removed(ctx context.Context, from, at jid.JID) error {
	now, err := m.item(ctx, from, at)
	if err != nil {
		return err
	}
	if !now.Listed && m.local(at) {
		b := m.host.NewBatch()
		defer b.Flush()
		if err := errors.Join(m.recallAt(ctx, b, at, from), m.leave(ctx, b, from, at)); err != nil {
			return err
		}
	}
	return m.straighten(ctx, from, at)
}
