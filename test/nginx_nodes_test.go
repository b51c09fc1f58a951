//go:build clients

package test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"
	"mellium.im/sasl"

	"rollcall/cmd/rollcall/app"
	"rollcall/conf"
	"rollcall/server"
	"rollcall/test/chaos/boshclient"
)

// roll is a module that knows who is on its node.
type roll struct{ host *server.Host }

func (r *roll) Name() string { return "roll" }

func (r *roll) Start(h *server.Host) error {
	r.host = h
	return nil
}

func (r *roll) addresses() map[string]bool {
	all := map[string]bool{}
	for s := range r.host.All() {
		all[s.JID().String()] = true
	}
	return all
}

// node is one of several servers behind one nginx.
type node struct {
	*app.App
	*roll
}

func startNode(t *testing.T) node {
	t.Helper()
	r := &roll{}
	return node{start(t, options{modules: []server.Module{r}, config: func(c *conf.Config) {
		behindNginx(c)
		c.Listen.HTTP[0].WebSocket, c.Listen.HTTP[0].HostMeta = true, true
		c.BOSH.Inactivity = clientInactivity
	}}), r}
}

func (n node) http() net.Addr {
	_, http := n.Addresses()
	return http[0]
}

// caller is a session through nginx.
type caller struct {
	*boshclient.Client
	jid    string
	echoes chan string // the ids of messages that came
}

func call(ctx context.Context, url, resource string) (*caller, error) {
	k := &caller{jid: "alice@localhost/" + resource, echoes: make(chan string, 16)}
	var err error
	k.Client, err = boshclient.Login(ctx, boshclient.Config{
		URL: url + "/http-bind", Host: "localhost", User: "alice", Password: "secret", Resource: resource,
		Mechanism: sasl.ScramSha1, Hold: 1, Wait: 2 * time.Second, Timeout: 10 * time.Second, Backoff: 50 * time.Millisecond,
		Batch: 1, Rand: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())),
		Receive: func(e *etree.Element) {
			if e.Tag == "message" {
				k.echoes <- e.SelectAttrValue("id", "")
			}
		},
	})
	return k, err
}

// echo sends a message of some length to the sender.
func (k *caller) echo(ctx context.Context, id string, length int) error {
	stanza := fmt.Sprintf("<message xmlns='jabber:client' to='%s' id='%s'><body>%s</body></message>", k.jid, id, strings.Repeat("x", length))
	if err := k.Send(stanza); err != nil {
		return err
	}
	select {
	case got := <-k.echoes:
		if got != id {
			return fmt.Errorf("%s: message %q came, want %q", k.jid, got, id)
		}
		return nil
	case <-k.Done():
		return k.Err()
	case <-ctx.Done():
		return fmt.Errorf("%s: message %q: %w", k.jid, id, ctx.Err())
	}
}

// calls begins n sessions at once; on each, messages pass that are shorter and longer
// than what nginx keeps in memory as installed.
func calls(t *testing.T, ctx context.Context, url, prefix string, n int) []*caller {
	t.Helper()
	all := make([]*caller, n)
	errs := make(chan error, n)
	for i := range all {
		go func() {
			var err error
			if all[i], err = call(ctx, url, fmt.Sprintf("%s%d", prefix, i)); err == nil {
				err = errors.Join(all[i].echo(ctx, "short", 10), all[i].echo(ctx, "long", 200_000), all[i].echo(ctx, "last", 10))
			}
			errs <- err
		}()
	}
	for range all {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
	return all
}

// TestNginxNodes is two servers behind nginx, each with sessions of its own: every
// request finds its node by the sid, and those of one node do not notice when the
// other one is gone.
func TestNginxNodes(t *testing.T) {
	const sessions = 16
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	nodes := []node{startNode(t), startNode(t)}
	url := startNginx(t, nodes[0].http(), nodes[1].http())

	callers := calls(t, ctx, url, "web", sessions)
	first, second := nodes[0].addresses(), nodes[1].addresses()
	t.Logf("%d and %d sessions", len(first), len(second))
	if len(first) == 0 || len(second) == 0 || len(first)+len(second) != sessions {
		t.Fatalf("sessions: %v and %v, want %d on both together", first, second, sessions)
	}

	stop(t, nodes[0].App)
	for _, k := range callers {
		if first[k.jid] {
			select {
			case <-k.Done():
			case <-ctx.Done():
				t.Errorf("%s has not heard that its node is gone", k.jid)
			}
			continue
		}
		if err := k.echo(ctx, "still", 10); err != nil {
			t.Error(err)
		}
	}
	// Who comes now gets to the node that is left.
	more := calls(t, ctx, url, "late", sessions)
	for _, k := range more {
		second[k.jid] = true
	}
	if got := nodes[1].addresses(); !maps.Equal(got, second) {
		t.Errorf("sessions on the node that is left: %v, want %v", got, second)
	}
	for _, k := range append(callers, more...) {
		if second[k.jid] {
			if err := k.Terminate(ctx); err != nil {
				t.Errorf("%s: %v", k.jid, err)
			}
		}
	}
}
