package conf

import (
	"fmt"
	"slices"

	"rollcall/internal/jid"
)

// Commands is modules/commands (XEP-0050, XEP-0133).
type Commands struct {
	Enabled bool     `yaml:"enabled"`
	Admins  []string `yaml:"admins"` // canonical bare addresses at hosts of this server
}

// checkCommands notes what is no user of this server, and makes addresses canonical.
func checkCommands(c *Config, r *report) {
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
