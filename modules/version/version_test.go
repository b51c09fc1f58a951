package version_test

import (
	"runtime"
	"testing"

	"rollcall/internal/servertest"
	"rollcall/modules/version"
	"rollcall/server"
)

func TestVersion(t *testing.T) {
	const get = "<query xmlns='jabber:iq:version'/>"
	tests := []struct {
		name    string
		o       version.Options
		typ, to string
		want    string
	}{
		{"injected", version.Options{Version: "1.2 <3>"}, "get", "example.com",
			"<query xmlns='jabber:iq:version'><name>rollcall</name><version>1.2 &lt;3></version></query>"},
		{"with system", version.Options{Version: "1", ShowOS: true}, "get", "example.com",
			"<query xmlns='jabber:iq:version'><name>rollcall</name><version>1</version><os>" + runtime.GOOS + "</os></query>"},
		{"of the binary", version.Options{}, "get", "example.com",
			"<query xmlns='jabber:iq:version'><name>rollcall</name><version>{any}</version></query>"},
		{"set", version.Options{}, "set", "example.com", "<error type='cancel'><service-unavailable " +
			"xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>...</error>"},
		{"of a user", version.Options{}, "get", "alice@example.com", "<error type='cancel'><service-unavailable " +
			"xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := servertest.New(t, servertest.Options{
				Directory: servertest.NewDirectory().AddUser("alice", ""), Modules: []server.Module{version.New(tt.o)},
			})
			c := s.Login("alice/web")
			c.Match("<iq type='{any}' from='"+tt.to+"' to='{alice}' id='{any}'>"+tt.want+"</iq>", c.Ask(tt.typ, tt.to, get))
		})
	}
}
