package conf

import (
	"fmt"
	"slices"

	"rollcall/internal/jid"
)

// Anonymous says who may log in without an account (XEP-0175).
type Anonymous struct {
	Hosts    []string `yaml:"hosts"`    // of this server, canonical
	Sessions int      `yaml:"sessions"` // at a time
}

// Commands is modules/commands (XEP-0050, XEP-0133).
type Commands struct {
	Enabled bool     `yaml:"enabled"`
	Admins  []string `yaml:"admins"` // canonical bare addresses at hosts of this server
}

// Register is modules/register (XEP-0077).
type Register struct {
	Enabled    bool `yaml:"enabled"`
	PerAddress int  `yaml:"per_address"` // accounts an hour
	Total      int  `yaml:"total"`       // accounts an hour
}

// Private is modules/private (XEP-0049).
type Private struct {
	Enabled   bool `yaml:"enabled"`
	Documents int  `yaml:"documents"` // of one user
	Bytes     Size `yaml:"bytes"`     // of one user
}

// VCard is modules/vcard (XEP-0054).
type VCard struct {
	Enabled bool `yaml:"enabled"`
	Bytes   Size `yaml:"bytes"` // of one user
}

// checkAccounts notes what is wrong in the modules about accounts.
func checkAccounts(c *Config, r *report) {
	m := &c.Modules
	checkAdmins(c, r)
	checkAnonymous(c, r)
	if m.Register.Enabled && c.Storage.Users != UsersSQLite {
		r.add("modules.register.enabled", "nobody can register where users belong to your product (storage.users: mongo)")
	}
	between(r, "modules.register.per_address", m.Register.PerAddress, 1, 1_000_000)
	between(r, "modules.register.total", m.Register.Total, 1, 1_000_000)
	between(r, "modules.private.documents", m.Private.Documents, 1, 10_000)
	between(r, "modules.private.bytes", m.Private.Bytes, KiB, 64*MiB)
	between(r, "modules.vcard.bytes", m.VCard.Bytes, KiB, 16*MiB)
}

// checkAdmins notes what is no user of this server, and makes addresses canonical.
func checkAdmins(c *Config, r *report) {
	for i, text := range c.Modules.Commands.Admins {
		path := fmt.Sprintf("modules.commands.admins[%d]", i)
		j, err := jid.Parse(text)
		switch {
		case err != nil || j.Local() == "" || j.IsFull():
			r.add(path, "%s is not the address of a user, such as admin@example.org", quote(text))
			continue
		case !slices.Contains(c.Hosts, j.Domain()):
			r.add(path, "%s is not at one of the hosts of this server", quote(text))
		}
		c.Modules.Commands.Admins[i] = j.String()
	}
}

func checkAnonymous(c *Config, r *report) {
	a := &c.Auth.Anonymous
	between(r, "auth.anonymous.sessions", a.Sessions, 1, 1_000_000)
	for i, text := range a.Hosts {
		path := fmt.Sprintf("auth.anonymous.hosts[%d]", i)
		j, err := jid.New("", text, "")
		if err != nil || !slices.Contains(c.Hosts, j.Domain()) {
			r.add(path, "%s is not one of the hosts of this server", quote(text))
			continue
		}
		a.Hosts[i] = j.Domain()
	}
}
