package tsung

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net"
	"regexp"
	"testing"
	"time"

	"rollcall/cmd/rollcall/app"
	"rollcall/conf"
	"rollcall/internal/auth"
	"rollcall/server"
	"rollcall/storage"
)

// start starts a server with the bench profile on free ports, and with user1, user2 and
// user3, whose passwords are pass1, pass2 and pass3; the first two share a project. Its
// module answers, in the namespace "pingable", whether the client may be asked if it is
// still there.
func start(t *testing.T, change func(*conf.Config)) *app.App {
	t.Helper()
	c, err := conf.Load("../../deploy/tsung/rollcall.yml")
	if err != nil {
		t.Fatal(err)
	}
	c.DataDir = t.TempDir()
	for i := range c.Listen.TCP {
		c.Listen.TCP[i].Address = "127.0.0.1:0"
	}
	for i := range c.Listen.HTTP {
		c.Listen.HTTP[i].Address = "127.0.0.1:0"
	}
	c.Listen.Metrics, c.Listen.Profiles = "127.0.0.1:0", ""
	c.Log.Level = conf.LogInfo
	if change != nil {
		change(c)
	}
	a, err := app.Start(t.Context(), app.Options{
		Config: c, Modules: []server.Module{looker{}}, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := a.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	var records []storage.Record
	for _, n := range []string{"1", "2", "3"} {
		secret := storage.Credentials{Plain: "pass" + n}
		if c.Storage.SQLite.Passwords == conf.PasswordsSCRAM {
			if secret, err = auth.NewCredentials("pass"+n, auth.MinIterations); err != nil {
				t.Fatal(err)
			}
		}
		records = append(records, storage.Record{User: &storage.UserRecord{
			User: storage.User{ID: "user" + n}, Credentials: &secret,
		}})
	}
	records = append(records, storage.Record{Project: &storage.ProjectRecord{
		Project: storage.Project{ID: "p"}, Members: []string{"user1", "user2"},
	}})
	if err := a.Store().Import(t.Context(), records); err != nil {
		t.Fatal(err)
	}
	return a
}

// looker is the module that knows who is pingable.
type looker struct{}

func (looker) Name() string { return "looker" }

func (looker) Start(h *server.Host) error {
	return h.HandleIQ(server.ToSelf, "pingable", "query", func(_ context.Context, iq *server.IQ) (server.Payload, error) {
		return server.Raw(fmt.Sprintf("<query xmlns='pingable'>%v</query>", iq.Session.Pingable())), nil
	})
}

// patience is how long an answer may take on a machine that does other things too.
const patience = 30 * time.Second

// peer is a connection as tsung sees it.
type peer struct {
	net.Conn
	t   *testing.T
	got string // what came and was not looked at yet
}

func dial(t *testing.T, address net.Addr) *peer {
	t.Helper()
	c, err := net.Dial("tcp", address.String())
	if err != nil {
		t.Fatal(err)
	}
	// The server may have closed it.
	t.Cleanup(func() { _ = c.Close() })
	return &peer{Conn: c, t: t}
}

// dialTCP connects to the listener for XMPP over TCP.
func dialTCP(t *testing.T, a *app.App) *peer {
	t.Helper()
	streams, _ := a.Addresses()
	return dial(t, streams[0])
}

func (p *peer) say(text string) {
	p.t.Helper()
	if _, err := io.WriteString(p, text); err != nil {
		p.t.Fatal(err)
	}
}

// find reads until a regular expression fits, takes everything up to there, and returns
// the groups.
func (p *peer) find(pattern string) []string {
	p.t.Helper()
	re := regexp.MustCompile(pattern)
	if err := p.SetReadDeadline(time.Now().Add(patience)); err != nil {
		p.t.Fatal(err)
	}
	buf := make([]byte, 64<<10)
	for {
		if at := re.FindStringSubmatchIndex(p.got); at != nil {
			groups := re.FindStringSubmatch(p.got)
			p.got = p.got[at[1]:]
			return groups
		}
		n, err := p.Read(buf)
		p.got += string(buf[:n])
		if err != nil && !re.MatchString(p.got) {
			p.t.Fatalf("%v; nothing like %s in %q", err, pattern, p.got)
		}
	}
}

// ask says something and looks for what has to come.
func (p *peer) ask(text, pattern string) []string {
	p.t.Helper()
	p.say(text)
	return p.find(pattern)
}

// What tsung sends.
const header = `<?xml version='1.0'?><stream:stream  id='7' to='localhost' xmlns='jabber:client' version='1.0' xmlns:stream='http://etherx.jabber.org/streams'>`

func authGet(id, user string) string {
	return fmt.Sprintf("<iq id='%s' type='get' ><query xmlns='jabber:iq:auth'><username>%s</username></query></iq>", id, user)
}

func authSet(id, user, secret string) string {
	return fmt.Sprintf("<iq id='%s' type='set' ><query xmlns='jabber:iq:auth'><username>%s</username><resource>tsung</resource>%s</query></iq>", id, user, secret)
}

func sasl(user, password string) string {
	return "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN' >" +
		base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+password)) + "</auth>"
}

const (
	bind    = "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>tsung</resource></bind></iq>"
	session = "<iq type='set' id='s'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>"
	ends    = "</stream:features>"
)

// login logs in as most of the stock scenarios do.
func login(t *testing.T, a *app.App, n string) *peer {
	t.Helper()
	p := dialTCP(t, a)
	p.ask(header, ends)
	p.ask(authGet("1", "user"+n), "<iq [^>]*type='result'.*</iq>")
	p.ask(authSet("2", "user"+n, "<password>pass"+n+"</password>"), "<iq [^>]*type='result'[^>]*/>")
	return p
}

// online logs in and says so.
func online(t *testing.T, a *app.App, n string) *peer {
	t.Helper()
	p := login(t, a, n)
	p.ask("<presence id='3' />", "<presence [^>]*from='user"+n+"@localhost/tsung'[^>]*/?>")
	return p
}
