// Package register lets clients make accounts before they log in, change their passwords
// and remove their accounts (XEP-0077). It does so only where a password may cross the
// connection, and no more often than Options say; names and passwords are checked as
// those that an administrator gives.
package register

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/beevik/etree"
	"mellium.im/xmpp/stanza"

	"rollcall/internal/auth"
	"rollcall/internal/jid"
	"rollcall/internal/ns"
	"rollcall/internal/xmlscan"
	"rollcall/server"
	"rollcall/storage"
)

const (
	maxName     = 256              // bytes of a user name
	maxPassword = 1024             // bytes
	storeTime   = 10 * time.Second // that the store may take
)

// Accounts is what is done to the store; see storage.Admin.
type Accounts interface {
	AddUser(ctx context.Context, u storage.UserRecord) error
	SetCredentials(ctx context.Context, userID string, c storage.Credentials) error
	RemoveUser(ctx context.Context, userID string) error
}

// Options are what a Module is made of; all but Reserved are needed.
type Options struct {
	Accounts Accounts
	// Credentials makes what the store keeps of a password, or returns an error that
	// wraps storage.ErrInvalid.
	Credentials func(password string) (storage.Credentials, error)
	// PerAddress bounds the accounts made in an hour from one address, and how often in
	// an hour a user changes the password; Total bounds both for all together.
	PerAddress, Total int
	// Reserved are the canonical names that nobody can register, as of administrators
	// whose account is not there.
	Reserved []string
}

// Module implements server.Module.
type Module struct {
	o     Options
	host  *server.Host
	limit *limiter
}

var (
	_ server.Module    = (*Module)(nil)
	_ server.Validator = (*Module)(nil)
)

// New makes the module.
func New(o Options) *Module {
	return &Module{o: o, limit: newLimiter(o.PerAddress, o.Total, time.Now())}
}

// Name implements server.Module.
func (m *Module) Name() string { return "register" }

// Validate implements server.Validator.
func (m *Module) Validate() error {
	switch {
	case m.o.Accounts == nil || m.o.Credentials == nil:
		return errors.New("accounts cannot be made")
	case m.o.PerAddress < 1 || m.o.Total < 1:
		return errors.New("no registration is permitted")
	}
	return nil
}

// Start implements server.Module.
func (m *Module) Start(h *server.Host) error {
	m.host = h
	h.Declare(server.Protocol{
		Number: "XEP-0077", Title: "In-Band Registration", Version: "2.4",
		Features: []string{ns.Register}, StreamFeatures: []string{ns.RegisterOffer},
		Notes: "off by default; user name and password; where rollcall itself keeps the users",
	})
	h.StreamFeature(server.BeforeLogin, func(s *server.Session, dst []byte) []byte {
		if !safe(s) {
			return dst
		}
		return append(dst, "<register xmlns='"+ns.RegisterOffer+"'/>"...)
	})
	if err := h.HandleEarlyIQ(ns.Register, "query", m.early); err != nil {
		return err
	}
	return h.HandleIQ(server.ToServer|server.ToSelf, ns.Register, "query", m.late)
}

// safe reports whether a password may cross the connection, as for PLAIN.
func safe(s *server.Session) bool {
	l := s.Listener()
	return s.Info().Secure || l.PlainWithoutTLS && !l.RequireTLS
}

// early answers a client that has not logged in.
func (m *Module) early(ctx context.Context, iq *server.IQ) (server.Payload, error) {
	if !safe(iq.Session) {
		return nil, server.Error(stanza.NotAuthorized, "the connection is not encrypted")
	}
	if !iq.Set() {
		return server.Raw("<query xmlns='" + ns.Register + "'><instructions>Choose a user name and a password.</instructions>" +
			"<username/><password/></query>"), nil
	}
	f, err := read(iq)
	if err != nil {
		return nil, err
	}
	return nil, m.add(ctx, iq.Session, f)
}

// fields are what a client fills in.
type fields struct {
	username, password, name string
	remove                   bool
	count                    int
}

func read(iq *server.IQ) (f fields, err error) {
	query, err := iq.Payload()
	if err != nil {
		return f, err
	}
	f.count = len(query.ChildElements())
	for name, to := range map[string]*string{"username": &f.username, "password": &f.password, "name": &f.name} {
		*to = text(query, name)
	}
	f.remove = child(query, "remove") != nil
	return f, nil
}

func child(query *etree.Element, name string) *etree.Element {
	for _, c := range query.ChildElements() {
		if c.Tag == name && c.NamespaceURI() == ns.Register {
			return c
		}
	}
	return nil
}

func text(query *etree.Element, name string) string {
	if c := child(query, name); c != nil {
		return c.Text()
	}
	return ""
}

