package app

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"rollcall/conf"
	"rollcall/internal/auth"
	"rollcall/storage"
)

const prebindKey = "5f0c8e3b9d7a4412a6c1d8e7f3b2905c"

// startWeb starts a server with an HTTP listener and one user, alice, whose password is
// "secret".
func startWeb(t *testing.T, l conf.HTTPListener, change ...func(*Options)) *App {
	t.Helper()
	c := conf.Default()
	c.DataDir = t.TempDir()
	l.Address, l.TLS = "127.0.0.1:0", conf.TLSNone
	c.Listen = conf.Listen{HTTP: []conf.HTTPListener{l}}
	o := Options{Config: c, Log: quiet()}
	for _, f := range change {
		f(&o)
	}
	a, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := a.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	credentials, err := auth.NewCredentials("secret", c.Auth.SCRAMIterations)
	if err != nil {
		t.Fatal(err)
	}
	alice := storage.UserRecord{User: storage.User{ID: "alice"}, Credentials: &credentials}
	if err := a.Store().Import(t.Context(), []storage.Record{{User: &alice}}); err != nil {
		t.Fatal(err)
	}
	return a
}

// web sends a request to the only HTTP listener.
func web(t *testing.T, a *App, method, path, body string, header ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+a.http[0].String()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(text)
}

// Each option opens its path, and no other.
func TestWhatAListenerServes(t *testing.T) {
	paths := []string{"POST /http-bind", "POST /http-bind/", "GET /xmpp-websocket", "POST /prebind",
		"GET /.well-known/host-meta", "GET /.well-known/host-meta.json", "GET /config.json"}
	for _, c := range []struct {
		l    conf.HTTPListener
		want string // status of each path
	}{
		{conf.HTTPListener{BOSH: true}, "200 200 404 404 404 404 404"},
		{conf.HTTPListener{WebSocket: true}, "404 404 426 404 404 404 404"},
		{conf.HTTPListener{BOSH: true, Prebind: true}, "200 200 404 401 404 404 404"},
		{conf.HTTPListener{WebSocket: true, HostMeta: true}, "404 404 426 404 200 200 404"},
		{conf.HTTPListener{WebSocket: true, Demo: true}, "405 405 426 405 404 404 200"},
	} {
		a := startWeb(t, c.l)
		var got []string
		for _, p := range paths {
			method, path, _ := strings.Cut(p, " ")
			resp, _ := web(t, a, method, path, "")
			got = append(got, fmt.Sprint(resp.StatusCode))
		}
		if text := strings.Join(got, " "); text != c.want {
			t.Errorf("%+v: %s, want %s", c.l, text, c.want)
		}
	}
}

func TestHostMeta(t *testing.T) {
	a := startWeb(t, conf.HTTPListener{BOSH: true, WebSocket: true, HostMeta: true, PublicURL: "https://chat.example.org"})
	for _, path := range []string{"/.well-known/host-meta", "/.well-known/host-meta.json"} {
		_, text := web(t, a, http.MethodGet, path, "")
		for _, want := range []string{`"https://chat.example.org/http-bind"`, `"wss://chat.example.org/xmpp-websocket"`} {
			if !strings.Contains(text, want) {
				t.Errorf("%s has no %s: %s", path, want, text)
			}
		}
	}
	b := startWeb(t, conf.HTTPListener{WebSocket: true, HostMeta: true})
	_, text := web(t, b, http.MethodGet, "/.well-known/host-meta.json", "")
	if want := `"ws://` + b.http[0].String() + `/xmpp-websocket"`; !strings.Contains(text, want) || strings.Contains(text, "xbosh") {
		t.Errorf("host-meta is %s", text)
	}
}

// A back end opens a session, and the page goes on with it.
func TestPrebind(t *testing.T) {
	a := startWeb(t, conf.HTTPListener{BOSH: true, Prebind: true}, func(o *Options) { o.Getenv = func(string) string { return prebindKey } })
	resp, text := web(t, a, http.MethodPost, "/prebind", `{"user": "alice", "resource": "web"}`,
		"Content-Type", "application/json", "Authorization", "Bearer "+prebindKey)
	var session struct {
		JID, SID string
		RID      int64
	}
	if err := json.Unmarshal([]byte(text), &session); err != nil || resp.StatusCode != http.StatusOK || session.JID != "alice@localhost/web" {
		t.Fatalf("%s %s %v", resp.Status, text, err)
	}
	_, text = web(t, a, http.MethodPost, "/http-bind", fmt.Sprintf(
		"<body xmlns='http://jabber.org/protocol/httpbind' sid='%s' rid='%d'><presence xmlns='jabber:client'/></body>", session.SID, session.RID))
	if !strings.Contains(text, "<presence ") || !strings.Contains(text, "alice@localhost/web") {
		t.Errorf("the first request is answered %s", text)
	}
	if resp, _ := web(t, a, http.MethodPost, "/prebind", "user=alice&password=secret", "Content-Type", "application/x-www-form-urlencoded"); resp.StatusCode != http.StatusOK {
		t.Errorf("a password: %s", resp.Status)
	}
	if resp, _ := web(t, a, http.MethodPost, "/prebind", "user=alice&password=wrong", "Content-Type", "application/x-www-form-urlencoded"); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("a wrong password: %s", resp.Status)
	}
}

func TestPrebindKeyIsBad(t *testing.T) {
	c := conf.Default()
	c.DataDir = t.TempDir()
	c.Listen = conf.Listen{HTTP: []conf.HTTPListener{{Address: "127.0.0.1:0", TLS: conf.TLSNone, BOSH: true, Prebind: true}}}
	a, err := Start(t.Context(), Options{Config: c, Log: quiet(), Getenv: func(string) string { return "short" }})
	if err == nil || !strings.Contains(err.Error(), "ROLLCALL_PREBIND_KEY") || strings.Contains(err.Error(), "short") {
		t.Errorf("started with %v", err)
	}
	if a != nil && err == nil {
		t.Error(a.Shutdown(t.Context()))
	}
}

// The stream's header is answered, and shutdown ends the stream.
func TestWebSocket(t *testing.T) {
	a := startWeb(t, conf.HTTPListener{WebSocket: true})
	c, _, err := websocket.Dial(t.Context(), "ws://"+a.http[0].String()+"/xmpp-websocket", &websocket.DialOptions{Subprotocols: []string{"xmpp"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.CloseNow() }() // it is closed by the server
	if err := c.Write(t.Context(), websocket.MessageText, []byte("<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='localhost' version='1.0'/>")); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"<open ", "<stream:features "} {
		if _, text, err := c.Read(t.Context()); err != nil || !strings.HasPrefix(string(text), want) {
			t.Fatalf("got %s %v, want %s", text, err, want)
		}
	}
	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		done <- a.Shutdown(ctx)
	}()
	var said []string
	for {
		_, text, err := c.Read(t.Context())
		if err != nil {
			break
		}
		said = append(said, string(text))
	}
	if all := strings.Join(said, " "); !strings.Contains(all, "<system-shutdown ") || !strings.Contains(all, "<close ") {
		t.Errorf("at the end the server says %s", all)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
