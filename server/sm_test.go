package server_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"rollcall/conf"
	"rollcall/internal/jid"
	"rollcall/internal/servertest"
	"rollcall/server"
)

const sm = "xmlns='urn:xmpp:sm:3'"

var manageable = server.Info{Kind: "test", Remote: "test", Secure: true, Manageable: true}

// phone is a client that manages its stream.
type phone struct {
	*servertest.Client
	s  *servertest.Server
	id string // for resumption
}

// arrive is a connection of somebody who has authenticated.
func arrive(s *servertest.Server, user string) *phone {
	p := &phone{Client: s.DialWith(manageable, server.Listener{}), s: s}
	p.Open("example.com")
	p.Authenticate(user, servertest.Password)
	p.Open("example.com")
	return p
}

// call is a phone that is bound, manages its stream and is available.
func call(s *servertest.Server, address string) *phone {
	user, resource, _ := strings.Cut(address, "/")
	p := arrive(s, user)
	p.Bind(resource)
	p.Send("<enable " + sm + " resume='true'/>")
	p.id = p.Expect("<enabled "+sm+" id='{any}' resume='true' max='300'/>").SelectAttrValue("id", "")
	p.Send("<presence/>")
	p.Expect(fmt.Sprintf("<presence from='%s' to='%[1]s'/>", p.JID))
	p.Expect("<r " + sm + "/>")
	p.ack(1)
	return p
}

func (p *phone) ack(h int) { p.Send(fmt.Sprintf("<a %s h='%d'/>", sm, h)) }

// call2 is call of somebody who has another resource that is available.
func call2(s *servertest.Server, address string) *phone {
	p := arrive(s, strings.Split(address, "/")[0])
	p.Bind(strings.Split(address, "/")[1])
	p.Send("<enable " + sm + " resume='true'/>")
	p.id = p.Next().SelectAttrValue("id", "")
	p.Send("<presence/>")
	p.Drain()
	p.ack(2)
	return p
}

// again resumes the stream on a new connection; sent and got say what the client sent
// and got.
func (p *phone) again(sent, got int) *phone {
	n := arrive(p.s, p.JID.Local())
	n.JID, n.id = p.JID, p.id
	n.Send(fmt.Sprintf("<resume %s h='%d' previd='%s'/>", sm, got, p.id))
	n.Expect(fmt.Sprintf("<resumed %s h='%d' previd='%s'/>", sm, sent, p.id))
	return n
}

func say(to jid.JID, id string) string {
	return fmt.Sprintf("<message to='%s' id='%s' type='chat'><body>%[2]s</body></message>", to, id)
}

func got(id string) string {
	return "<message from='{any}' to='{any}' id='" + id + "' type='chat'>...</message>"
}

func refusal(condition string) string {
	return "<failed " + sm + "><" + condition + " xmlns='" + stanzas + "'/></failed>"
}

func TestManagement(t *testing.T) {
	s := servertest.New(t, servertest.Options{Directory: people()})
	p := arrive(s, "bob")
	p.Send("<enable " + sm + "/>")
	p.Expect(refusal("unexpected-request"))
	p.Send("<r " + sm + "/>")
	p.Expect(refusal("unexpected-request"))
	p.Bind("phone")
	for _, early := range []string{"r", "a h='0'", "resume h='0' previd='x'"} {
		p.Send("<" + early + " " + sm + "/>")
		p.Expect(refusal("unexpected-request"))
	}
	p.Send("<enable " + sm + " resume='1' max='60'/>")
	p.Expect("<enabled " + sm + " id='{any}' resume='true' max='60'/>")
	p.Send("<enable " + sm + "/>")
	p.Expect(refusal("unexpected-request"))
	p.Send("<r " + sm + "/>")
	p.Expect("<a " + sm + " h='0'/>")
	p.Send("<message to='nobody@example.com' type='headline'/> <presence/><iq type='result' id='1'/>")
	p.Expect(fmt.Sprintf("<presence from='%s' to='%[1]s'/>", p.JID))
	p.Expect("<r " + sm + "/>")
	p.Send("<r " + sm + "/>")
	p.Expect("<a " + sm + " h='3'/>")
	p.ExpectNothing()

	// Nothing is asked for again before the answer, and only for what was not asked for.
	other := s.Online("alice/web")
	other.Send(say(p.JID, "1") + say(p.JID, "2"))
	p.Expect(got("1"))
	p.Expect(got("2"))
	p.ExpectNothing()
	p.ack(1)
	p.Expect("<r " + sm + "/>")
	p.ack(1)
	p.ExpectNothing()
	p.ack(3)
	p.ExpectNothing()
	p.ack(5)
	if end := p.ExpectClosed(server.ReasonStream); end.Condition() != "undefined-condition" ||
		end.Detail != "<handled-count-too-high "+sm+" h='5' send-count='3'/>" {
		t.Errorf("closed with %+v", end)
	}
}

func TestNotManaged(t *testing.T) {
	options := conf.Default().StreamManagement
	s := servertest.New(t, servertest.Options{Directory: people()})
	c := s.Login("bob/web")
	c.Send("<enable " + sm + "/>")
	c.Expect(refusal("feature-not-implemented"))
	c.Send("<b " + sm + "/>")
	c.ExpectClosed(server.ReasonStream)

	options.Enabled = false
	s = servertest.New(t, servertest.Options{Directory: people(), StreamManagement: &options})
	p := arrive(s, "bob")
	p.Bind("phone")
	p.Send("<enable " + sm + " resume='true'/>")
	p.Expect(refusal("feature-not-implemented"))

	options.Enabled, options.Max = true, 0
	var host hostOf
	s = servertest.New(t, servertest.Options{Directory: people(), StreamManagement: &options, Modules: []server.Module{&host}})
	p = arrive(s, "bob")
	p.Bind("phone")
	p.Send("<enable " + sm + " resume='true'/>")
	p.Expect("<enabled " + sm + " id='{absent}' resume='{absent}' max='{absent}'/>")
	p.Drop()
	p.ExpectClosed(server.ReasonLost)
	if len(host.Sessions(p.JID.Bare())) > 0 {
		t.Error("the session waits")
	}
}

