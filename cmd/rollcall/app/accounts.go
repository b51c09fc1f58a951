package app

import (
	"rollcall/conf"
	"rollcall/internal/auth"
	"rollcall/internal/jid"
	"rollcall/modules/commands"
	"rollcall/modules/private"
	"rollcall/modules/register"
	"rollcall/modules/vcard"
	"rollcall/server"
	"rollcall/storage"
)

// Credentials are what the configured store keeps of a password. The error wraps
// storage.ErrInvalid for one that nobody may have.
func Credentials(c *conf.Config, password string) (storage.Credentials, error) {
	if c.Storage.SQLite.Passwords == conf.PasswordsPlain {
		return storage.Credentials{Plain: password}, nil
	}
	return auth.NewCredentials(password, c.Auth.SCRAMIterations)
}

// accountModules lists the modules about accounts that a configuration turns on.
func accountModules(c *conf.Config, s *stores) []server.Module {
	var list []server.Module
	credentials := func(password string) (storage.Credentials, error) { return Credentials(c, password) }
	if m := c.Modules.Commands; m.Enabled {
		o := commands.Options{Admins: admins(m.Admins), Credentials: credentials}
		if s.sqlite != nil {
			o.Accounts = s.sqlite
		}
		list = append(list, commands.New(o))
	}
	if m := c.Modules.Register; m.Enabled && s.sqlite != nil {
		// Whoever has an administrator's name is one: accounts are the same at every host.
		var names []string
		for _, j := range admins(c.Modules.Commands.Admins) {
			names = append(names, j.Local())
		}
		list = append(list, register.New(register.Options{
			Accounts: s.sqlite, Credentials: credentials, PerAddress: m.PerAddress, Total: m.Total, Reserved: names,
		}))
	}
	if m := c.Modules.Private; m.Enabled {
		limit := storage.DocumentLimit{Documents: m.Documents, Bytes: int64(m.Bytes)}
		list = append(list, private.New(private.Options{Documents: s.documents, Owners: s.owners, Limit: limit}))
	}
	if m := c.Modules.VCard; m.Enabled {
		list = append(list, vcard.New(vcard.Options{Documents: s.documents, Owners: s.owners, Bytes: int(m.Bytes)}))
	}
	return list
}

// admins are addresses that conf has checked.
func admins(texts []string) (list []jid.JID) {
	for _, text := range texts {
		if j, err := jid.Parse(text); err == nil {
			list = append(list, j)
		}
	}
	return list
}
