// Package vcard keeps what users tell about themselves (XEP-0054). Everybody with an
// account at this server may read it, as the specification has it; anonymous users may
// not. It is bounded, goes with the user, and is the same at every virtual host.
package vcard

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mellium.im/xmpp/stanza"

	"rollcall/internal/ns"
	"rollcall/server"
	"rollcall/storage"
)

// key is what a card is kept under.
const key = "vcard"

// storeTime bounds how long the store may take.
const storeTime = 10 * time.Second

// Options are what a Module is made of.
type Options struct {
	Documents storage.Documents
	Owners    storage.Owners
	Bytes     int // of a card, encoded
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
func (m *Module) Name() string { return "vcard" }

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
		Number: "XEP-0054", Title: "vcard-temp", Version: "1.3.0", Features: []string{ns.VCard},
		Notes: "of users; readable by everybody with an account",
	})
	h.Feature(server.ToServer, ns.VCard)
	if err := h.HandleIQ(server.ToSelf, ns.VCard, "vCard", m.own); err != nil {
		return err
	}
	return h.HandleIQ(server.ToOther, ns.VCard, "vCard", m.other)
}

func (m *Module) own(ctx context.Context, iq *server.IQ) (server.Payload, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	if !iq.Set() {
		return m.get(ctx, iq.From.Local(), server.Error(stanza.ItemNotFound, ""))
	}
	card, err := iq.Payload()
	if err != nil {
		return nil, err
	}
	var data []byte // none for an empty card
	if len(card.ChildElements()) > 0 {
		data = server.Encode(card)
	}
	if len(data) > m.o.Bytes {
		return nil, server.Error(stanza.PolicyViolation, fmt.Sprintf("a vCard may have %d bytes", m.o.Bytes))
	}
	return nil, failure(m.o.Documents.PutDocument(ctx, iq.From.Local(), key, data, storage.DocumentLimit{}))
}

// other answers about somebody else. There is no telling whether there is such an account
// (XEP-0054 section 3.3).
func (m *Module) other(ctx context.Context, iq *server.IQ) (server.Payload, error) {
	if iq.Set() {
		return nil, server.Error(stanza.Forbidden, "that is somebody else's")
	}
	missing := stanza.Error{Condition: stanza.ServiceUnavailable}
	if iq.Session.Anonymous() {
		return nil, missing
	}
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	return m.get(ctx, iq.To.Local(), missing)
}

func (m *Module) get(ctx context.Context, user string, missing error) (server.Payload, error) {
	data, err := m.o.Documents.Document(ctx, user, key)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return nil, missing
	case err != nil:
		return nil, failure(err)
	}
	return server.Raw(data), nil
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

// removeUser forgets the vCard of a user who is gone, as stores do not that read users
// elsewhere.
func (m *Module) removeUser(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	there, err := m.o.Owners.UserExists(ctx, id)
	if err == nil && !there {
		err = m.o.Documents.PutDocument(ctx, id, key, nil, storage.DocumentLimit{})
	}
	if err != nil {
		m.host.Log().Error("what a user owned may stay", "user", id, "err", err)
	}
}
