package conf

// KeepsPasswords reports whether the store has the users' passwords themselves, and not
// only what is made of them.
func (c *Config) KeepsPasswords() bool {
	if c.Storage.Users == UsersMongo {
		return c.Storage.Mongo.Users.Scheme == SchemePlain
	}
	return c.Storage.SQLite.Passwords == PasswordsPlain
}
