package server_test

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"

	"rollcall/conf"
	"rollcall/internal/servertest"
	"rollcall/server"
	"rollcall/storage"
	"rollcall/storage/memory"
)

// nodesOf starts one server per name, all nodes of one community.
func nodesOf(t *testing.T, hub *memory.Hub, o servertest.Options, names ...string) (nodes []*servertest.Server) {
	t.Helper()
	if o.Directory == nil {
		o.Directory = people()
	}
	for _, name := range names {
		o.Bus = hub.Bus(name)
		node := servertest.New(t, o)
		o.Beside = node
		nodes = append(nodes, node)
	}
	return nodes
}

// meet returns when messages get from each client to each other one: then everything
// their nodes posted before has arrived, too. It takes everything the clients are sent.
func meet(t *testing.T, clients ...*servertest.Client) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for i, c := range clients {
		for j, d := range clients {
			for try := 0; i != j && !reaches(t, c, d, fmt.Sprintf("meet %d %d %d", i, j, try)); try++ {
				if time.Now().After(deadline) {
					t.Fatalf("%s does not know of %s", c, d)
				}
				runtime.Gosched()
			}
		}
	}
	for _, c := range clients {
		c.Drain()
	}
}

// reaches reports whether a message arrives, or comes back.
func reaches(t *testing.T, c, d *servertest.Client, id string) bool {
	t.Helper()
	c.Send("<message to='" + d.JID.String() + "' id='" + id + "'/>")
	has := func(x *servertest.Client) bool {
		return slices.ContainsFunc(x.Drain(), func(el *etree.Element) bool { return el.SelectAttrValue("id", "") == id })
	}
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); runtime.Gosched() {
		if has(d) {
			return true
		}
		if has(c) {
			return false
		}
	}
	t.Fatalf("%s does not reach %s", c, d)
	return false
}

func TestMessagesBetweenNodes(t *testing.T) {
	nodes := nodesOf(t, memory.NewHub(), servertest.Options{}, "a", "b", "c")
	alice, bob := nodes[0].Online("alice/web"), nodes[1].Online("bob/web")
	far := nodes[2].Online("bob/phone")
	bob.Expect("<presence from='{bob/phone}' to='{bob/web}'>...</presence>")
	far.Expect("<presence from='{bob/web}' to='{bob/phone}'>...</presence>")
	meet(t, alice, bob, far)

	alice.Send("<message type='chat' to='bob@example.com/web' id='1'><body>full</body></message>")
	bob.Expect("<message type='chat' from='{alice}' to='{bob/web}' id='1'><body>full</body></message>")
	alice.Send("<message to='bob@example.com' id='2'><body>bare</body></message>")
	bob.Expect("<message from='{alice}' to='bob@example.com' id='2'><body>bare</body></message>")
	far.Expect("<message from='{alice}' to='bob@example.com' id='2'><body>bare</body></message>")
	// A chat message to a resource that is gone goes to the others.
	alice.Send("<message type='chat' to='bob@example.com/gone' id='3'/>")
	bob.Expect("<message type='chat' from='{alice}' to='bob@example.com/gone' id='3'/>")
	far.Expect("<message type='chat' from='{alice}' to='bob@example.com/gone' id='3'/>")
	alice.Send("<message to='carol@example.com' id='4'/>")
	alice.Expect("<message type='error' from='carol@example.com' to='{alice}' id='4'>...</message>")

	far.Send("<presence><priority>-1</priority></presence>")
	bob.Expect("<presence from='{bob/phone}' to='{bob/web}'>...</presence>")
	far.Expect("<presence from='{bob/phone}' to='{bob/phone}'>...</presence>")
	far.Send("<message type='chat' to='alice@example.com/web' id='known'/>")
	alice.Expect("<message type='chat' from='{bob/phone}' to='{alice}' id='known'/>")
	alice.Send("<message to='bob@example.com' id='5'/>")
	bob.Expect("<message from='{alice}' to='bob@example.com' id='5'/>")
	far.ExpectNothing()
}

// What is written to nobody in particular, or with a prefix of the stream, arrives
// elsewhere as it does here.
func TestUnusualMessagesBetweenNodes(t *testing.T) {
	nodes := nodesOf(t, memory.NewHub(), servertest.Options{}, "a", "b")
	web, desk, phone := nodes[0].Online("alice/web"), nodes[0].Login("alice/desk"), nodes[1].Online("alice/phone")
	desk.Send("<presence/>")
	meet(t, web, desk, phone)
	web.Send("<message id='1'/>")
	for _, c := range []*servertest.Client{web, desk, phone} {
		c.Expect("<message from='{alice/web}' to='alice@example.com' id='1'/>")
	}
}

