package commands_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"

	"rollcall/internal/servertest"
	"rollcall/storage"
)

// some is a store in which only zoe is missing.
type some struct{ accounts }

func (s *some) RemoveUser(_ context.Context, user string) error {
	if user == "zoe" {
		return storage.ErrNotFound
	}
	return s.note("remove %s", user)
}

// TestLogged: what an administrator did is in the log, also where some of it failed.
func TestLogged(t *testing.T) {
	var log bytes.Buffer
	store := &some{}
	boss := start(t, store, func(o *servertest.Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) }).Login("boss/desk")
	id := begin(t, boss, admin+"delete-user")
	form := "<x xmlns='jabber:x:data' type='submit'><field var='accountjids'>" +
		"<value>zoe@example.com</value><value>bob@example.com</value></field></x>"
	if got := outcome(t, boss, command(admin+"delete-user", id, form)); got != "item-not-found" {
		t.Errorf("removed with somebody who is not there: %s", got)
	}
	if did := strings.Join(store.did, " "); did != "remove bob" {
		t.Errorf("did %s", did)
	}
	for _, want := range []string{"delete-user", "by=boss@example.com/desk", "zoe@example.com bob@example.com", "there is no zoe@example.com"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("%s is not in the log:\n%s", want, &log)
		}
	}
}
