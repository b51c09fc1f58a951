package vcard_test

import (
	"errors"
	"strings"
	"testing"

	"rollcall/internal/servertest"
	"rollcall/modules/vcard"
	"rollcall/server"
	"rollcall/storage"
)

func ask(c *servertest.Client, typ, to, inner string) string {
	answer := c.Ask(typ, to, "<vCard xmlns='vcard-temp'>"+inner+"</vCard>")
	if el := answer.FindElement("./error"); el != nil {
		return el.ChildElements()[0].Tag
	}
	return answer.SelectAttrValue("type", "")
}

func start(t *testing.T) (*servertest.Server, *servertest.Documents) {
	t.Helper()
	docs, dir := servertest.NewDocuments(), servertest.NewDirectory().AddUser("alice", "").AddUser("bob", "")
	return servertest.New(t, servertest.Options{
		Directory: dir,
		Modules:   []server.Module{vcard.New(vcard.Options{Documents: docs, Owners: dir, Bytes: 200})},
	}), docs
}

func TestBounds(t *testing.T) {
	s, _ := start(t)
	c := s.Login("alice/web")
	if got := ask(c, "set", "", "<FN>"+strings.Repeat("x", 200)+"</FN>"); got != "policy-violation" {
		t.Errorf("a large card: %s", got)
	}
	if got := ask(c, "get", "", ""); got != "item-not-found" {
		t.Errorf("it was kept: %s", got)
	}
	if got := ask(c, "set", "", "<FN>Alice</FN>"); got != "result" {
		t.Errorf("a small card: %s", got)
	}
}

func TestTrouble(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{storage.ErrUnavailable, "resource-constraint"}, {errors.New("disk"), "internal-server-error"},
		{storage.ErrFull, "policy-violation"}, // as for anonymous users
	} {
		s, docs := start(t)
		c := s.Login("alice/web")
		docs.Fail(tt.err)
		for _, got := range []string{ask(c, "get", "", ""), ask(c, "set", "", "<FN>Alice</FN>"), ask(c, "get", "bob@example.com", "")} {
			if got != tt.want {
				t.Errorf("%v: %s, want %s", tt.err, got, tt.want)
			}
		}
	}
}

// TestRemoved: a card goes with the user.
func TestRemoved(t *testing.T) {
	s, docs := start(t)
	if got := ask(s.Login("alice/web"), "set", "", "<FN>Alice</FN>"); got != "result" {
		t.Fatal(got)
	}
	s.Directory.RemoveUser("alice")
	if data, err := docs.Document(t.Context(), "alice", "vcard"); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("%s, %v", data, err)
	}
}

// TestRemovedMeanwhile: what a client still stores when its user was just removed goes
// with its session.
func TestRemovedMeanwhile(t *testing.T) {
	s, docs := start(t)
	alice := s.Login("alice/web")
	turn := alice.Session().Begin()
	s.Directory.RemoveUser("alice")
	if err := docs.PutDocument(t.Context(), "alice", "vcard", []byte("<a/>"), storage.DocumentLimit{}); err != nil { // in its turn
		t.Error(err)
	}
	turn.End()
	alice.ExpectClosed(server.ReasonUserRemoved)
	alice.Session().Begin().End() // after the end
	if data, err := docs.Document(t.Context(), "alice", "vcard"); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("%s, %v", data, err)
	}
}
