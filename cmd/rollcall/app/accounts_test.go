package app

import (
	"context"
	"testing"
	"time"

	"rollcall/conf"
	"rollcall/internal/transcript"
)

// Nobody becomes an administrator by registering the name of one whose account is not
// there.
func TestAdministratorsAreNotRegistered(t *testing.T) {
	a := begin(t, node(t, "one", "rollcall.db", nil, func(c *conf.Config) {
		c.Modules.Register.Enabled = true
		c.Modules.Commands.Admins = []string{"boss@localhost"}
	}))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tcp, _ := a.Addresses()
	c, err := transcript.Dial(ctx, transcript.Target{
		Kind: transcript.KindTCP, Address: tcp[0].String(), Host: "localhost", Timeout: 20 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// It may be over already.
		_ = c.Drop()
	})
	if err := c.Open(ctx, "localhost"); err != nil {
		t.Fatal(err)
	}
	stream := &client{c, t, ""}
	stream.hear("features")
	for name, want := range map[string]string{"Boss": "error", "newcomer": "result"} {
		stream.say("<iq type='set' id='" + name + "'><query xmlns='jabber:iq:register'><username>" + name +
			"</username><password>mine</password></query></iq>")
		if got := stream.hear("id='"+name+"'").SelectAttrValue("type", ""); got != want {
			t.Errorf("%s registers: %s", name, got)
		}
	}
}