// A message that reaches neither of the two nodes where it is wanted comes back.
func TestBothNodesUnreachable(t *testing.T) {
	hub := memory.NewHub()
	nodes := nodesOf(t, hub, servertest.Options{}, "a", "b", "c")
	alice, one, two := nodes[0].Online("alice/web"), nodes[1].Online("bob/web"), nodes[2].Login("bob/phone")
	two.Send("<presence/>")
	meet(t, alice, one, two)
	hub.Fail(func(string, string, []byte) memory.Fault { return memory.Unreachable })
	for _, id := range []string{"1", "2", "3"} {
		alice.Send("<message to='bob@example.com' id='" + id + "'/>")
		alice.Expect("<message type='error' from='bob@example.com' to='{alice}' id='" + id + "'>...</message>")
		alice.Send("<message type='chat' to='bob@example.com/web' id='f" + id + "'/>")
		alice.Expect("<message type='error' from='bob@example.com/web' to='{alice}' id='f" + id + "'>...</message>")
	}
	alice.Send("<message to='bob@example.com/web' id='x'><stream:x/></message>")
	alice.Expect("<message type='error' from='bob@example.com/web' to='{alice}' id='x'>...</message>")
	alice.ExpectNothing()
}

func TestIQsBetweenNodes(t *testing.T) {
	nodes := nodesOf(t, memory.NewHub(), servertest.Options{}, "a", "b")
	alice, bob := nodes[0].Online("alice/web"), nodes[1].Online("bob/web")
	meet(t, alice, bob)
	alice.Send("<iq type='get' to='bob@example.com/web' id='v'><query xmlns='jabber:iq:version'/></iq>")
	bob.Expect("<iq type='get' from='{alice}' to='{bob}' id='v'><query xmlns='jabber:iq:version'/></iq>")
	bob.Send("<iq type='result' to='alice@example.com/web' id='v'><query xmlns='jabber:iq:version'><name>x</name></query></iq>")
	alice.Expect("<iq type='result' from='{bob}' to='{alice}' id='v'><query xmlns='jabber:iq:version'><name>x</name></query></iq>")
	alice.Send("<iq type='get' to='bob@example.com/gone' id='w'><query xmlns='jabber:iq:version'/></iq>")
	alice.Expect("<iq type='error' from='bob@example.com/gone' to='{alice}' id='w'>...</iq>")
}

// A user's resources see each other wherever they are connected.
func TestOwnPresenceBetweenNodes(t *testing.T) {
	nodes := nodesOf(t, memory.NewHub(), servertest.Options{}, "a", "b")
	web := nodes[0].Online("alice/web")
	web.Send("<presence><show>dnd</show></presence>")
	web.Expect("<presence from='{alice/web}' to='{alice/web}'><show>dnd</show></presence>")
	phone := nodes[1].Online("alice/phone")
	phone.Expect("<presence from='{alice/web}' to='{alice/phone}'><show>dnd</show></presence>")
	web.Expect("<presence from='{alice/phone}' to='{alice/web}'>...</presence>")
	phone.Send("<presence><show>away</show></presence>")
	phone.Expect("<presence from='{alice/phone}' to='{alice/phone}'><show>away</show></presence>")
	web.Expect("<presence from='{alice/phone}' to='{alice/web}'><show>away</show></presence>")
	web.Send("<presence to='alice@example.com' type='probe'/>")
	web.ExpectAnyOrder("<presence from='{alice/web}' to='{alice/web}'><show>dnd</show></presence>",
		"<presence from='{alice/phone}' to='{alice/web}'><show>away</show></presence>")
	phone.Send("<presence type='unavailable'><status>bye</status></presence>")
	web.Expect("<presence type='unavailable' from='{alice/phone}' to='{alice/web}'><status>bye</status></presence>")
	phone.Send("<presence/>")
	web.Expect("<presence from='{alice/phone}' to='{alice/web}'>...</presence>")
	phone.Drop()
	web.Expect("<presence type='unavailable' from='{alice/phone}' to='{alice/web}'/>")
	web.ExpectNothing()
}

