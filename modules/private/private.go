// Package private keeps what clients store for themselves (XEP-0049), each element under
// its namespace and name. It is bounded, nobody else can read it, and it goes with the
// user. Who logs in at several virtual hosts finds the same at each.
package private

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/beevik/etree"
	"mellium.im/xmpp/stanza"

	"rollcall/internal/ns"
	"rollcall/server"
	"rollcall/storage"
)

// maxAtOnce bounds the elements of one request.
const maxAtOnce = 16

// storeTime bounds how long the store may take.
const storeTime = 10 * time.Second

// Options are what a Module is made of.
type Options struct {
	Documents storage.Documents
	Owners    storage.Owners
	// Limit bounds what is kept about one user, by other modules as well.
	Limit storage.DocumentLimit
}

// Module implements server.Module.
type Module struct {
	o    Options
	host *server.Host
}

var _ server.Module = (*Module)(nil)

// New makes the module.
func New(o Options) *Module { return &Module{o: o} }

// Name implements server.Module.
func (m *Module) Name() string { return "private" }

// Start implements server.Module.
func (m *Module) Start(h *server.Host) error {
	m.host = h
	h.OnDirectoryChange(0, func(ctx context.Context, e *server.DirectoryChange) {
		if e.Kind == storage.UserRemoved {
			m.removeUser(ctx, e.User)
		}
	})
	// What its sessions stored after that goes with them.
	h.OnRemoveConnection(0, func(ctx context.Context, e *server.RemoveConnection) {
		if e.Reason == server.ReasonUserRemoved {
			m.removeUser(ctx, e.JID.Local())
		}
	})
	h.Declare(server.Protocol{
		Number: "XEP-0049", Title: "Private XML Storage", Version: "1.2", Features: []string{ns.Private},
		Notes: "reserved namespaces are permitted",
	})
	h.Feature(server.ToServer, ns.Private)
	if err := h.HandleIQ(server.ToSelf, ns.Private, "query", m.own); err != nil {
		return err
	}
	return h.HandleIQ(server.ToOther, ns.Private, "query", func(context.Context, *server.IQ) (server.Payload, error) {
		return nil, server.Error(stanza.Forbidden, "that is private")
	})
}

// key is what an element is kept under.
func key(el *etree.Element) (string, error) {
	space := el.NamespaceURI()
	if space == "" || space == ns.Private {
		return "", server.Error(stanza.NotAcceptable, "the element has no namespace of its own")
	}
	k := "private " + el.Tag + " " + space
	if storage.CheckDocument("anybody", k) != nil {
		return "", server.Error(stanza.NotAcceptable, "the name of the element or of its namespace is too long")
	}
	return k, nil
}

func (m *Module) own(ctx context.Context, iq *server.IQ) (server.Payload, error) {
	query, err := iq.Payload()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	elements := query.ChildElements()
	if iq.Set() {
		return nil, m.put(ctx, iq, elements)
	}
	if len(elements) != 1 {
		return nil, server.Error(stanza.BadRequest, "ask for one element")
	}
	return m.get(ctx, iq, elements[0])
}

// get returns an element, or the one that was asked with when there is none.
func (m *Module) get(ctx context.Context, iq *server.IQ, el *etree.Element) (server.Payload, error) {
	k, err := key(el)
	if err != nil {
		return nil, err
	}
	data, err := m.o.Documents.Document(ctx, iq.From.Local(), k)
	if errors.Is(err, storage.ErrNotFound) {
		data, err = server.Encode(el), nil
	}
	if err != nil {
		return nil, failure(err)
	}
	return server.Raw("<query xmlns='" + ns.Private + "'>" + string(data) + "</query>"), nil
}

// put stores elements in the place of those before. One without content removes. When
// there is no room for one, those that came before it in the request are stored.
func (m *Module) put(ctx context.Context, iq *server.IQ, elements []*etree.Element) error {
	if len(elements) == 0 || len(elements) > maxAtOnce {
		return server.Error(stanza.NotAcceptable, fmt.Sprintf("between 1 and %d elements are needed", maxAtOnce))
	}
	keys := make([]string, 0, len(elements))
	for _, el := range elements {
		k, err := key(el)
		if err != nil {
			return err
		}
		if slices.Contains(keys, k) {
			return server.Error(stanza.NotAcceptable, "the same element is there twice")
		}
		keys = append(keys, k)
	}
	for i, el := range elements {
		var data []byte
		if len(el.ChildElements()) > 0 || strings.TrimSpace(el.Text()) != "" || hasAttrs(el) {
			data = server.Encode(el)
		}
		if err := m.o.Documents.PutDocument(ctx, iq.From.Local(), keys[i], data, m.o.Limit); err != nil {
			return failure(err)
		}
	}
	return nil
}

// hasAttrs reports whether an element says anything in attributes.
func hasAttrs(el *etree.Element) bool {
	for _, a := range el.Attr {
		if a.Space != "xmlns" && a.Key != "xmlns" {
			return true
		}
	}
	return false
}

// failure is what the client may know of a store's error.
func failure(err error) error {
	switch {
	case errors.Is(err, storage.ErrFull):
		return server.Error(stanza.PolicyViolation, "too much is kept for you")
	case errors.Is(err, storage.ErrUnavailable):
		return stanza.Error{Condition: stanza.ResourceConstraint, Type: stanza.Wait}
	}
	return err
}

// removeUser forgets what is kept for a user who is gone, as stores do not that read users
// elsewhere.
func (m *Module) removeUser(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	there, err := m.o.Owners.UserExists(ctx, id)
	if err == nil && !there {
		err = m.o.Documents.RemoveDocuments(ctx, id)
	}
	if err != nil {
		m.host.Log().Error("what a user owned may stay", "user", id, "err", err)
	}
}
