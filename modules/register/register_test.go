package register_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rollcall/internal/servertest"
	"rollcall/modules/register"
	"rollcall/server"
	"rollcall/storage"
)

// accounts notes what it is told, and says what it was told to.
type accounts struct {
	did []string
	err error
}

func (a *accounts) note(format string, args ...any) error {
	a.did = append(a.did, fmt.Sprintf(format, args...))
	return a.err
}

func (a *accounts) AddUser(_ context.Context, u storage.UserRecord) error {
	return a.note("add %s %q %s", u.ID, u.Name, u.Credentials.Plain)
}

func (a *accounts) SetCredentials(_ context.Context, user string, c storage.Credentials) error {
	return a.note("password %s %s", user, c.Plain)
}

func (a *accounts) RemoveUser(_ context.Context, user string) error { return a.note("remove %s", user) }

func plain(password string) (storage.Credentials, error) {
	if strings.Contains(password, "\t") {
		return storage.Credentials{}, fmt.Errorf("%w: a tab", storage.ErrInvalid)
	}
	return storage.Credentials{Plain: password}, nil
}

func start(t *testing.T, a *accounts) *servertest.Server {
	t.Helper()
	return servertest.New(t, servertest.Options{
		Directory: servertest.NewDirectory().AddUser("alice", ""), Anonymous: 1,
		Modules: []server.Module{register.New(register.Options{
			Accounts: a, Credentials: plain, PerAddress: 3, Total: 5, Reserved: []string{"boss"},
		})},
	})
}

func ask(c *servertest.Client, typ, fields string) string {
	answer := c.Ask(typ, "", "<query xmlns='jabber:iq:register'>"+fields+"</query>")
	if el := answer.FindElement("./error"); el != nil {
		return el.ChildElements()[0].Tag
	}
	return answer.SelectAttrValue("type", "")
}

func TestRegister(t *testing.T) {
	long := strings.Repeat("x", 1025)
	name := func(n string) string { return "<username>" + n + "</username>" }
	const password = "<password>p</password>"
	tests := []struct {
		name, fields string
		err          error
		want, did    string
	}{
		{"whole", name("Bob") + password + "<name> Bob B. </name>", nil, "result", `add bob "Bob B." p`},
		{"no name", name("bob") + password, nil, "result", `add bob "" p`},
		{"taken", name("alice") + password, storage.ErrExists, "conflict", `add alice "" p`},
		{"no user name", password, nil, "not-acceptable", ""},
		{"no password", name("bob"), nil, "not-acceptable", ""},
		{"long user name", name(long[:257]) + password, nil, "not-acceptable", ""},
		{"no user name at all", name("b/b") + password, nil, "jid-malformed", ""},
		{"like a guest", name("anonymous-abcdefghijklmnopqrstuvwxyz") + password, nil, "not-acceptable", ""},
		{"an administrator", name("BOSS") + password, nil, "conflict", ""}, // whose account nobody has made yet
		{"long password", name("bob") + "<password>" + long + "</password>", nil, "not-acceptable", ""},
		{"forbidden password", name("bob") + "<password>&#9;</password>", nil, "not-acceptable", ""},
		{"long name", name("bob") + password + "<name>" + long + long + "</name>", nil, "not-acceptable", ""},
		{"store is away", name("bob") + password, storage.ErrUnavailable, "resource-constraint", `add bob "" p`},
		{"store refuses", name("bob") + password, storage.ErrInvalid, "not-acceptable", `add bob "" p`},
		{"store breaks", name("bob") + password, errors.New("disk"), "internal-server-error", `add bob "" p`},
		{"remove", "<remove/>", nil, "unexpected-request", ""},
		{"of another namespace", "<username xmlns='urn:x'>bob</username>" + password, nil, "not-acceptable", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := &accounts{err: tt.err}
			c := start(t, a).Dial()
			c.Open(servertest.Host)
			if got := ask(c, "set", tt.fields); got != tt.want || strings.Join(a.did, " ") != tt.did {
				t.Errorf("%s, and did %v; want %s, %s", got, a.did, tt.want, tt.did)
			}
		})
	}
}

