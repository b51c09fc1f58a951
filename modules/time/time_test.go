package entitytime

import (
	"testing"
	"testing/synctest"
	"time"

	"rollcall/internal/servertest"
	"rollcall/server"
)

func TestPayload(t *testing.T) {
	at := time.Date(2026, 3, 1, 23, 30, 0, 45e6, time.UTC)
	tests := []struct {
		zone *time.Location
		tzo  string
	}{
		{time.UTC, "+00:00"},
		{time.FixedZone("", 2*3600), "+02:00"},
		{time.FixedZone("", -(3*3600 + 1800)), "-03:30"},
	}
	for _, tt := range tests {
		want := "<time xmlns='urn:xmpp:time'><tzo>" + tt.tzo + "</tzo><utc>2026-03-01T23:30:00.045Z</utc></time>"
		if got := string(payload(at.In(tt.zone))); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := servertest.New(t, servertest.Options{
			Directory: servertest.NewDirectory().AddUser("alice", ""), Modules: []server.Module{New()},
		})
		c := s.Login("alice/web")
		time.Sleep(90 * time.Second)
		c.Match("<iq type='result' from='example.com' to='{alice}' id='{any}'><time xmlns='urn:xmpp:time'>"+
			"<tzo>{any}</tzo><utc>2000-01-01T00:01:30.000Z</utc></time></iq>",
			c.Ask("get", "example.com", "<time xmlns='urn:xmpp:time'/>"))
		c.Match("<iq type='error' from='example.com' to='{alice}' id='{any}'>...</iq>",
			c.Ask("set", "example.com", "<time xmlns='urn:xmpp:time'/>"))
	})
}