func TestDirectedPresenceBetweenNodes(t *testing.T) {
	nodes := nodesOf(t, memory.NewHub(), servertest.Options{}, "a", "b")
	alice, bob := nodes[0].Login("alice/web"), nodes[1].Online("bob/web")
	meet(t, alice, bob)
	alice.Send("<presence to='bob@example.com'><show>chat</show></presence>")
	bob.Expect("<presence from='{alice}' to='{bob}'><show>chat</show></presence>")
	alice.Send("<presence to='bob@example.com/web' type='error'><error type='cancel'><forbidden xmlns='" + stanzas + "'/></error></presence>")
	bob.Expect("<presence type='error' from='{alice}' to='{bob}'>...</presence>")
	alice.Drop()
	bob.Expect("<presence type='unavailable' from='{alice}' to='{bob}'/>")
}

func TestResourceConflictBetweenNodes(t *testing.T) {
	for policy, check := range map[conf.ResourceConflict]func(t *testing.T, old, young *servertest.Client){
		conf.ConflictReplace: func(t *testing.T, old, young *servertest.Client) {
			old.ExpectClosed(server.ReasonReplaced)
		},
		conf.ConflictRename: func(t *testing.T, old, young *servertest.Client) {
			if young.JID == old.JID {
				t.Errorf("both are %s", old.JID)
			}
			meet(t, old, young)
		},
	} {
		t.Run(string(policy), func(t *testing.T) {
			session := conf.Default().Session
			session.ResourceConflict = policy
			nodes := nodesOf(t, memory.NewHub(), servertest.Options{Session: &session}, "a", "b")
			alice, other := nodes[0].Login("alice/web"), nodes[1].Login("bob/web")
			meet(t, alice, other)
			check(t, alice, nodes[1].Login("alice/web"))
		})
	}
	t.Run("refuse", func(t *testing.T) {
		session := conf.Default().Session
		session.ResourceConflict = conf.ConflictRefuse
		nodes := nodesOf(t, memory.NewHub(), servertest.Options{Session: &session}, "a", "b")
		alice, other := nodes[0].Login("alice/web"), nodes[1].Login("bob/web")
		meet(t, alice, other)
		c := nodes[1].Dial()
		c.Open("example.com")
		c.Authenticate("alice", servertest.Password)
		c.Open("example.com")
		c.Send("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>web</resource></bind></iq>")
		c.Expect("<iq type='error' id='b' from='alice@example.com' to='alice@example.com'><error type='cancel'><conflict xmlns='" + stanzas + "'/></error></iq>")
	})
}

// A connection whose address was taken while its node could not be reached is told of no
// more, and ends when it can.
func TestConflictWhileApart(t *testing.T) {
	hub := memory.NewHub()
	nodes := nodesOf(t, hub, servertest.Options{}, "a", "b")
	old, marker := nodes[0].Online("alice/web"), nodes[0].Login("bob/web")
	phone := nodes[1].Login("alice/phone")
	phone.Send("<presence/>")
	meet(t, old, phone, marker)
	hub.Fail(func(string, string, []byte) memory.Fault { return memory.Unreachable })
	young := nodes[1].Login("alice/web")
	young.Send("<presence><show>dnd</show></presence>")
	old.Send("<presence><show>xa</show></presence>")
	phone.Drain()
	young.Drain()
	hub.Fail(nil)
	old.ExpectClosed(server.ReasonReplaced)
	meet(t, marker, phone)
	marker.Send("<message type='chat' to='alice@example.com/web' id='1'/>")
	young.Expect("<message type='chat' from='{bob}' to='alice@example.com/web' id='1'/>")
	for _, c := range []*servertest.Client{phone, young} {
		c.ExpectNothing()
	}
}