func TestResume(t *testing.T) {
	s := servertest.New(t, servertest.Options{Directory: people()})
	alice, p := s.Online("alice/web"), call(s, "bob/phone")
	alice.Send(say(p.JID, "1") + say(p.JID, "2"))
	p.Drain()
	p.Drop()
	if end := p.ExpectClosed(server.ReasonLost); !end.Cut {
		t.Error("the stream has ended")
	}
	alice.Send(say(p.JID, "3") + "<presence to='" + p.JID.String() + "'><status>a</status></presence>" +
		say(p.JID, "4") + "<presence to='" + p.JID.String() + "'><status>b</status></presence>")
	alice.ExpectNothing()

	p = p.again(1, 2) // the first message came
	for _, id := range []string{"2", "3", "4"} {
		p.Expect(got(id))
	}
	p.Expect("<presence from='{alice}' to='{any}'><status>b</status></presence>")
	p.Expect("<r " + sm + "/>")
	p.ack(6)
	p.ExpectNothing()
	p.Send("<r " + sm + "/>")
	p.Expect("<a " + sm + " h='1'/>")

	// Once more, from the second connection.
	p.Drop()
	p = p.again(1, 6)
	p.ExpectNothing()
	p.Send(say(alice.JID, "5"))
	alice.Expect(got("5"))
	p.Hangup()
	p.ExpectClosed(server.ReasonClient)
	alice.Send(say(p.JID, "6"))
	alice.Expect("<message type='error' id='6'>...</message>")
}

func TestTakeOver(t *testing.T) {
	s := servertest.New(t, servertest.Options{Directory: people()})
	alice, old := s.Online("alice/web"), call(s, "bob/phone")
	alice.Send(say(old.JID, "1"))
	old.Drain()
	p := old.again(1, 1)
	if end := old.ExpectClosed(server.ReasonResumed); end.Condition() != "conflict" {
		t.Errorf("condition %q", end.Condition())
	}
	p.Expect(got("1"))
	p.Expect("<r " + sm + "/>")
	// What still comes over the old connection is nobody's.
	old.Send(say(alice.JID, "lost"))
	old.Session().Broken(server.Close{Reason: server.ReasonLost})
	old.Drop()
	old.Hangup()
	alice.ExpectNothing()
	p.ack(2)
	p.Send(say(alice.JID, "2") + "<r " + sm + "/>")
	alice.Expect(got("2"))
	p.Expect("<a " + sm + " h='2'/>")
	if p.Closed() {
		t.Error("the end of the old connection is the end of the new one")
	}
	// And back: a connection has one stream only.
	p.Send("<resume " + sm + " h='1' previd='" + p.id + "'/>")
	p.Expect(refusal("unexpected-request"))
	if n := s.Metric("rollcall_connections"); n != 2 {
		t.Errorf("%v connections", n)
	}
	if n := s.Metric("rollcall_sessions"); n != 2 {
		t.Errorf("%v sessions", n)
	}
}

func TestResumeRefused(t *testing.T) {
	s := servertest.New(t, servertest.Options{Directory: people()})
	p := call(s, "bob/phone")
	p.Drop()
	resume := func(n *phone, id, h string) { n.Send(fmt.Sprintf("<resume %s h='%s' previd='%s'/>", sm, h, id)) }

	thief := arrive(s, "alice")
	resume(thief, p.id, "1")
	thief.Expect(refusal("item-not-found"))
	thief.Bind("phone")

	n := arrive(s, "bob")
	resume(n, "x", "1")
	n.Expect(refusal("item-not-found"))
	for _, h := range []string{"", "-1", "x", "4294967296"} {
		resume(n, p.id, h)
		n.Expect(refusal("bad-request"))
	}
	resume(n, p.id, "2")
	if end := n.ExpectClosed(server.ReasonStream); end.Condition() != "undefined-condition" {
		t.Errorf("condition %q", end.Condition())
	}

	n = arrive(s, "bob")
	s.KickUser(p.JID.Bare(), server.Close{Reason: server.ReasonUserRemoved})
	for s.Metric("rollcall_detached_sessions") > 0 {
		runtime.Gosched()
	}
	resume(n, p.id, "1")
	n.Expect("<failed " + sm + " h='1'><item-not-found xmlns='" + stanzas + "'/></failed>")
	n.Bind("phone")
	resume(thief, p.id, "1")
	thief.Expect(refusal("unexpected-request"))
}

// A new connection that takes the resource instead of resuming gets what the old one
// did not acknowledge.
func TestReplacedNotResumed(t *testing.T) {
	s := servertest.New(t, servertest.Options{Directory: people()})
	alice, p := s.Online("alice/web"), call(s, "bob/phone")
	alice.Send(say(p.JID, "1") + say(p.JID, "2"))
	p.ack(2)
	p.Drop()
	alice.Send(say(p.JID, "3"))
	n := s.Login("bob/phone")
	n.Expect(got("2"))
	n.Expect(got("3"))
	n.ExpectNothing()
	alice.ExpectNothing()
}
