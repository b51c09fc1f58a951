package transcript

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"rollcall/internal/ns"
)

const (
	header   = "<stream:stream from='localhost' id='1' version='1.0' xmlns='jabber:client' xmlns:stream='" + ns.Stream + "'>"
	startTLS = "<stream:features><starttls xmlns='" + ns.TLS + "'/></stream:features>"
	scram    = "<stream:features><mechanisms xmlns='" + ns.SASL + "'><mechanism>SCRAM-SHA-256</mechanism></mechanisms></stream:features>"
)

// scripted is a target whose peer answers each piece it receives with the next
// text, then closes.
func scripted(t *testing.T, answers ...string) Target {
	return Target{
		Kind: KindTCP, Host: "localhost", Timeout: 5 * time.Second,
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			client, server := net.Pipe()
			go func() {
				split := &splitter{r: server}
				for _, answer := range answers {
					if _, _, err := split.next(); err != nil {
						t.Logf("peer: %v", err)
						break
					}
					if _, err := io.WriteString(server, answer); err != nil {
						t.Logf("peer: %v", err)
						break
					}
				}
				if err := server.Close(); err != nil {
					t.Logf("peer: %v", err)
				}
			}()
			return client, nil
		},
	}
}

// TestSignInRefuses holds the server to its side of the negotiation.
func TestSignInRefuses(t *testing.T) {
	for _, tc := range []struct {
		name    string
		answers []string
		tls     bool
		want    string
	}{
		{"success before the server's proof", []string{header + scram, "<success xmlns='" + ns.SASL + "'/>"}, false, "SCRAM-SHA-256"},
		{"no STARTTLS", []string{header + scram}, true, "STARTTLS is not offered"},
		{"STARTTLS refused", []string{header + startTLS, "<failure xmlns='" + ns.TLS + "'/>"}, true, "STARTTLS refused"},
		{"text before the handshake", []string{header + startTLS, "<proceed xmlns='" + ns.TLS + "'/><presence/>"}, true, "between <proceed/> and the handshake"},
		{"no header", []string{scram}, false, "<stream:features> instead of a stream header"},
		{"an element for a header", []string{"<presence xmlns='jabber:client'/>"}, false, "instead of a stream header"},
		{"no features", []string{header + "<presence/>"}, false, "instead of stream features"},
		{"no end of the stream", []string{header}, false, "unexpected EOF"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			target := scripted(t, tc.answers...)
			if tc.tls {
				target.TLS = &tls.Config{}
			}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			_, _, err := SignIn(ctx, target, Account{JID: "alice@localhost", Password: "secret"})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %s", err, tc.want)
			}
		})
	}
}

func TestParseBodyRefuses(t *testing.T) {
	const attrs = " xmlns='" + ns.HTTPBind + "'"
	if _, err := parseBody("<body" + attrs + "> <a/></body>\n"); err != nil {
		t.Error(err)
	}
	for _, text := range []string{
		"", "<body/>", "<html" + attrs + "/>", "<body" + attrs + ">", "<body" + attrs + "/><body" + attrs + "/>",
		"<body" + attrs + ">text</body>", "<body" + attrs + "/>text", "<body" + attrs + "><stream:error/></body>",
	} {
		if body, err := parseBody(text); err == nil {
			t.Errorf("%q was read as %s", text, Text(body))
		}
	}
}

// TestLeave returns what comes before the server's end, which is an io.EOF.
func TestLeave(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	c, err := Dial(ctx, scripted(t, header, "<presence/></stream:stream>"))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Open(ctx, "localhost"); err != nil {
		t.Fatal(err)
	}
	late, err := Leave(ctx, c)
	if err != nil || len(late) != 1 || late[0].Tag != "presence" {
		t.Errorf("got %v, %v", late, err)
	}
	if _, err := c.Receive(ctx); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("after Leave: %v", err)
	}
	if !errors.Is(&End{}, io.EOF) {
		t.Error("an End is no io.EOF")
	}
}
