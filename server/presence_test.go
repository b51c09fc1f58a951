package server_test

import (
	"testing"

	"rollcall/internal/servertest"
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
