package transcript

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"rollcall/internal/ns"
)

const (
	wsOpen     = "<open xmlns='" + ns.Framing + "' from='localhost' id='1' version='1.0'/>"
	wsFeatures = "<stream:features xmlns:stream='" + ns.Stream + "'><bind xmlns='" + ns.Bind + "'/></stream:features>"
	wsClose    = "<close xmlns='" + ns.Framing + "'/>"
)

func text(s string) ws.Frame { return ws.NewTextFrame([]byte(s)) }

// webSocketPeer is a target whose peer sends these frames without listening, and
// reads until the client has gone.
func webSocketPeer(t *testing.T, protocol string, frames ...ws.Frame) Target {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		up := ws.HTTPUpgrader{Protocol: func(string) bool { return protocol != "" }}
		if protocol != "" {
			r.Header.Set("Sec-WebSocket-Protocol", protocol)
		}
		conn, _, _, err := up.Upgrade(r, w)
		if err != nil {
			t.Errorf("peer: %v", err)
			return
		}
		for _, f := range frames {
			if err := ws.WriteFrame(conn, f); err != nil {
				t.Logf("peer: %v", err)
				break
			}
		}
		closeAfter(t, conn, frames)
	}))
	t.Cleanup(server.Close)
	return Target{
		Kind: KindWebSocket, Host: "localhost", Timeout: 5 * time.Second,
		URL: "ws" + strings.TrimPrefix(server.URL, "http") + "/xmpp-websocket",
	}
}

// closeAfter lets the client read everything before the connection ends.
func closeAfter(t *testing.T, conn net.Conn, frames []ws.Frame) {
	if len(frames) > 0 && frames[len(frames)-1].Header.OpCode != ws.OpClose {
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Logf("peer: %v", err)
		}
	}
	buf := make([]byte, 4096)
	for {
		if _, err := conn.Read(buf); err != nil {
			break
		}
	}
	if err := conn.Close(); err != nil {
		t.Logf("peer: %v", err)
	}
}

// TestWebSocketRefuses holds the server to its side of RFC 7395, and to one frame
// per element.
func TestWebSocketRefuses(t *testing.T) {
	masked := ws.MaskFrame(text(wsOpen))
	first, rest := text(wsOpen[:10]), ws.NewFrame(ws.OpContinuation, true, []byte(wsOpen[10:]))
	first.Header.Fin = false
	normal := ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusNormalClosure, ""))
	failed := ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusProtocolError, ""))
	for _, tc := range []struct {
		name     string
		protocol string
		frames   []ws.Frame
		want     string
	}{
		{"no subprotocol", "", nil, "instead of xmpp"},
		{"subprotocol in capitals", "XMPP", nil, "instead of xmpp"},
		{"binary", "xmpp", []ws.Frame{ws.NewBinaryFrame([]byte(wsOpen))}, "no text"},
		{"masked", "xmpp", []ws.Frame{masked}, "masked frame"},
		{"fragmented", "xmpp", []ws.Frame{first, rest}, "several frames"},
		{"not <open first", "xmpp", []ws.Frame{text("<open\nxmlns='" + ns.Framing + "' from='localhost' id='1' version='1.0'/>")}, "<open/> is"},
		{"prefix", "xmpp", []ws.Frame{text("<f:open xmlns:f='" + ns.Framing + "' from='localhost' id='1' version='1.0'/>")}, "<open/> is"},
		{"no version", "xmpp", []ws.Frame{text("<open xmlns='" + ns.Framing + "' from='localhost' id='1'/>")}, "without version"},
		{"no id", "xmpp", []ws.Frame{text("<open xmlns='" + ns.Framing + "' from='localhost' version='1.0'/>")}, "without id"},
		{"features for <open/>", "xmpp", []ws.Frame{text(wsFeatures)}, "<stream:features> instead of <open/>"},
		{"two elements", "xmpp", []ws.Frame{text(wsOpen), text(wsFeatures + wsFeatures)}, "more than one element"},
		{"half an element", "xmpp", []ws.Frame{text(wsOpen), text("<a xmlns='b'>")}, "without an element"},
		{"XML declaration", "xmpp", []ws.Frame{text("<?xml version='1.0'?>" + wsOpen)}, "more than one element"},
		{"white space before", "xmpp", []ws.Frame{text(" " + wsOpen)}, "more than one element"},
		{"nothing", "xmpp", []ws.Frame{text("")}, "without an element"},
		{"stream header", "xmpp", []ws.Frame{text(header)}, "more than one element"},
		{"no namespace", "xmpp", []ws.Frame{text(wsOpen), text("<presence/>")}, "declares no namespace"},
		{"prefix of the old header", "xmpp", []ws.Frame{text(wsOpen), text("<stream:features/>")}, "not declared"},
		{"cut", "xmpp", []ws.Frame{text(wsOpen)}, "unexpected EOF"},
		{"closed without <close/>", "xmpp", []ws.Frame{text(wsOpen), normal}, "StatusNormalClosure"},
		{"<close/> without a closing handshake", "xmpp", []ws.Frame{text(wsOpen), text(wsClose)}, "no closing handshake after <close/>: unexpected EOF"},
		{"<close/> and a wrong code", "xmpp", []ws.Frame{text(wsOpen), text(wsClose), failed}, "StatusProtocolError"},
		{"more after <close/>", "xmpp", []ws.Frame{text(wsOpen), text(wsClose), text(wsFeatures)}, "after <close/>"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			_, _, err := SignIn(ctx, webSocketPeer(t, tc.protocol, tc.frames...), Account{JID: "alice@localhost", Password: "secret"})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %s", err, tc.want)
			}
		})
	}
}

// TestWebSocketEnds tells the polite end of the stream and where it sends to.
func TestWebSocketEnds(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	elsewhere := "<close xmlns='" + ns.Framing + "' see-other-uri='wss://other.example/ws'/>"
	target := webSocketPeer(t, "xmpp", text(elsewhere), ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusNormalClosure, "")))
	c, err := Dial(ctx, target)
	if err != nil {
		t.Fatal(err)
	}
	var end *End
	if err := c.Open(ctx, "localhost"); !errors.As(err, &end) || end.SeeOtherURI != "wss://other.example/ws" {
		t.Errorf("got %v", err)
	}
	if err := c.End(); err != nil {
		t.Errorf("end after the end: %v", err)
	}
	if err := c.Drop(); err != nil {
		t.Error(err)
	}
	if _, err := c.Receive(ctx); !errors.Is(err, errDropped) {
		t.Errorf("after Drop: %v", err)
	}
}

// TestWebSocketReceiveGivesUp leaves the client usable.
func TestWebSocketReceiveGivesUp(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	target := targets(t, nil)["websocket"]
	c, _, err := SignIn(ctx, target, Account{JID: "alice@localhost/r", Password: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	short, stop := context.WithCancel(ctx)
	stop()
	if _, err := c.Receive(short); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := c.Send("<iq type='get' id='1' to='localhost'><ping xmlns='" + ns.Ping + "'/></iq>"); err != nil {
		t.Fatal(err)
	}
	if e, err := c.Receive(ctx); err != nil || e.SelectAttrValue("id", "") != "1" {
		t.Errorf("got %v, %v", e, err)
	}
	if late, err := Leave(ctx, c); err != nil || len(late) > 0 {
		t.Errorf("leaving: %v, %v", late, err)
	}
}
