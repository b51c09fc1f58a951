package carbons_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/beevik/etree"

	"rollcall/internal/jid"
	"rollcall/internal/servertest"
	"rollcall/internal/xmlscan"
	"rollcall/server"
)

// meet returns when messages get from each of two clients to the other: what their nodes
// posted before has arrived then, too. It takes what the two are sent.
func meet(t *testing.T, a, b *servertest.Client) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for try := 0; !reaches(t, a, b, fmt.Sprint("there ", try)) || !reaches(t, b, a, fmt.Sprint("back ", try)); try++ {
		if time.Now().After(deadline) {
			t.Fatalf("%s and %s do not meet", a, b)
		}
	}
}

// reaches reports whether a message arrives, or comes back.
func reaches(t *testing.T, a, b *servertest.Client, id string) bool {
	t.Helper()
	has := func(c *servertest.Client) bool {
		return slices.ContainsFunc(c.Drain(), func(el *etree.Element) bool { return el.SelectAttrValue("id", "") == id })
	}
	a.Send("<message to='" + b.JID.String() + "' id='" + id + "'/>")
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); runtime.Gosched() {
		if has(b) {
			return true
		}
		if has(a) {
			return false
		}
	}
	t.Fatalf("a message from %s to %s is lost", a, b)
	return false
}

func mark(_ context.Context, e *server.MessageEvent) {
	e.Extra = append(e.Extra, "<mark xmlns='urn:mark'/>"...)
}

// liar is a node's carbons that tell what nobody can read.
type liar struct{ host *server.Host }

func (*liar) Name() string { return "carbons" }

func (l *liar) Start(h *server.Host) error {
	l.host = h
	h.OnNodes(l)
	return nil
}

func (l *liar) Joined(b *server.Batch, node string) {
	for _, data := range []string{"", "\x00", "\x09", "\x03\x05alice", "\x03\x03a@b\x01", "\x05", "\x05\x03a@b\x04sent\x00\x01\x02\x01@"} {
		l.host.Tell(b, node, []byte(data))
	}
}

func (*liar) Told(*server.Batch, string, []byte) {}

func (*liar) Left(*server.Batch, string) {}

// gateway answers for another host.
type gateway struct {
	host *server.Host
	gone bool
}

func (*gateway) Name() string { return "gateway" }

func (g *gateway) Start(h *server.Host) error {
	g.host = h
	return h.ServeForeign("gate.example.com", g)
}

func (g *gateway) Receive(*server.Batch, []byte) bool { return !g.gone }

// send sends a message to a client.
func (g *gateway) send(t *testing.T, from, rest string, c *servertest.Client) {
	t.Helper()
	var scan xmlscan.Scanner
	scan.Scope([]xmlscan.Attr{{Name: []byte("xmlns"), Value: []byte("jabber:client"), Quote: '\''}})
	scan.SetLimits(xmlscan.Limits{Bytes: 10000, Depth: 10, Attrs: 10})
	var el xmlscan.Element
	if _, err := scan.Next([]byte(message(from, c.JID.String(), rest)), &el); err != nil {
		t.Fatal(err)
	}
	sender, err := jid.Parse(from)
	if err != nil {
		t.Fatal(err)
	}
	b := g.host.NewBatch()
	defer b.Flush()
	g.host.Route(b, server.Message, &el, sender, c.JID)
}
