package conf

import (
	"fmt"
	"slices"

	"rollcall/internal/jid"
)

// ComponentListener accepts one component (XEP-0114). Several may share an address.
type ComponentListener struct {
	Address string `yaml:"address"` // host:port
	Name    string `yaml:"name"`    // canonical domain, of no other host
	// One of the two secrets is set; see SecretOf. Load makes the file relative to the
	// configuration file's folder.
	Secret        string `yaml:"secret"`
	SecretFile    string `yaml:"secret_file"`
	AllowInsecure bool   `yaml:"allow_insecure"`
}

// SecretOf is the secret of a component.
func (c *Config) SecretOf(i int) (string, error) {
	if l := c.Listen.Components[i]; l.Secret != "" {
		return l.Secret, nil
	}
	return c.componentSecret(i).read("")
}

func (c *Config) componentSecret(i int) secret {
	return secret{
		path: fmt.Sprintf("listen.components[%d].secret_file", i), what: "a file with a secret",
		name: c.Listen.Components[i].SecretFile, problem: componentSecretProblem,
	}
}

// minComponentSecret is the least length of a component's secret in bytes.
const minComponentSecret = 8

func componentSecretProblem(text string) string {
	if problem := passwordProblem(text); problem != "" {
		return problem
	}
	if len(text) < minComponentSecret {
		return fmt.Sprintf("a secret has %d bytes or more", minComponentSecret)
	}
	return ""
}

// components checks the listeners of components against all before them. Those of one
// address are one listener.
func (ls *listeners) components(c *Config) {
	names, addresses := make(map[string]string), make(map[string]bool)
	for i := range c.Listen.Components {
		path := fmt.Sprintf("listen.components[%d]", i)
		l := &c.Listen.Components[i]
		if ls.bad[path] {
			continue
		}
		if !addresses[l.Address] {
			ls.address(path+".address", l.Address) // which says what is wrong
		}
		if a, problem := parseAddress(path+".address", l.Address); problem == "" && !a.loopback() && !l.AllowInsecure {
			ls.add(path+".address", "%s can be reached from other machines, and the protocol has no encryption: bind to 127.0.0.1, or say allow_insecure: true", quote(l.Address))
		}
		addresses[l.Address] = true
		ls.component(c, path, l, names)
	}
}

func (ls *listeners) component(c *Config, path string, l *ComponentListener, names map[string]string) {
	if j, err := jid.New("", l.Name, ""); err != nil {
		ls.add(path+".name", "%s", notDomain(l.Name, err))
	} else {
		l.Name = j.Domain()
		switch other, taken := names[l.Name]; {
		case taken:
			ls.add(path+".name", "%s is taken by %s already", quote(l.Name), other)
		case slices.Contains(c.Hosts, l.Name) || ls.isService(c, l.Name):
			ls.add(path+".name", "%s is a host of the server itself", quote(l.Name))
		}
		names[l.Name] = path
	}
	switch {
	case l.Secret == "" && l.SecretFile == "":
		ls.add(path+".secret", "missing: write a secret, or name the secret_file")
	case l.Secret != "" && l.SecretFile != "":
		ls.add(path+".secret_file", "there is a secret already: remove one of the two")
	case l.Secret != "":
		if problem := componentSecretProblem(l.Secret); problem != "" {
			ls.add(path+".secret", "%s", problem)
		}
	}
}

// isService reports whether the projects answer at a host.
func (ls *listeners) isService(c *Config, name string) bool {
	return c.Modules.Projects.Enabled && slices.ContainsFunc(c.Hosts, func(host string) bool {
		return ServiceHost(c.Modules.Projects.Host, host) == name
	})
}
