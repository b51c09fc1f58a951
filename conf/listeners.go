package conf

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"rollcall/internal/jid"
)

// address is a parsed listening address.
type address struct {
	path string
	text string
	host string     // what was written before the port
	ip   netip.Addr // invalid for a host name
	port int
}

func parseAddress(path, text string) (address, string) {
	a := address{path: path, text: text}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		hint := `write host:port, ":5222" for port 5222 of every address`
		if ip, err := netip.ParseAddr(text); err == nil && ip.Is6() {
			hint = "put an IPv6 address in brackets and give a port, as in [::1]:5222"
		}
		return a, quote(text) + " is not an address to listen on: " + hint
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return a, fmt.Sprintf("%s is not a port: write a number from 0 to 65535", quote(port))
	}
	a.host, a.port = strings.ToLower(host), int(n)
	switch ip, err := netip.ParseAddr(host); {
	case err == nil:
		a.ip = ip.Unmap()
	case a.host == "":
		a.ip = netip.IPv6Unspecified()
	case a.host == "localhost":
		// What net.Listen makes of it where IPv4 exists.
		a.ip = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	default:
		// A name that ends in a number is a mistyped IPv4 address.
		last := strings.Trim(host[strings.LastIndexByte(host, '.')+1:], "0123456789")
		if _, err := jid.New("", host, ""); err != nil || last == "" {
			return a, fmt.Sprintf("%s is neither an IP address nor a host name", quote(host))
		}
	}
	return a, ""
}

// loopback reports whether only programs on this machine can connect. A name
// other than localhost may mean anything.
func (a address) loopback() bool { return a.ip.IsValid() && a.ip.IsLoopback() }

// clashes reports whether the system would refuse to listen on both. Without a
// host, with 0.0.0.0 and with [::] Go listens on all addresses of both families.
func (a address) clashes(b address) bool {
	switch {
	case a.port == 0 || a.port != b.port:
		return false
	case a.ip.IsUnspecified() || b.ip.IsUnspecified():
		return true
	case a.ip.IsValid() != b.ip.IsValid():
		return false
	case a.ip.IsValid():
		return a.ip == b.ip
	}
	return a.host == b.host
}

// listeners checks what concerns more than one listener.
type listeners struct {
	*report
	byPort map[int][]address
	open   string // path of a listener that other machines can reach
}

func checkListeners(c *Config, r *report) {
	ls := listeners{report: r, byPort: map[int][]address{}}
	if len(c.Listen.TCP) == 0 && len(c.Listen.HTTP) == 0 {
		r.add("listen", "no listener: nobody could connect")
	}
	for i := range c.Listen.TCP {
		ls.tcp(fmt.Sprintf("listen.tcp[%d]", i), &c.Listen.TCP[i])
	}
	for i := range c.Listen.HTTP {
		ls.http(fmt.Sprintf("listen.http[%d]", i), &c.Listen.HTTP[i])
	}
	ls.components(c)
	if c.Listen.Metrics != "" {
		ls.address("listen.metrics", c.Listen.Metrics)
	}
	if c.Listen.Profiles != "" {
		ls.profiles("listen.profiles", c.Listen.Profiles)
	}
	if c.Storage.SQLite.Passwords == PasswordsPlain && ls.open != "" {
		r.add("storage.sqlite.passwords", "plain is for tests on one machine, and %s can be reached from others: bind every listener to 127.0.0.1, or write scram", ls.open)
	}
}

// address checks one address against all before it.
func (ls *listeners) address(path, text string) (address, bool) {
	if text == "" {
		ls.add(path, `missing: write host:port, ":5222" for port 5222 of every address`)
		return address{}, false
	}
	a, problem := parseAddress(path, text)
	if problem != "" {
		ls.add(path, "%s", problem)
		return a, false
	}
	for _, b := range ls.byPort[a.port] {
		if a.clashes(b) {
			ls.addEither(path, b.path, quote(a.text))
			return a, true // one clash says enough
		}
	}
	ls.byPort[a.port] = append(ls.byPort[a.port], a)
	return a, true
}

// profiles are for who runs the server, and asking for them costs it time.
func (ls *listeners) profiles(path, text string) {
	if a, ok := ls.address(path, text); ok && !a.loopback() {
		ls.add(path, "%s can be reached from other machines, which could look into the process and slow it down: bind to 127.0.0.1, and come through an ssh tunnel", quote(text))
	}
}