// What was lost on the way is asked for again; nobody is told anything twice.
func TestLostItemsAreToldAgain(t *testing.T) {
	hub := memory.NewHub()
	nodes := nodesOf(t, hub, servertest.Options{}, "a", "b")
	web, bob := nodes[0].Online("alice/web"), nodes[1].Online("bob/web")
	stays, leaves, hides := nodes[1].Login("alice/stays"), nodes[1].Login("alice/leaves"), nodes[1].Login("alice/hides")
	hides.Send("<presence/>")
	stays.Send("<presence/>")
	leaves.Send("<presence/>")
	meet(t, web, bob, stays)
	lost := make(chan struct{})
	hub.Fail(func(from, to string, data []byte) memory.Fault {
		if from != "b" {
			return memory.Fine
		}
		if bytes.Contains(data, []byte("alice@example.com/last")) {
			close(lost)
		}
		return memory.Lost
	})
	leaves.Drop()
	hides.Send("<presence type='unavailable'/>")
	stays.Drain()
	comes := nodes[1].Login("alice/comes")
	comes.Send("<presence/>")
	comes.Drain()
	nodes[1].Login("alice/last")
	<-lost
	hub.Fail(nil)
	// The next thing that gets through shows the gap.
	bob.Send("<message type='chat' to='alice@example.com/web' id='1'/>")
	web.Expect("<message type='chat' from='{bob}' to='{alice/web}' id='1'/>")
	web.ExpectAnyOrder("<presence type='unavailable' from='{alice/leaves}' to='{alice/web}'/>",
		"<presence type='unavailable' from='{alice/hides}' to='{alice/web}'/>",
		"<presence from='{alice/comes}' to='{alice/web}'>...</presence>")
	bob.Send("<message type='chat' to='alice@example.com/web' id='2'/>")
	web.Expect("<message type='chat' from='{bob}' to='{alice/web}' id='2'/>")
	meet(t, web, comes, stays)
	web.Send("<message type='chat' to='alice@example.com/leaves' id='3'/>")
	for _, c := range []*servertest.Client{comes, stays} {
		c.Expect("<message type='chat' from='{alice/web}' to='alice@example.com/leaves' id='3'/>")
	}
	web.Expect("<message type='chat' from='{alice/web}' to='alice@example.com/leaves' id='3'/>")
	web.ExpectNothing()
}

// late is a bus that has not found other nodes yet.
type late struct{ storage.Bus }

func (l late) Listen(ctx context.Context, f func(storage.BusEvent)) error {
	return l.Bus.Listen(ctx, func(e storage.BusEvent) {
		if e.Kind != storage.NodeUp {
			f(e)
		}
	})
}

// What a node asked when the other could not be reached is asked again.
func TestLostQuestions(t *testing.T) {
	hub := memory.NewHub()
	first := nodesOf(t, hub, servertest.Options{}, "a")[0]
	web := first.Online("alice/web")
	hub.Fail(func(from, to string, _ []byte) memory.Fault {
		if from == "a" {
			return memory.Unreachable
		}
		return memory.Fine
	})
	second := servertest.New(t, servertest.Options{Directory: first.Directory, Bus: late{hub.Bus("b")}, Beside: first})
	phone := second.Login("alice/phone")
	phone.Send("<presence/>")
	hub.Fail(nil)
	meet(t, web, phone)
	web.Send("<presence><show>dnd</show></presence>")
	phone.Expect("<presence from='{alice/web}' to='{alice/phone}'><show>dnd</show></presence>")
}

// Order between two users holds over nodes, under load and with many senders.
func TestOrderBetweenNodes(t *testing.T) {
	nodes := nodesOf(t, memory.NewHub(), servertest.Options{}, "a", "b")
	const messages = 2000
	alice, bob := nodes[0].Online("alice/web"), nodes[1].Online("bob/web")
	meet(t, alice, bob)
	for i := range messages {
		to := "bob@example.com"
		if i%3 == 0 {
			to += "/web"
		}
		alice.Send("<message type='chat' to='" + to + "' id='" + strconv.Itoa(i) + "'><body>" + strings.Repeat("x", i%100) + "</body></message>")
	}
	for i := range messages {
		if got := bob.Next().SelectAttrValue("id", ""); got != strconv.Itoa(i) {
			t.Fatalf("%s instead of %d", got, i)
		}
	}
}

// A server that joins knows who is connected elsewhere before it opens its doors.
func TestJoinKnowsEverybody(t *testing.T) {
	hub := memory.NewHub()
	first := nodesOf(t, hub, servertest.Options{}, "a")[0]
	bob := first.Online("bob/web")
	second := servertest.New(t, servertest.Options{Directory: first.Directory, Bus: hub.Bus("b"), Beside: first})
	alice := second.Online("alice/web")
	alice.Send("<message type='chat' to='bob@example.com/web' id='1'/>")
	bob.Expect("<message type='chat' from='{alice}' to='{bob}' id='1'/>")
}

// Resources at all nodes count.
func TestResourceLimitOverNodes(t *testing.T) {
	limits := conf.Default().Limits
	limits.Resources = 2
	nodes := nodesOf(t, memory.NewHub(), servertest.Options{Limits: &limits}, "a", "b")
	one, two := nodes[0].Login("alice/1"), nodes[1].Login("alice/2")
	meet(t, one, two)
	c := nodes[0].Dial()
	c.Open("example.com")
	c.Authenticate("alice", servertest.Password)
	c.Open("example.com")
	c.Send("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
	c.Expect("<iq type='error' id='b' from='alice@example.com' to='alice@example.com'><error type='wait'><resource-constraint xmlns='" + stanzas + "'/></error></iq>")
}
