package conf

import (
	"cmp"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"rollcall/internal/jid"
)

// check notes everything in c that is out of range or does not fit together, and
// makes hosts, origins and URLs canonical.
func check(c *Config, r *report) {
	checkHosts(c, r)
	checkPaths(c, r)
	checkListeners(c, r)
	checkLimits(c, r)
	checkStreamManagement(c, r)
	checkBOSH(c, r)
	checkWebSocket(c, r)
	checkRedis(c, r)
	checkMongo(c, r)
	checkCluster(c, r)
	checkModules(c, r)
	checkMemory(c, r)
}

// between notes a value outside of low to high.
func between[T cmp.Ordered](r *report, path string, v, low, high T) {
	if v < low || v > high {
		r.add(path, "%s is out of range: %s to %s", show(v), show(low), show(high))
	}
}

// show writes a duration without its zero parts: 10m, not 10m0s.
func show(v any) string {
	d, ok := v.(time.Duration)
	if !ok {
		return fmt.Sprint(v)
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func checkHosts(c *Config, r *report) {
	if len(c.Hosts) == 0 {
		r.add("hosts", "no host: name at least one domain")
	}
	first := map[string]string{} // canonical host -> path
	for i, host := range c.Hosts {
		path := fmt.Sprintf("hosts[%d]", i)
		domain, err := jid.New("", host, "")
		if err != nil {
			r.add(path, "%s", notDomain(host, err))
			continue
		}
		c.Hosts[i] = domain.Domain()
		if other, ok := first[c.Hosts[i]]; ok {
			r.add(path, "%s is already %s", quote(host), other)
			continue
		}
		first[c.Hosts[i]] = path
	}
	if c.Modules.Projects.Enabled {
		checkServiceHost(c, r, first)
	}
}

// checkServiceHost notes a service host that is no domain, or that is some other
// host too. hosts maps each virtual host to its path.
func checkServiceHost(c *Config, r *report, hosts map[string]string) {
	const path = "modules.projects.host"
	pattern := c.Modules.Projects.Host
	if len(hosts) > 1 && !strings.Contains(pattern, "@HOST@") {
		r.add(path, "%s would be the service of %d hosts: put @HOST@ where the host's name belongs", quote(pattern), len(hosts))
		return
	}
	for _, host := range c.Hosts {
		if _, ok := hosts[host]; !ok {
			continue // not a domain: said already
		}
		service := ServiceHost(pattern, host)
		domain, err := jid.New("", service, "")
		if err != nil {
			r.add(path, "%s", notDomain(service, err))
			return
		}
		if other, ok := hosts[domain.Domain()]; ok {
			r.addEither(path, other, quote(service))
			return
		}
	}
}

func notDomain(s string, err error) string {
	reason := strings.TrimPrefix(err.Error(), jid.ErrMalformed.Error()+": ")
	return fmt.Sprintf("%s is not a domain name (RFC 7622): %s", quote(s), clip(reason))
}

// checkPaths notes paths that are not given; it looks at no file.
func checkPaths(c *Config, r *report) {
	for i, cert := range c.TLS.Certificates {
		path := fmt.Sprintf("tls.certificates[%d]", i)
		switch {
		case r.bad[path]:
			continue
		case cert.Cert == "":
			r.add(path+".cert", "missing: name the PEM file of the certificate chain")
		case cert.Key == "":
			r.add(path+".key", "missing: name the PEM file of the private key")
		}
	}
	if c.DataDir == "" {
		r.add("data_dir", `empty: name a folder, "." for this one`)
	}
	if c.Storage.SQLite.Path == "" {
		r.add("storage.sqlite.path", "empty: name a file")
	}
}

func checkLimits(c *Config, r *report) {
	between(r, "auth.scram_iterations", c.Auth.SCRAMIterations, 4096, 1_000_000)
	between(r, "auth.attempts", c.Auth.Attempts, 1, 100)
	l := &c.Limits
	between(r, "limits.login_time", l.LoginTime, time.Second, 10*time.Minute)
	between(r, "limits.login_bytes", l.LoginBytes, 4*KiB, 16*MiB)
	between(r, "limits.stanza_bytes", l.StanzaBytes, 10000, 64*MiB)
	between(r, "limits.depth", l.Depth, 8, 10000)
	between(r, "limits.attributes", l.Attributes, 8, 10000)
	between(r, "limits.outbox_bytes", l.OutboxBytes, 10000, GiB)
	between(r, "limits.directed", l.Directed, 1, 1_000_000)
	between(r, "limits.resources", l.Resources, 1, 10000)
	between(r, "session.shutdown_time", c.Session.ShutdownTime, time.Second, 10*time.Minute)
	if c.Session.Coalesce != 0 {
		between(r, "session.coalesce", c.Session.Coalesce, time.Millisecond, time.Second)
	}
	if l.OutboxBytes < l.StanzaBytes && !r.bad["limits.stanza_bytes"] {
		r.add("limits.outbox_bytes", "%v cannot hold one stanza of the permitted size: at least limits.stanza_bytes, which is %v", l.OutboxBytes, l.StanzaBytes)
	}
}

func checkStreamManagement(c *Config, r *report) {
	const at = "stream_management."
	m := &c.StreamManagement
	switch {
	case m.Max == 0:
	case m.Max%time.Second != 0:
		r.add(at+"max", "%s is no number of whole seconds, which is all that XEP-0198 can say", show(m.Max))
	default:
		between(r, at+"max", m.Max, 10*time.Second, 24*time.Hour)
	}
	if m.AwayAfter != 0 {
		between(r, at+"away_after", m.AwayAfter, time.Second, 24*time.Hour)
	}
	between(r, at+"queue", m.Queue, 10, 1_000_000)
	between(r, at+"queue_bytes", m.QueueBytes, 10000, GiB)
	if len(m.Probes) == 0 || len(m.Probes) > 16 {
		r.add(at+"probes", "between 1 and 16 times are needed")
	}
	for i, p := range m.Probes {
		between(r, fmt.Sprintf("%sprobes[%d]", at, i), p, time.Second, 10*time.Minute)
	}
	between(r, at+"ack_delay", m.AckDelay, 0, 10*time.Second)
	between(r, at+"detached", m.Detached, 1, 10000)
}

func checkModules(c *Config, r *report) {
	m := &c.Modules
	between(r, "modules.projects.grace", m.Projects.Grace, 0, 10*time.Minute)
	between(r, "modules.roster.items", m.Roster.Items, 1, 100_000)
	if m.Ping.Interval != 0 {
		between(r, "modules.ping.interval", m.Ping.Interval, 5*time.Second, 24*time.Hour)
	}
	between(r, "modules.ping.timeout", m.Ping.Timeout, time.Second, time.Hour)
	if m.Ping.Interval != 0 && m.Ping.Timeout >= m.Ping.Interval && !r.bad["modules.ping.interval"] {
		r.add("modules.ping.timeout", "%s is not shorter than modules.ping.interval, %s: the next ping would go out before this one is given up", show(m.Ping.Timeout), show(m.Ping.Interval))
	}
	checkAccounts(c, r)
	between(r, "modules.blocking.contacts", m.Blocking.Contacts, 1, 10000)
	checkOffline(m.Offline, r)
	switch g := m.Example.Greeting; {
	case !m.Example.Enabled:
	case strings.TrimSpace(g) == "":
		r.add("modules.example.greeting", "empty: the module has nothing else to say")
	case utf8.RuneCountInString(g) > 1000:
		r.add("modules.example.greeting", "longer than 1000 characters")
	case strings.ContainsFunc(g, unsayable):
		r.add("modules.example.greeting", "contains a control character, which XML cannot carry")
	}
}

// unsayable reports whether XML 1.0 section 2.2 leaves r out.
func unsayable(r rune) bool {
	return unicode.IsControl(r) && r != '\n' && r != '\t' || r == '\ufffe' || r == '\uffff'
}