func (ls *listeners) tcp(path string, l *TCPListener) {
	if ls.bad[path] {
		return
	}
	a, ok := ls.address(path+".address", l.Address)
	exposed := ok && !a.loopback()
	if exposed && ls.open == "" {
		ls.open = path
	}
	switch {
	case l.TLS == TLSNone && l.RequireTLS:
		ls.add(path+".require_tls", "TLS cannot be required where tls is none")
	case l.TLS == TLSNone && exposed && !l.AllowInsecure:
		ls.add(path+".tls", "none would send everything in the clear, and %s can be reached from other machines: write starttls or direct, bind to 127.0.0.1, or say allow_insecure: true", quote(l.Address))
	case l.TLS != TLSNone && l.RequireTLS && l.PlainWithoutTLS:
		ls.add(path+".plain_without_tls", "has no effect, since nobody may log in here without TLS: remove it, or say require_tls: false")
	case l.TLS == TLSDirect && l.PlainWithoutTLS:
		ls.add(path+".plain_without_tls", "has no effect where tls is direct: remove it")
	}
	if l.PlainWithoutTLS && exposed && !l.AllowInsecure {
		ls.add(path+".plain_without_tls", "would let passwords travel in the clear, and %s can be reached from other machines: remove it, bind to 127.0.0.1, or say allow_insecure: true", quote(l.Address))
	}
	if l.Bench && exposed && !l.AllowInsecure {
		ls.add(path+".bench", "would keep clients that are dead, and %s can be reached from other machines: remove it, bind to 127.0.0.1, or say allow_insecure: true", quote(l.Address))
	}
}

func (ls *listeners) http(path string, l *HTTPListener) {
	if ls.bad[path] {
		return
	}
	a, ok := ls.address(path+".address", l.Address)
	exposed := ok && !a.loopback()
	if exposed && ls.open == "" {
		ls.open = path
	}
	switch {
	case l.PlainWithoutTLS && l.TLS == TLSDirect:
		ls.add(path+".plain_without_tls", "has no effect where tls is direct: remove it")
	case l.PlainWithoutTLS && exposed && !l.AllowInsecure && len(l.TrustedProxies) == 0:
		ls.add(path+".plain_without_tls", "would let passwords travel in the clear, and %s can be reached from other machines: remove it, bind to 127.0.0.1, name the trusted_proxies in front of it, or say allow_insecure: true", quote(l.Address))
	}
	ls.served(path, l, exposed)
	for i, s := range l.TrustedProxies {
		here := fmt.Sprintf("%s.trusted_proxies[%d]", path, i)
		switch p, err := parsePrefix(s); {
		case err != nil:
			ls.add(here, "%s is neither an IP address nor a network such as 10.0.0.0/8", quote(s))
		case p.Bits() == 0 && !l.AllowInsecure:
			ls.add(here, "%s trusts everybody to say who they are: name the proxies, or say allow_insecure: true", quote(s))
		}
	}
}

// served checks what a listener serves.
func (ls *listeners) served(path string, l *HTTPListener, exposed bool) {
	if !l.BOSH && !l.WebSocket {
		ls.add(path+".bosh", "this listener serves nothing: write bosh: true or websocket: true, or remove the listener")
		return
	}
	if l.Prebind && !l.BOSH {
		ls.add(path+".prebind", "what is prebound is a BOSH session: say bosh: true, or remove it")
	}
	if l.Bench && exposed && !l.AllowInsecure {
		ls.add(path+".bench", "would let clients in that break the protocol, without finding out which are dead, and %s can be reached from other machines: remove it, bind to 127.0.0.1, or say allow_insecure: true", quote(l.Address))
	}
	if l.PublicURL == "" {
		return
	}
	url, ok := parseOrigin(l.PublicURL)
	if !ok {
		ls.add(path+".public_url", "%s is not the beginning of an address: write it as in https://chat.example.org, without a path", quote(l.PublicURL))
		return
	}
	l.PublicURL = url
	if !l.HostMeta {
		ls.add(path+".public_url", "has no effect where host_meta is false: remove it")
	}
}
