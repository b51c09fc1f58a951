package commands_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rollcall/internal/jid"
	"rollcall/internal/servertest"
	"rollcall/modules/commands"
	"rollcall/server"
	"rollcall/storage"
)

const (
	admin = "http://jabber.org/protocol/admin#"
	space = "http://jabber.org/protocol/commands"
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

func address(t testing.TB, text string) jid.JID {
	t.Helper()
	j, err := jid.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// start runs a server whose administrator is boss.
func start(t *testing.T, a commands.Accounts, change ...func(*servertest.Options)) *servertest.Server {
	t.Helper()
	o := servertest.Options{
		Directory: servertest.NewDirectory().AddUser("boss", "").AddUser("alice", "").AddUser("bob", ""),
		Modules: []server.Module{commands.New(commands.Options{
			Admins: []jid.JID{address(t, "boss@example.com")}, Accounts: a, Credentials: plain,
		})},
	}
	for _, f := range change {
		f(&o)
	}
	return servertest.New(t, o)
}

// command is a request to go on with a command.
func command(node, id, more string) string {
	return "<command xmlns='" + space + "' node='" + node + "' sessionid='" + id + "'>" + more + "</command>"
}

// begin begins a command and returns its session id.
func begin(t *testing.T, c *servertest.Client, node string) string {
	t.Helper()
	el := c.Ask("set", "example.com", "<command xmlns='"+space+"' node='"+node+"' action='execute'/>").FindElement("./command")
	if el == nil || el.SelectAttrValue("status", "") != "executing" || el.SelectAttrValue("sessionid", "") == "" {
		t.Fatalf("%s did not begin", node)
	}
	return el.SelectAttrValue("sessionid", "")
}

// submit fills in the form of a command: pairs of fields and values.
func submit(fields ...string) string {
	b := "<x xmlns='jabber:x:data' type='submit'>"
	for i := 0; i+1 < len(fields); i += 2 {
		b += "<field var='" + fields[i] + "'><value>" + fields[i+1] + "</value></field>"
	}
	return b + "</x>"
}

// outcome tells of an answer: the status of the command, or the conditions of the error.
func outcome(t *testing.T, c *servertest.Client, payload string) string {
	t.Helper()
	answer := c.Ask("set", "example.com", payload)
	if el := answer.FindElement("./command"); el != nil && answer.SelectAttrValue("type", "") == "result" {
		return el.SelectAttrValue("status", "")
	}
	var names []string
	for _, el := range answer.FindElements("./error/*") {
		if el.Tag != "text" {
			names = append(names, el.Tag)
		}
	}
	return strings.Join(names, " ")
}

func TestForms(t *testing.T) {
	long := strings.Repeat("x", 1025)
	tests := []struct {
		name, node, form string
		err              error
		want, did        string
	}{
		{"add", "add-user", submit("accountjid", "Carol@example.com", "password", "p", "password-verify", "p", "given_name", "Carol", "surname", "C."),
			nil, "completed", `add carol "Carol C." p`},
		{"add without the password again", "add-user", submit("accountjid", "carol@example.com", "password", "p"), nil, "completed", `add carol "" p`},
		{"add what is there", "add-user", submit("accountjid", "alice@example.com", "password", "p"), storage.ErrExists, "conflict", `add alice "" p`},
		{"passwords differ", "add-user", submit("accountjid", "carol@example.com", "password", "p", "password-verify", "q"), nil, "bad-request bad-payload", ""},
		{"no password", "add-user", submit("accountjid", "carol@example.com"), nil, "bad-request bad-payload", ""},
		{"empty password", "add-user", submit("accountjid", "carol@example.com", "password", ""), nil, "bad-request bad-payload", ""},
		{"forbidden password", "add-user", submit("accountjid", "carol@example.com", "password", "&#9;"), nil, "bad-request bad-payload", ""},
		{"long password", "add-user", submit("accountjid", "carol@example.com", "password", long), nil, "bad-request bad-payload", ""},
		{"long name", "add-user", submit("accountjid", "carol@example.com", "password", "p", "surname", strings.Repeat(long, 2)), nil, "bad-request bad-payload", ""},
		{"elsewhere", "add-user", submit("accountjid", "carol@example.net", "password", "p"), nil, "bad-request bad-payload", ""},
		{"full address", "add-user", submit("accountjid", "carol@example.com/web", "password", "p"), nil, "bad-request bad-payload", ""},
		{"like a guest", "add-user", submit("accountjid", "anonymous-abcdefghijklmnopqrstuvwxyz@example.com", "password", "p"), nil, "bad-request bad-payload", ""},
		{"no account", "add-user", submit("accountjid", "example.com", "password", "p"), nil, "bad-request bad-payload", ""},
		{"no address", "add-user", submit("accountjid", "a b@", "password", "p"), nil, "bad-request bad-payload", ""},
		{"store is away", "add-user", submit("accountjid", "carol@example.com", "password", "p"), storage.ErrUnavailable, "resource-constraint", `add carol "" p`},
		{"store breaks", "add-user", submit("accountjid", "carol@example.com", "password", "p"), fmt.Errorf("disk"), "internal-server-error", `add carol "" p`},
		{"store refuses", "add-user", submit("accountjid", "carol@example.com", "password", "p"), storage.ErrInvalid, "bad-request bad-payload", `add carol "" p`},
		{"password", "change-user-password", submit("accountjid", "alice@example.com", "password", "new"), nil, "completed", "password alice new"},
		{"password of nobody", "change-user-password", submit("accountjid", "zoe@example.com", "password", "new"), storage.ErrNotFound, "item-not-found", "password zoe new"},
		{"password, no account", "change-user-password", submit("password", "new"), nil, "bad-request bad-payload", ""},
		{"remove", "delete-user", "<x xmlns='jabber:x:data' type='submit'><field var='accountjids'><value>alice@example.com</value><value>bob@example.com</value></field></x>",
			nil, "completed", "remove alice remove bob"},
		{"remove nobody", "delete-user", submit("accountjids", "zoe@example.com"), storage.ErrNotFound, "item-not-found", "remove zoe"},
		{"one wrong removes none", "delete-user", "<x xmlns='jabber:x:data' type='submit'><field var='accountjids'><value>alice@example.com</value><value>bob@example.net</value></field></x>",
			nil, "bad-request bad-payload", ""},
		{"two for one", "add-user", "<x xmlns='jabber:x:data' type='submit'><field var='accountjid'><value>alice@example.com</value><value>bob@example.com</value></field><field var='password'><value>p</value></field></x>",
			nil, "bad-request bad-payload", ""},
		{"twice", "delete-user", submit("accountjids", "alice@example.com", "accountjids", "bob@example.com"), nil, "bad-request bad-payload", ""},
		{"another form", "delete-user", submit("FORM_TYPE", "urn:other", "accountjids", "alice@example.com"), nil, "bad-request bad-payload", ""},
		{"not submitted", "delete-user", "<x xmlns='jabber:x:data' type='form'/>", nil, "bad-request bad-payload", ""},
		{"type cancel", "delete-user", "<x xmlns='jabber:x:data' type='cancel'><field var='accountjids'><value>alice@example.com</value></field></x>", nil, "completed", "remove alice"},
		{"no form", "delete-user", "", nil, "bad-request bad-payload", ""},
		{"end nobody's session", "end-user-session", submit("accountjids", " "), nil, "bad-request bad-payload", ""},
		{"list some", "get-online-users-list", submit("max_items", "25"), nil, "completed", ""},
		{"list none", "get-online-users-list", submit("max_items", "0"), nil, "bad-request bad-payload", ""},
		{"list, no number", "get-online-users-list", submit("max_items", "many"), nil, "bad-request bad-payload", ""},
		{"list all", "get-online-users-list", submit(), nil, "completed", ""},
		{"announce nothing", "announce", submit("announcement", ""), nil, "bad-request bad-payload", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			store := &accounts{err: tt.err}
			boss := start(t, store).Login("boss/desk")
			got := outcome(t, boss, command(admin+tt.node, begin(t, boss, admin+tt.node), tt.form))
			if did := strings.Join(store.did, " "); got != tt.want || did != tt.did {
				t.Errorf("%s, and did %s; want %s, %s", got, did, tt.want, tt.did)
			}
		})
	}
}

func TestActions(t *testing.T) {
	boss := start(t, &accounts{}).Login("boss/desk")
	node := admin + "delete-user"
	id := begin(t, boss, node)
	with := func(action, id string) string {
		return "<command xmlns='" + space + "' node='" + node + "' action='" + action + "' sessionid='" + id + "'/>"
	}
	for _, tt := range []struct{ name, payload, want string }{
		{"prev", with("prev", id), "bad-request bad-action"},
		{"next", with("next", id), "bad-request bad-action"},
		{"unknown action", with("destroy", id), "bad-request malformed-action"},
		{"of another command", command(admin+"announce", id, ""), "bad-request bad-sessionid"},
		{"unknown session", with("complete", "none"), "not-allowed session-expired"},
		{"begin with next", with("next", ""), "bad-request bad-action"},
		{"begin with complete", with("complete", ""), "bad-request bad-action"},
		{"cancel", with("cancel", id), "canceled"},
		{"cancelled", with("cancel", id), "not-allowed session-expired"},
		{"no node", "<command xmlns='" + space + "'/>", "item-not-found"},
		{"ping by complete", "<command xmlns='" + space + "' node='ping' action='complete'/>", "completed"},
	} {
		if got := outcome(t, boss, tt.payload); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
	boss.Match("<iq type='error' from='example.com' to='{boss}' id='{any}'><error type='modify'><bad-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>...</error></iq>",
		boss.Ask("get", "example.com", "<command xmlns='"+space+"' node='ping'/>"))
}

// TestMended sends a form again that was wrong at first.
func TestMended(t *testing.T) {
	store := &accounts{}
	boss := start(t, store).Login("boss/desk")
	id := begin(t, boss, admin+"delete-user")
	for _, tt := range []struct{ form, want string }{
		{submit("accountjids", "nobody"), "bad-request bad-payload"},
		{submit("accountjids", "alice@example.com"), "completed"},
		{submit("accountjids", "alice@example.com"), "not-allowed session-expired"},
	} {
		if got := outcome(t, boss, command(admin+"delete-user", id, tt.form)); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.form, got, tt.want)
		}
	}
	if len(store.did) != 1 {
		t.Errorf("did %v", store.did)
	}
}

