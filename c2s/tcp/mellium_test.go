package tcp_test

import (
	"context"
	"crypto/tls"
	"encoding/xml"
	"io"
	"net"
	"testing"

	"mellium.im/sasl"
	"mellium.im/xmlstream"
	"mellium.im/xmpp"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// TestMellium logs in with another implementation's client and sends a message
// to itself.
func TestMellium(t *testing.T) {
	for _, test := range []struct {
		name      string
		options   options
		mechanism sasl.Mechanism
	}{
		{"PLAIN", options{}, sasl.Plain},
		{"SCRAM-SHA-1", options{}, sasl.ScramSha1},
		{"STARTTLS, PLAIN", options{tls: true}, sasl.Plain},
		{"STARTTLS, SCRAM-SHA-256", options{tls: true}, sasl.ScramSha256},
		{"direct TLS, PLAIN", options{direct: true}, sasl.Plain},
		{"direct TLS, SCRAM-SHA-256", options{direct: true}, sasl.ScramSha256},
	} {
		t.Run(test.name, func(t *testing.T) {
			loops(t, test.options, func(t *testing.T, h *house) {
				mellium(t, h, test.options, test.mechanism)
			})
		})
	}
}

func mellium(t *testing.T, h *house, o options, mechanism sasl.Mechanism) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	me := jid.MustParse("ann@example.com")
	var conn net.Conn = h.dial().Conn
	features := []xmpp.StreamFeature{xmpp.SASL("", password, mechanism), xmpp.BindResource()}
	var state xmpp.SessionState
	switch {
	case o.direct:
		conn = tls.Client(conn, h.tls)
		state = xmpp.Secure
	case o.tls:
		features = append(features, xmpp.StartTLS(h.tls))
	default:
		state = xmpp.Secure // it would not say its password otherwise
	}
	session, err := xmpp.NewSession(ctx, me.Domain(), me, conn, state,
		xmpp.NewNegotiator(func(*xmpp.Session, *xmpp.StreamConfig) xmpp.StreamConfig {
			return xmpp.StreamConfig{Features: features}
		}))
	if err != nil {
		t.Fatal(err)
	}
	// This client leaves the resource to the server.
	bound := session.LocalAddr()
	if !bound.Bare().Equal(me.Bare()) || bound.Resourcepart() == "" {
		t.Fatalf("bound %v", bound)
	}
	got := make(chan stanza.Message, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- session.Serve(xmpp.HandlerFunc(func(r xmlstream.TokenReadEncoder, start *xml.StartElement) error {
			m, err := stanza.NewMessage(*start)
			if err == nil {
				got <- m
			}
			return err
		}))
	}()
	err = session.Send(ctx, stanza.Message{To: bound, ID: "m", Type: stanza.ChatMessage}.Wrap(nil))
	if err != nil {
		t.Fatal(err)
	}
	select {
	case m := <-got:
		if m.ID != "m" || !m.From.Equal(bound) {
			t.Errorf("got %+v", m)
		}
	case <-ctx.Done():
		t.Fatal("the message did not come back")
	}
	if err := session.Close(); err != nil {
		t.Error(err)
	}
	h.expectClose("client")
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != nil && err != io.EOF {
		t.Logf("serve: %v", err) // how mellium sees its own Close is not our business
	}
}
