package server_test

import (
	"testing"

	"rollcall/internal/servertest"
	"rollcall/server"
)

// What others could not read is put right or refused.
func TestPresenceIsExact(t *testing.T) {
	s := servertest.New(t, servertest.Options{Directory: people()})
	alice := s.Login("alice/web")
	for _, test := range []struct{ in, out string }{
		{"<show>dnd</show>", "<show>dnd</show>"},
		{"<show> dnd\n</show>", "<show>dnd</show>"},
		{"<show>busy</show><status>x</status>", "<show>dnd</show><status>x</status>"},
		{"<status>x</status><show>leave</show>", "<status>x</status><show>away</show>"},
		{"<show>lunch</show>", ""},
		{"<show/>", ""},
		{"<show><b/></show>", ""},
		{"<show xmlns='urn:x'>any</show>", "<show xmlns='urn:x'>any</show>"},
		{"<priority>-128</priority>", "<priority>-128</priority>"},
	} {
		alice.Send("<presence>" + test.in + "</presence>")
		alice.Expect("<presence from='{alice}' to='{alice}'>" + test.out + "</presence>")
	}
	for _, in := range []string{
		"<show>dnd</show><show>away</show>", "<priority>1</priority><priority>1</priority>",
		"<priority>128</priority>", "<priority>-129</priority>", "<priority>high</priority>", "<priority/>",
	} {
		alice.Send("<presence id='p'>" + in + "</presence>")
		alice.Expect("<presence type='error' id='p' from='alice@example.com' to='{alice}'><error type='modify'><bad-request xmlns='" + stanzas + "'/>...</error></presence>")
	}
}

// TestReserved: what modules say in presence nobody else does, however it is written.
func TestReserved(t *testing.T) {
	m := &module{name: "first", start: func(h *server.Host) error {
		h.ReservePresence("urn:first")
		return nil
	}}
	s := servertest.New(t, servertest.Options{Directory: people(), Modules: []server.Module{m}})
	alice := s.Login("alice/web")
	for _, sent := range []string{
		"<presence><x xmlns='urn:first'/></presence>", "<presence><p:x xmlns:p='urn:first'/></presence>",
		"<presence xmlns:p='urn:first'><p:x/></presence>", "<presence xmlns:p='urn:&#x66;irst'><p:x/></presence>",
	} {
		alice.Send(sent)
		got := alice.Next()
		if n := len(got.ChildElements()); n > 0 {
			t.Errorf("%s: %d children came through", sent, n)
		}
	}
	alice.Send("<presence xmlns:p='urn:other'><p:x/></presence>")
	if len(alice.Next().ChildElements()) == 0 {
		t.Error("others' children do not come through")
	}
	const client = "<presence xmlns:c='jabber:client'><c:priority>-1</c:priority><c:show>dnd</c:show></presence>"
	alice.Send(client)
	if p := alice.Session().Presence(); p.Priority != -1 || p.Show != "dnd" {
		t.Errorf("%s is read as %d and %q", client, p.Priority, p.Show)
	}
}