// add makes an account.
func (m *Module) add(ctx context.Context, s *server.Session, f fields) error {
	if f.remove {
		return server.Error(stanza.UnexpectedRequest, "log in first")
	}
	if f.username == "" || f.password == "" {
		return server.Error(stanza.NotAcceptable, "a user name and a password are needed")
	}
	j, err := jid.New(f.username, s.Domain(), "")
	if err != nil || j.Local() == "" {
		return server.Error(stanza.JIDMalformed, "that cannot be a user name")
	}
	if len(j.Local()) > maxName || auth.IsAnonymous(j.Local()) {
		return server.Error(stanza.NotAcceptable, "nobody may be called so")
	}
	if len(f.name) > storage.MaxName || !utf8.ValidString(f.name) {
		return server.Error(stanza.NotAcceptable, "the name is too long")
	}
	if err := m.wait("from " + network(s.Info().Remote)); err != nil {
		return err
	}
	c, err := m.credentials(f.password)
	if err != nil {
		return err
	}
	if slices.Contains(m.o.Reserved, j.Local()) {
		return failure(storage.ErrExists) // as if it was there
	}
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	u := storage.UserRecord{User: storage.User{ID: j.Local(), Name: strings.TrimSpace(f.name)}, Credentials: &c}
	if err := failure(m.o.Accounts.AddUser(ctx, u)); err != nil {
		return err
	}
	m.host.Log().Info("registered", "jid", j.String(), "remote", s.Info().Remote)
	return nil
}

// wait refuses what is done too often.
func (m *Module) wait(key string) error {
	if d := m.limit.take(key, time.Now()); d > 0 {
		return stanza.Error{
			Condition: stanza.ResourceConstraint, Type: stanza.Wait,
			Text: map[string]string{"en": fmt.Sprintf("too often; try again in %s", d.Round(time.Second))},
		}
	}
	return nil
}

func (m *Module) credentials(password string) (c storage.Credentials, err error) {
	if len(password) > maxPassword {
		return c, server.Error(stanza.NotAcceptable, "the password is too long")
	}
	if c, err = m.o.Credentials(password); errors.Is(err, storage.ErrInvalid) {
		err = server.Error(stanza.NotAcceptable, "the password has characters that are not permitted")
	}
	return c, err
}

// late answers a client that has logged in.
func (m *Module) late(ctx context.Context, iq *server.IQ) (server.Payload, error) {
	if iq.Session.Anonymous() {
		return nil, server.Error(stanza.NotAllowed, "an anonymous user has no account")
	}
	if !iq.Set() {
		b := []byte("<query xmlns='" + ns.Register + "'><registered/><username>")
		b = xmlscan.AppendText(b, iq.From.Local())
		return server.Raw(append(b, "</username><password/></query>"...)), nil
	}
	f, err := read(iq)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	switch {
	case f.remove && f.count > 1:
		return nil, server.Error(stanza.BadRequest, "remove comes alone")
	case f.remove:
		return nil, m.remove(ctx, iq)
	}
	return nil, m.change(ctx, iq, f)
}

// remove removes the account; whoever watches the directory ends its sessions (XEP-0077
// section 3.2).
func (m *Module) remove(ctx context.Context, iq *server.IQ) error {
	if err := failure(m.o.Accounts.RemoveUser(ctx, iq.From.Local())); err != nil {
		return err
	}
	m.host.Log().Info("account removed by its user", "jid", iq.From.Bare().String())
	return nil
}

// change changes the password (XEP-0077 section 3.3).
func (m *Module) change(ctx context.Context, iq *server.IQ, f fields) error {
	if f.username == "" || f.password == "" {
		return server.Error(stanza.BadRequest, "the user name and a password are needed")
	}
	j, err := jid.New(f.username, iq.From.Domain(), "")
	switch {
	case err != nil || j != iq.From.Bare():
		return server.Error(stanza.NotAllowed, "that is not your user name")
	case !safe(iq.Session):
		return server.Error(stanza.NotAuthorized, "the connection is not encrypted")
	}
	if err := m.wait("of " + j.String()); err != nil {
		return err
	}
	c, err := m.credentials(f.password)
	if err != nil {
		return err
	}
	if err := failure(m.o.Accounts.SetCredentials(ctx, j.Local(), c)); err != nil {
		return err
	}
	m.host.Log().Info("password changed", "jid", j.String())
	return nil
}

// failure is what the client may know of a store's error.
func failure(err error) error {
	switch {
	case errors.Is(err, storage.ErrExists):
		return server.Error(stanza.Conflict, "somebody else is called so")
	case errors.Is(err, storage.ErrNotFound):
		return server.Error(stanza.RegistrationRequired, "there is no such account any more")
	case errors.Is(err, storage.ErrInvalid):
		return server.Error(stanza.NotAcceptable, "that cannot be kept")
	case errors.Is(err, storage.ErrUnavailable):
		return stanza.Error{Condition: stanza.ResourceConstraint, Type: stanza.Wait}
	}
	return err
}