// TestOnlyWhereSafe: no password crosses a connection that others may read.
func TestOnlyWhereSafe(t *testing.T) {
	tests := []struct {
		name   string
		secure bool
		l      server.Listener
		ok     bool
	}{
		{"encrypted", true, server.Listener{RequireTLS: true}, true},
		{"plain", false, server.Listener{}, false},
		{"plain, permitted", false, server.Listener{PlainWithoutTLS: true}, true},
		{"plain where TLS comes first", false, server.Listener{RequireTLS: true, PlainWithoutTLS: true}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := start(t, &accounts{}).DialWith(server.Info{Kind: "test", Remote: "test", Secure: tt.secure}, tt.l)
			offered := c.Open(servertest.Host).FindElement("./register") != nil
			want := map[bool]string{true: "result", false: "not-authorized"}[tt.ok]
			if got := ask(c, "get", ""); offered != tt.ok || got != want {
				t.Errorf("get: %s, offered: %v", got, offered)
			}
			if got := ask(c, "set", "<username>bob</username><password>p</password>"); got != want {
				t.Errorf("set: %s", got)
			}
		})
	}
}

func TestLoggedIn(t *testing.T) {
	tests := []struct {
		name, fields string
		err          error
		want, did    string
	}{
		{"password", "<username>Alice</username><password>new</password>", nil, "result", "password alice new"},
		{"somebody else's", "<username>bob</username><password>new</password>", nil, "not-allowed", ""},
		{"no name", "<password>new</password>", nil, "bad-request", ""},
		{"no password", "<username>alice</username><password/>", nil, "bad-request", ""},
		{"nonsense", "<username>a b</username><password>new</password>", nil, "not-allowed", ""},
		{"gone", "<username>alice</username><password>new</password>", storage.ErrNotFound, "registration-required", "password alice new"},
		{"remove", "<remove/>", nil, "result", "remove alice"},
		{"remove and more", "<remove/><password/>", nil, "bad-request", ""},
		{"removed already", "<remove/>", storage.ErrNotFound, "registration-required", "remove alice"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := &accounts{err: tt.err}
			c := start(t, a).Login("alice/web")
			if got := ask(c, "set", tt.fields); got != tt.want || strings.Join(a.did, " ") != tt.did {
				t.Errorf("%s, and did %v; want %s, %s", got, a.did, tt.want, tt.did)
			}
		})
	}
}

func TestTooOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &accounts{}
		s := start(t, a)
		c := s.Dial()
		c.Open(servertest.Host)
		alice := s.Login("alice/web")
		const fields = "<username>bob</username><password>p</password>"
		const change = "<username>alice</username><password>p</password>"
		for i, want := range []string{"result", "result", "result", "resource-constraint"} {
			if got := ask(c, "set", fields); got != want {
				t.Errorf("registration %d: %s, want %s", i, got, want)
			}
		}
		for i, want := range []string{"result", "result", "resource-constraint"} { // five in total
			if got := ask(alice, "set", change); got != want {
				t.Errorf("change %d: %s, want %s", i, got, want)
			}
		}
		time.Sleep(20 * time.Minute)
		if got := ask(alice, "set", change); got != "result" {
			t.Errorf("a third of an hour later: %s", got)
		}
	})
}

// TestGuests have no account to change.
func TestGuests(t *testing.T) {
	a := &accounts{}
	c := start(t, a).Dial()
	c.Open(servertest.Host)
	c.Send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='ANONYMOUS'/>")
	c.Next()
	c.Open(servertest.Host)
	c.Bind("")
	for _, typ := range []string{"get", "set"} {
		if got := ask(c, typ, "<remove/>"); got != "not-allowed" || len(a.did) > 0 {
			t.Errorf("%s: %s, did %v", typ, got, a.did)
		}
	}
}

func TestValidate(t *testing.T) {
	for _, tt := range []struct {
		name string
		o    register.Options
		ok   bool
	}{
		{"whole", register.Options{Accounts: &accounts{}, Credentials: plain, PerAddress: 1, Total: 1}, true},
		{"no accounts", register.Options{Credentials: plain, PerAddress: 1, Total: 1}, false},
		{"no credentials", register.Options{Accounts: &accounts{}, PerAddress: 1, Total: 1}, false},
		{"none permitted", register.Options{Accounts: &accounts{}, Credentials: plain, Total: 1}, false},
	} {
		if err := register.New(tt.o).Validate(); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
