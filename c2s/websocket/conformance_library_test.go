package websocket_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	coder "github.com/coder/websocket"

	"rollcall/c2s/websocket"
	"rollcall/conf"
)

// library is a client on somebody else's implementation of RFC 6455.
type library struct {
	*coder.Conn
	t   testing.TB
	ctx context.Context
}

func (e *endpoint) dialLibrary(t testing.TB, mode coder.CompressionMode) *library {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*rawPatience)
	t.Cleanup(cancel)
	conn, _, err := coder.Dial(ctx, "ws://"+e.address+rawPath, &coder.DialOptions{
		Subprotocols: []string{"xmpp"}, CompressionMode: mode,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.CloseNow() })
	conn.SetReadLimit(1 << 20)
	if conn.Subprotocol() != "xmpp" {
		t.Errorf("subprotocol %q", conn.Subprotocol())
	}
	return &library{conn, t, ctx}
}

func (l *library) say(text string) {
	l.t.Helper()
	if err := l.Write(l.ctx, coder.MessageText, []byte(text)); err != nil {
		l.t.Fatal(err)
	}
}

func (l *library) expect(prefix string) string {
	l.t.Helper()
	kind, data, err := l.Read(l.ctx)
	if err != nil || kind != coder.MessageText || !strings.HasPrefix(string(data), prefix) {
		l.t.Fatalf("got %v %.300q, %v; want %q", kind, data, err, prefix)
	}
	return string(data)
}

// signIn logs alice in and returns her address.
func (l *library) signIn() string {
	l.t.Helper()
	l.say(rawOpen)
	l.expect("<open ")
	l.expect("<stream:features ")
	l.say("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGFsaWNlAHNlY3JldA==</auth>")
	l.expect("<success ")
	l.say(rawOpen)
	l.expect("<open ")
	l.expect("<stream:features ")
	l.say("<iq xmlns='jabber:client' type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
	_, rest, _ := strings.Cut(l.expect("<iq "), "<jid>")
	full, _, _ := strings.Cut(rest, "</jid>")
	return full
}

// TestConformanceLibrary talks through an independent library: bodies from one
// byte to the limit, whole and in fragments, pings, and the closing handshake.
func TestConformanceLibrary(t *testing.T) {
	for _, c := range []struct {
		name     string
		compress bool
		mode     coder.CompressionMode
	}{
		{"plain", false, coder.CompressionDisabled},
		{"compression is off", false, coder.CompressionContextTakeover},
		{"compression on, not asked for", true, coder.CompressionDisabled},
		{"compression with context", true, coder.CompressionContextTakeover},
		{"compression without context", true, coder.CompressionNoContextTakeover},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := listen(t, func(config *websocket.Config) { config.Compression = c.compress })
			l := e.dialLibrary(t, c.mode)
			l.talk(l.signIn())
		})
	}
}

func (l *library) talk(full string) {
	l.t.Helper()
	limit := int(conf.Default().Limits.StanzaBytes)
	around := len(fmt.Sprintf("<message xmlns='jabber:client' to='%s'><body></body></message>", full))
	for size := 1; ; size = min(size*3, limit-around) {
		body := strings.Repeat("0123456789abcdef", size/16+1)[:size]
		text := fmt.Sprintf("<message xmlns='jabber:client' to='%s'><body>%s</body></message>", full, body)
		l.say(text)
		if got := l.expect("<message "); !strings.Contains(got, "<body>"+body+"</body>") {
			l.t.Fatalf("a body of %d bytes comes back as %.200q", size, got)
		}
		l.fragmented(text)
		if got := l.expect("<message "); !strings.Contains(got, "<body>"+body+"</body>") {
			l.t.Fatalf("a body of %d bytes in fragments comes back as %.200q", size, got)
		}
		if size == limit-around {
			break
		}
	}
	l.pingAndClose()
}

// fragmented sends a message in three frames and more.
func (l *library) fragmented(text string) {
	l.t.Helper()
	w, err := l.Writer(l.ctx, coder.MessageText)
	if err != nil {
		l.t.Fatal(err)
	}
	for _, piece := range []string{text[:1], text[1 : len(text)/2], text[len(text)/2:]} {
		if _, err := io.WriteString(w, piece); err != nil {
			l.t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		l.t.Fatal(err)
	}
}

// pingAndClose ends the stream, then the connection (RFC 7395 section 3.6).
func (l *library) pingAndClose() {
	l.t.Helper()
	read := make(chan error, 1)
	go func() { // pongs are seen while somebody reads
		_, data, err := l.Read(l.ctx)
		if err == nil && string(data) != exactClose {
			err = fmt.Errorf("got %q", data)
		}
		read <- err
	}()
	for range 3 {
		if err := l.Ping(l.ctx); err != nil {
			l.t.Fatal(err)
		}
	}
	l.say("<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>")
	if err := <-read; err != nil {
		l.t.Fatal(err)
	}
	if err := l.Close(coder.StatusNormalClosure, ""); err != nil {
		l.t.Error(err)
	}
}

// TestConformanceLibraryServerEnds has the server end the stream: a stream error,
// <close/>, and the server's closing handshake.
func TestConformanceLibraryServerEnds(t *testing.T) {
	e := listen(t, nil)
	l := e.dialLibrary(t, coder.CompressionDisabled)
	full := l.signIn()
	l.say("<message xmlns='jabber:client' to='" + full + "'/><!-- not XMPP -->")
	l.expect("<stream:error ")
	if got := l.expect("<close "); got != exactClose {
		t.Errorf("got %q", got)
	}
	var end coder.CloseError
	if _, _, err := l.Read(l.ctx); !errors.As(err, &end) || end.Code == coder.StatusNoStatusRcvd {
		t.Errorf("ended with %v", err)
	}
}

// TestConformanceLibraryLeaves closes the WebSocket and leaves the stream open:
// the session is gone for others at once.
func TestConformanceLibraryLeaves(t *testing.T) {
	e := listen(t, nil)
	watcher := e.Online("alice/watch")
	l := e.dialLibrary(t, coder.CompressionDisabled)
	full := l.signIn()
	l.say("<presence xmlns='jabber:client'/>")
	for range 2 { // her own, and the watcher's
		l.expect("<presence ")
	}
	watcher.Expect("<presence from='" + full + "' to='" + watcher.JID.String() + "'/>")
	if err := l.Close(coder.StatusGoingAway, ""); err != nil {
		t.Error(err)
	}
	watcher.Expect("<presence from='" + full + "' to='" + watcher.JID.String() + "' type='unavailable'/>")
}
