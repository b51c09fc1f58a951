package app

import (
	"crypto/sha1"
	"encoding/base64"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"rollcall/conf"
	"rollcall/internal/servertest"
)

// TestCaps: with all modules, the stream features tell what discovery does (XEP-0115
// section 5.4).
func TestCaps(t *testing.T) {
	c := conf.Default()
	c.DataDir = t.TempDir()
	var st stores
	if err := st.open(t.Context(), Options{Config: c, Log: slog.New(slog.DiscardHandler)}, prometheus.NewRegistry()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.close(t.Context(), slog.New(slog.DiscardHandler)); err != nil {
			t.Error(err)
		}
	})
	s := servertest.New(t, servertest.Options{Directory: servertest.NewDirectory().AddUser("alice", ""), Modules: modules(c, &st)})
	alice := s.Dial()
	alice.Open(servertest.Host)
	alice.Authenticate("alice", servertest.Password)
	offered := alice.Open(servertest.Host).FindElement("./c")
	alice.Bind("web")
	answer := alice.Ask("get", servertest.Host, "<query xmlns='http://jabber.org/protocol/disco#info'/>")
	if offered == nil || answer.FindElement("./query") == nil || answer.FindElement("./query/x") != nil {
		t.Fatal("no capabilities, or forms among them")
	}
	var identities, features []string
	for _, el := range answer.FindElements("./query/identity") {
		identities = append(identities, el.SelectAttrValue("category", "")+"/"+el.SelectAttrValue("type", "")+"//"+el.SelectAttrValue("name", ""))
	}
	for _, el := range answer.FindElements("./query/feature") {
		features = append(features, el.SelectAttrValue("var", ""))
	}
	slices.Sort(identities)
	slices.Sort(features)
	sum := sha1.Sum([]byte(strings.Join(append(identities, features...), "<") + "<"))
	if got, want := offered.SelectAttrValue("ver", ""), base64.StdEncoding.EncodeToString(sum[:]); got != want {
		t.Errorf("ver is %s, want %s of %v and %v", got, want, identities, features)
	}
}
