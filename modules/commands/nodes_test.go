package commands_test

import (
	"strings"
	"testing"
	"time"

	"rollcall/internal/servertest"
	"rollcall/server"
	"rollcall/storage/memory"
)

// TestNodes gives commands about somebody who is connected to another node.
func TestNodes(t *testing.T) {
	hub := memory.NewHub()
	here := start(t, nil, func(o *servertest.Options) { o.Bus = hub.Bus("here") })
	there := start(t, nil, func(o *servertest.Options) { o.Bus, o.Directory, o.Beside = hub.Bus("there"), here.Directory, here })
	boss, alice := here.Online("boss/desk"), there.Online("alice/web")

	list := admin + "get-online-users-list"
	deadline := time.Now().Add(10 * time.Second)
	for seen := ""; seen != "alice@example.com boss@example.com"; {
		if time.Now().After(deadline) {
			t.Fatalf("only %q are listed", seen)
		}
		var all []string
		for _, el := range boss.Ask("set", "example.com", command(list, begin(t, boss, list), submit())).
			FindElements("./command/x/field[@var='onlineuserjids']/value") {
			all = append(all, el.Text())
		}
		seen = strings.Join(all, " ")
	}

	say := admin + "announce"
	if got := outcome(t, boss, command(say, begin(t, boss, say), submit("subject", "News", "announcement", "Tea &lt; 5"))); got != "completed" {
		t.Fatal(got)
	}
	alice.Expect("<message from='example.com' to='alice@example.com' type='headline'><subject>News</subject><body>Tea &lt; 5</body></message>")
	boss.Expect("<message from='example.com' to='boss@example.com' type='headline'><subject>News</subject><body>Tea &lt; 5</body></message>")
	boss.Send("<message to='example.com/announce/online'><body>now</body></message>")
	alice.Expect("<message from='example.com' to='alice@example.com'><body>now</body></message>")
	boss.Expect("<message from='example.com' to='boss@example.com'><body>now</body></message>")
	alice.Send("<message to='example.com/announce/online' type='error'/>")
	alice.ExpectNothing()

	end := admin + "end-user-session"
	if got := outcome(t, boss, command(end, begin(t, boss, end), submit("accountjids", "alice@example.com"))); got != "completed" {
		t.Fatal(got)
	}
	alice.ExpectClosed(server.ReasonEnded)
}
