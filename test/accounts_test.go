package test

import (
	"testing"

	"rollcall/conf"
	"rollcall/internal/auth"
	"rollcall/internal/transcript"
	"rollcall/storage"
)

// TestAccounts plays the scripts about accounts over every transport: boss is an
// administrator.
func TestAccounts(t *testing.T) {
	credentials, err := auth.NewCredentials("secret", auth.MinIterations)
	if err != nil {
		t.Fatal(err)
	}
	boss := storage.UserRecord{User: storage.User{ID: "boss"}, Credentials: &credentials}
	overEach(t, func(t *testing.T, tr transport) {
		transcript.RunDir(t, "../internal/transcript/testdata/accounts", tr.kind,
			func(t *testing.T, _ *transcript.Script) transcript.Target {
				a := start(t, options{config: func(c *conf.Config) {
					c.Modules.Commands.Admins = []string{"boss@localhost"}
					c.Modules.Register.Enabled, c.Modules.Register.PerAddress = true, 4
					c.Auth.Anonymous.Hosts = []string{"localhost"}
				}})
				if err := a.Store().AddUser(t.Context(), boss); err != nil {
					t.Fatal(err)
				}
				return tr.of(a)
			})
	})
}
