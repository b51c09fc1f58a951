package conf

import "testing"

func TestKeepsPasswords(t *testing.T) {
	for _, test := range []struct {
		users  UserStore
		kept   Passwords
		scheme MongoScheme
		want   bool
	}{
		{UsersSQLite, PasswordsSCRAM, SchemePlain, false},
		{UsersSQLite, PasswordsPlain, SchemeAuto, true},
		{UsersMongo, PasswordsPlain, SchemeAuto, false},
		{UsersMongo, PasswordsSCRAM, SchemePlain, true},
	} {
		c := Default()
		c.Storage.Users, c.Storage.SQLite.Passwords, c.Storage.Mongo.Users.Scheme = test.users, test.kept, test.scheme
		if got := c.KeepsPasswords(); got != test.want {
			t.Errorf("%+v: %v", test, got)
		}
	}
}
