package bosh

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/beevik/etree"
)

// realClient speaks BOSH over connections of the operating system.
type realClient struct {
	boshClient
	t    *testing.T
	url  string
	http *http.Client
}

// do posts a body and returns the answer, or nil when ctx ended before.
func (c *realClient) do(ctx context.Context, body string) *etree.Element {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, strings.NewReader(body))
	if err != nil {
		c.t.Error(err)
		return nil
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if !errors.Is(err, context.Canceled) {
			c.t.Error(err)
		}
		return nil
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Error(err)
		return nil
	}
	d := etree.NewDocument()
	if err := d.ReadFromBytes(text); err != nil || d.Root() == nil || resp.Status != "200 OK" {
		c.t.Errorf("%s was answered %s %q: %v", body, resp.Status, text, err)
		return nil
	}
	return d.Root()
}

// next sends the next request.
func (c *realClient) next(attrs, payload string) <-chan *etree.Element {
	c.rid++
	return c.start(c.t.Context(), c.text(c.rid, attrs, payload))
}

func (c *realClient) start(ctx context.Context, body string) <-chan *etree.Element {
	answer := make(chan *etree.Element, 1)
	go func() { answer <- c.do(ctx, body) }()
	return answer
}

func dialReal(t *testing.T, url, user string) *realClient {
	t.Helper()
	c := &realClient{t: t, url: url, http: &http.Client{Transport: &http.Transport{}}}
	t.Cleanup(c.http.CloseIdleConnections)
	b := c.do(t.Context(), creation(usualAttrs))
	if b == nil {
		t.Fatal("no session")
	}
	c.sid, c.rid = b.SelectAttrValue("sid", ""), 1000
	for _, step := range [][3]string{
		{"", plain(user), "success"}, {"xmpp:restart='true'", "", "features"}, {"", bind("web"), "iq"},
		{"", "<presence xmlns='jabber:client'/>", "presence"},
	} {
		if b := <-c.next(step[0], step[1]); b == nil || b.SelectElement(step[2]) == nil {
			t.Fatalf("%s: no %s", step[1], step[2])
		}
	}
	return c
}

// ids are those of a body's messages.
func ids(b *etree.Element) string {
	if b == nil {
		return "nothing"
	}
	var all []string
	for _, m := range b.SelectElements("message") {
		all = append(all, m.SelectAttrValue("id", ""))
	}
	return strings.Join(all, " ")
}

// TestOverHTTP: two clients over real connections, one of which breaks while its
// request is held; in the end everybody is told, and no request is left behind.
func TestOverHTTP(t *testing.T) {
	h := plainHandler(t)
	srv := httptest.NewServer(h)
	closed := sync.OnceFunc(srv.Close)
	defer closed()
	alice, bob := dialReal(t, srv.URL, "alice"), dialReal(t, srv.URL, "bob")
	waiting := alice.next("", "")
	said := bob.next("", message("alice@example.com/web", "1"))
	if got := ids(<-waiting); got != "1" {
		t.Fatalf("alice got %s", got)
	}

	// The request that breaks off is repeated, as nobody can tell how far it came.
	ctx, cancel := context.WithCancel(t.Context())
	alice.rid++
	body := alice.text(alice.rid, "", message("bob@example.com/web", "2"))
	broken := alice.start(ctx, body)
	if got := ids(<-said); got != "2" {
		t.Fatalf("bob got %s", got)
	}
	cancel()
	<-broken
	again := alice.start(t.Context(), body)
	held := bob.next("", message("alice@example.com/web", "3"))
	if got := ids(<-again); got != "3" {
		t.Fatalf("alice got %s", got)
	}

	waiting = alice.next("", "")
	if err := h.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	for _, end := range []<-chan *etree.Element{held, waiting} {
		if b := <-end; b == nil || b.SelectAttrValue("condition", "") != systemShutdown {
			t.Errorf("the end is %s", ids(b))
		}
	}
	closed() // waits for every request
}
