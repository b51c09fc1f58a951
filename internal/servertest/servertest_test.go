package servertest

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"rollcall/server"
	"rollcall/storage"
)

func TestMessageBetweenTwo(t *testing.T) {
	s := New(t, Options{Directory: NewDirectory().AddUser("alice", "Alice").AddUser("bob", "Bob")})
	alice, bob := s.Login("alice/web"), s.Online("bob")
	if alice.JID.String() != "alice@example.com/web" || bob.JID.Resource() == "" {
		t.Errorf("bound %s and %s", alice, bob)
	}
	alice.Send(`<message to="bob@example.com" type="chat" id="1"><body>hi &amp; ho</body></message>` +
		"<message to='{nobody' id='2'/>")
	bob.Expect("<message from='{alice}' to='bob@example.com' type='chat' id='{id}'><body>hi &amp; ho</body></message>")
	alice.Expect("<message from='{any}' to='{alice}' type='error' id='2'>...</message>")
	alice.ExpectNothing()
	bob.Send("<message to='alice@example.com/web' id='{id}'/>")
	alice.ExpectAnyOrder("<message from='{bob}' to='{alice/web}' id='{any}'/>")
}

func TestAskLeavesTheRest(t *testing.T) {
	s := New(t, Options{Directory: NewDirectory().AddUser("alice", "")})
	alice := s.Login("alice/web")
	alice.Send("<message to='nobody@example.com' id='1'/>")
	alice.Match("<iq type='error' from='example.com' to='{alice}' id='{any}'>...</iq>",
		alice.Ask("get", Host, "<x xmlns='nowhere'/>"))
	alice.Expect("<message type='error' from='nobody@example.com' to='{alice}' id='1'>...</message>")
	if len(alice.Drain()) != 0 {
		t.Error("something is left")
	}
}

func TestEndsOfStreams(t *testing.T) {
	dir := NewDirectory().AddUser("alice", "").AddUser("bob", "").AddUser("carol", "").AddUser("dave", "")
	s := New(t, Options{Directory: dir})
	alice, bob, carol, dave := s.Login("alice/a"), s.Login("bob/b"), s.Online("carol/c"), s.Login("dave/d")
	alice.Hangup()
	alice.ExpectClosed(server.ReasonClient)
	bob.Drop()
	bob.ExpectClosed(server.ReasonLost)
	carol.Stall()
	dave.Send("<message to='carol@example.com' type='chat'/>")
	carol.ExpectClosed(server.ReasonSlowReader)
	dir.RemoveUser("dave")
	dave.ExpectClosed(server.ReasonUserRemoved)
	if !dave.Closed() {
		t.Error("not closed")
	}
}

func TestShutdownInBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(t, Options{Directory: NewDirectory().AddUser("alice", ""), Hosts: []string{"a.example", "b.example"}})
		alice, late := s.Login("alice@b.example/web"), s.Dial()
		late.Open("a.example")
		time.Sleep(time.Minute)
		late.ExpectClosed(server.ReasonLoginTime)
		if late.Headers()[0].From != "a.example" {
			t.Errorf("headers %+v", late.Headers())
		}
		s.Stop()
		alice.ExpectClosed(server.ReasonShutdown)
	})
}

type breaks struct{}

func (breaks) Name() string { return "breaks" }

func (breaks) Start(h *server.Host) error {
	h.OnSetPresence(0, func(context.Context, *server.SetPresence) { panic("on purpose") })
	return nil
}

func TestPanicsAreCounted(t *testing.T) {
	s := New(t, Options{
		Directory: NewDirectory().AddUser("alice", ""), Modules: []server.Module{breaks{}}, Panics: true,
	})
	s.Online("alice/web")
	if n := s.Metric("rollcall_panics_total"); n != 1 {
		t.Errorf("%v panics", n)
	}
}

func TestDirectory(t *testing.T) {
	dir := NewDirectory()
	var got []storage.Change
	stop := dir.watch(func(c storage.Change) { got = append(got, c) })
	dir.AddUser("alice", "Alice").AddUser("alice", "Al").AddUser("alice", "Al").
		AddProject("p", "P", "alice", "bob").AddProject("p", "Q").Join("q", "alice").Join("q", "alice").
		Leave("q", "carol").Leave("none", "alice").RemoveUser("alice").RemoveProject("p").RemoveProject("p")
	stop()
	dir.AddUser("bob", "Bob")
	want := []storage.Change{
		{Kind: storage.UserChanged, User: "alice"},
		{Kind: storage.MemberAdded, User: "alice", Project: "p"},
		{Kind: storage.MemberAdded, User: "bob", Project: "p"},
		{Kind: storage.ProjectChanged, Project: "p"},
		{Kind: storage.MemberAdded, User: "alice", Project: "q"},
		{Kind: storage.MemberRemoved, User: "alice", Project: "p"},
		{Kind: storage.MemberRemoved, User: "alice", Project: "q"},
		{Kind: storage.UserRemoved, User: "alice"},
		{Kind: storage.MemberRemoved, User: "bob", Project: "p"},
		{Kind: storage.ProjectRemoved, Project: "p"},
	}
	if len(got) != len(want) {
		t.Fatalf("%d changes: %+v", len(got), got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("change %d: %+v, want %+v", i, got[i], want[i])
		}
	}
	if _, err := dir.Members(t.Context(), "p"); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("members of nothing: %v", err)
	}
	dir.Fail(storage.ErrUnavailable)
	if _, err := dir.ProjectsOf(t.Context(), "bob"); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("failing: %v", err)
	}
	if dir.Reads() != 2 {
		t.Errorf("%d reads", dir.Reads())
	}
}
