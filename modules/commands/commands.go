// Package commands lets administrators look after the server from any client: ad-hoc
// commands (XEP-0050) with the forms of service administration (XEP-0133), at the virtual
// host's address and at the administrator's own account. Whoever is no administrator is
// offered a ping and nothing else.
//
// What a command does goes for every node; who is in the middle of one is known to the
// node that the administrator is connected to. A message to HOST/announce/online says the
// same to everybody as the command announce does.
package commands

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"mellium.im/xmpp/stanza"

	"rollcall/internal/jid"
	"rollcall/internal/ns"
	"rollcall/server"
	"rollcall/storage"
)

// Accounts is what the commands about accounts do to the store; see storage.Admin.
type Accounts interface {
	AddUser(ctx context.Context, u storage.UserRecord) error
	SetCredentials(ctx context.Context, userID string, c storage.Credentials) error
	RemoveUser(ctx context.Context, userID string) error
}

// Options are what a Module is made of.
type Options struct {
	// Admins are the bare addresses of who may give commands.
	Admins []jid.JID
	// Accounts is nil where users belong to the product: the commands about them are
	// not offered then.
	Accounts Accounts
	// Credentials makes what the store keeps of a password, or returns an error that
	// wraps storage.ErrInvalid. It is needed with Accounts.
	Credentials func(password string) (storage.Credentials, error)
}

// Module implements server.Module.
type Module struct {
	o        Options
	host     *server.Host
	commands []*command
	sessions sessions
}

var (
	_ server.Module    = (*Module)(nil)
	_ server.Validator = (*Module)(nil)
	_ server.Peers     = (*Module)(nil)
)

// New makes the module.
func New(o Options) *Module {
	m := &Module{o: o}
	m.commands = append(accountCommands(), sessionCommands()...)
	m.commands = append(m.commands, announceCommand(), pingCommand())
	return m
}

// Name implements server.Module.
func (m *Module) Name() string { return "commands" }

// Validate implements server.Validator.
func (m *Module) Validate() error {
	for _, a := range m.o.Admins {
		if a.Local() == "" || a.IsFull() {
			return fmt.Errorf("%q is no address of an account", a.String())
		}
	}
	if m.o.Accounts != nil && m.o.Credentials == nil {
		return errors.New("nothing makes credentials of passwords")
	}
	return nil
}

// Start implements server.Module.
func (m *Module) Start(h *server.Host) error {
	m.host = h
	h.Declare(server.Protocol{
		Number: "XEP-0050", Title: "Ad-Hoc Commands", Version: "1.3.0", Features: []string{ns.Commands},
		Notes: "at the virtual host and at one's own account",
	})
	h.Declare(server.Protocol{
		Number: "XEP-0133", Title: "Service Administration", Version: "1.3.1",
		Notes: "add-user, delete-user and change-user-password where rollcall itself keeps the users; " +
			"end-user-session, get-online-users-list, announce",
	})
	h.Declare(server.Protocol{Number: "XEP-0004", Title: "Data Forms", Version: "2.13.2", Notes: "in commands"})
	h.HandleNode(m.node)
	h.OnNodes(m)
	h.OnHostMessage(0, m.announceTo)
	h.OnRemoveConnection(0, func(_ context.Context, e *server.RemoveConnection) { m.sessions.forget(e.JID) })
	return h.HandleIQ(server.ToServer|server.ToSelf, ns.Commands, "command", m.serve)
}

func (m *Module) isAdmin(j jid.JID) bool { return slices.Contains(m.o.Admins, j.Bare()) }

// find returns the command of a node that somebody may give, or says why not.
func (m *Module) find(node string, who jid.JID) (*command, error) {
	i := slices.IndexFunc(m.commands, func(c *command) bool { return c.node == node })
	switch {
	case i < 0:
		return nil, server.Error(stanza.ItemNotFound, "there is no such command")
	case !m.commands[i].anybody && !m.isAdmin(who):
		return nil, server.Error(stanza.Forbidden, "the command is for administrators")
	case m.commands[i].accounts && m.o.Accounts == nil:
		return nil, server.Error(stanza.NotAllowed, "users belong to the product, which keeps them: change them there")
	}
	return m.commands[i], nil
}

// host is the virtual host that a request is about.
func hostOf(iq *server.IQ) string {
	if iq.To.IsZero() {
		return iq.From.Domain()
	}
	return iq.To.Domain()
}

// storeTime bounds how long a store may take.
const storeTime = 10 * time.Second

// storeError is what the client may know of a store's error.
func storeError(err error, about string) error {
	switch {
	case errors.Is(err, storage.ErrExists):
		return server.Error(stanza.Conflict, about+" exists already")
	case errors.Is(err, storage.ErrNotFound):
		return server.Error(stanza.ItemNotFound, "there is no "+about)
	case errors.Is(err, storage.ErrInvalid):
		return badPayload(about + " cannot be kept like that")
	case errors.Is(err, storage.ErrUnavailable):
		return stanza.Error{Condition: stanza.ResourceConstraint, Type: stanza.Wait}
	}
	return err
}