// TestSessions: a session is its connection's, ends with it, with time, and when there
// are too many.
func TestSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, &accounts{})
		node := admin + "delete-user"
		form := submit("accountjids", "bob@example.com")
		desk, phone := s.Login("boss/desk"), s.Login("boss/phone")
		id := begin(t, desk, node)
		if got := outcome(t, phone, command(node, id, form)); got != "bad-request bad-sessionid" {
			t.Errorf("another connection's session: %s", got)
		}
		time.Sleep(10*time.Minute - time.Second)
		late := begin(t, desk, node)
		time.Sleep(time.Second)
		if got := outcome(t, desk, command(node, id, form)); got != "not-allowed session-expired" {
			t.Errorf("after ten minutes: %s", got)
		}
		for range 15 {
			begin(t, desk, node)
		}
		other := begin(t, phone, node)
		if got := outcome(t, desk, command(node, late, "")); got != "bad-request bad-payload" {
			t.Errorf("the oldest of 16: %s", got)
		}
		begin(t, desk, node)
		if got := outcome(t, desk, command(node, late, "")); got != "not-allowed session-expired" {
			t.Errorf("the oldest of 17: %s", got)
		}
		if got := outcome(t, phone, command(node, other, "")); got != "bad-request bad-payload" {
			t.Errorf("another connection's: %s", got)
		}
		phone.Drop()
		if got := outcome(t, s.Login("boss/phone"), command(node, other, "")); got != "not-allowed session-expired" {
			t.Errorf("after the connection's end: %s", got)
		}
	})
}

