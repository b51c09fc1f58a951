package app

import (
	"rollcall/conf"
	"rollcall/internal/auth"
	"rollcall/internal/jid"
	"rollcall/modules/commands"
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
		o := commands.Options{Credentials: credentials}
		for _, text := range m.Admins {
			if j, err := jid.Parse(text); err == nil { // conf has checked
				o.Admins = append(o.Admins, j)
			}
		}
		if s.sqlite != nil {
			o.Accounts = s.sqlite
		}
		list = append(list, commands.New(o))
	}
	return list
}