// TestProduct: where users belong to the product, nobody changes them here.
func TestProduct(t *testing.T) {
	boss := start(t, nil).Login("boss/desk")
	for _, node := range []string{"add-user", "delete-user", "change-user-password"} {
		if got := outcome(t, boss, "<command xmlns='"+space+"' node='"+admin+node+"'/>"); got != "not-allowed" {
			t.Errorf("%s: %s", node, got)
		}
	}
	begin(t, boss, admin+"end-user-session")
}

func TestEndSessions(t *testing.T) {
	s := start(t, nil)
	boss, web, phone := s.Login("boss/desk"), s.Login("alice/web"), s.Login("alice/phone")
	node := admin + "end-user-session"
	if got := outcome(t, boss, command(node, begin(t, boss, node), submit("accountjids", "alice@example.com/web"))); got != "completed" {
		t.Fatal(got)
	}
	web.ExpectClosed(server.ReasonEnded)
	if phone.Closed() {
		t.Fatal("the other session ended too")
	}
	again := s.Login("alice/web")
	if got := outcome(t, boss, command(node, begin(t, boss, node), submit("accountjids", "alice@example.com"))); got != "completed" {
		t.Fatal(got)
	}
	again.ExpectClosed(server.ReasonEnded)
	phone.ExpectClosed(server.ReasonEnded)
}

func TestValidate(t *testing.T) {
	for _, tt := range []struct {
		name string
		o    commands.Options
		ok   bool
	}{
		{"nobody", commands.Options{}, true},
		{"somebody", commands.Options{Admins: []jid.JID{address(t, "boss@example.com")}}, true},
		{"a host", commands.Options{Admins: []jid.JID{address(t, "example.com")}}, false},
		{"a connection", commands.Options{Admins: []jid.JID{address(t, "boss@example.com/desk")}}, false},
		{"no credentials", commands.Options{Accounts: &accounts{}}, false},
	} {
		if err := commands.New(tt.o).Validate(); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
