package transcript

import (
	"errors"
	"strings"
	"testing"
)

const live = `# a live session
alice: alice@localhost/web password=secret
bob: bob@localhost password=secret
any1: alice@localhost/web password=secret

alice connects
bob connects
alice sends:
    <presence/>
alice receives:
    <presence from='{alice}' to='{alice}'>...</presence>
bob receives:
    <presence from='{alice}' to='{bob}'>...</presence>
bob sends:
    <message to='{alice}' id='1'><body>line 1&#xA;line 2 {lbrace}any}</body></message>
    <message to='{alice}' id='2'><body>...</body></message>
alice receives:
    <message from='{bob}' to='{alice}' id='1'>...</message>
    <message from='{bob}' to='{alice}' id='2'>...</message>
any1 connects
alice is closed with conflict
bob receives:
    <presence type='unavailable' from='{alice}' to='{bob}'/>
any1 drops
bob receives:
    <presence type='unavailable' from='{any1}' to='{bob}'/>
bob disconnects
bob connects
bob streams:
    <presence></message>
bob is closed with not-well-formed
`

// TestRecorder records a live session, and replays what it wrote.
func TestRecorder(t *testing.T) {
	for _, name := range []string{"plain", "bosh"} {
		t.Run(name, func(t *testing.T) {
			text := live
			if name == "bosh" { // the fake answers a bad body by HTTP
				text, _, _ = strings.Cut(live, "bob streams:")
				text += "bob disconnects\n"
			}
			script, err := Parse("live.txt", text)
			if err != nil {
				t.Fatal(err)
			}
			var written strings.Builder
			recorder := NewRecorder(&written)
			Run(t, targets(t, recorder.Event)[name], script)
			if err := recorder.Close(); err != nil {
				t.Fatal(err)
			}
			again, err := Parse("recorded.txt", written.String())
			if err != nil {
				t.Fatalf("%v\n%s", err, written.String())
			}
			t.Log(written.String())
			for _, verb := range []Verb{Connects, Sends, Receives, IsClosed, Drops, Disconnects} {
				found := false
				for _, step := range again.Steps {
					found = found || step.Verb == verb
				}
				if !found {
					t.Errorf("no step of verb %d in\n%s", verb, written.String())
				}
			}
			Run(t, targets(t, nil)[name], again)
		})
	}
}

func TestRecorderText(t *testing.T) {
	const full, made = "o'neil@localhost/web", "bob@localhost/f00"
	for _, tc := range []struct {
		name   string
		events []Event
		want   string
	}{
		{"the login is no secret", []Event{
			{Conn: "1", Kind: Connect},
			{Conn: "1", Kind: In, Data: []byte("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>AGEAYg==</auth>")},
			{Conn: "1", Kind: Close, Condition: "policy-violation"},
		}, "# a connection was closed with policy-violation before its login\n"},
		{"volatile values", []Event{
			{Conn: "1", Actor: full, Kind: Connect},
			{Conn: "1", Actor: full, Kind: Out, Data: []byte("<message id='1'><stanza-id xmlns='urn:xmpp:sid:0' id='s1' by='x'/><delay xmlns='urn:xmpp:delay' stamp='2025'/></message>")},
			{Conn: "1", Actor: full, Kind: Out, Data: []byte("<iq type='result' id='2'><query xmlns='jabber:iq:version'><name>rollcall</name><version>1</version></query></iq>")},
		}, `o_neil: o'neil@localhost password=secret
o_neil connects
o_neil receives in any order:
    <message id='1'><stanza-id xmlns='urn:xmpp:sid:0' id='{any}' by='x'/><delay xmlns='urn:xmpp:delay' stamp='{any}'/></message>
    <iq type='result' id='2'><query xmlns='jabber:iq:version'><name>rollcall</name><version>{any}</version></query></iq>
`},
		{"ids of the server's requests", []Event{
			{Conn: "1", Kind: In, Data: []byte("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>web</resource></bind></iq>")},
			{Conn: "1", Actor: full, Kind: Out, Data: []byte("<iq type='result' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>" + full + "</jid></bind></iq>")},
			{Conn: "1", Actor: full, Kind: Out, Data: []byte("<iq type='set' id='push77'><query xmlns='jabber:iq:roster' ver='9'/></iq>")},
			{Conn: "1", Actor: full, Kind: In, Data: []byte("<iq type='result' id='push77'/>")},
			{Conn: "1", Actor: full, Kind: Lost},
		}, `o_neil: o'neil@localhost/web password=secret
o_neil connects
o_neil receives:
    <iq type='set' id='{id1}'><query xmlns='jabber:iq:roster' ver='{any}'/></iq>
o_neil sends:
    <iq type='result' id='{id1}'/>
o_neil drops
`},
		{"resources made by the server, dots, bytes", []Event{
			{Conn: "1", Actor: made, Kind: In, Data: []byte("<message to='" + made + "'><body>{any} ...</body></message>")},
			{Conn: "1", Actor: made, Kind: Out, Data: []byte("<message to='" + made + "'><body>...</body></message>")},
			{Conn: "1", Actor: made, Kind: In, Data: []byte(" <a b=\"\xff\">\n")},
			{Conn: "1", Actor: made, Kind: Close, Condition: "not-well-formed"},
			{Conn: "2", Actor: made, Kind: Connect},
			{Conn: "3", Actor: "bob@localhost/other", Kind: Connect},
		}, `bob: bob@localhost password=secret
bob connects
bob sends:
    <message to='{bob}'><body>{lbrace}any} ...</body></message>
bob receives:
    <message to='{bob}'><body>{any}</body></message>
bob streams:
    \x20<a b="\xff">\n
bob is closed with not-well-formed
bob connects
bob2: bob@localhost password=secret
bob2 connects
`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var written strings.Builder
			recorder := NewRecorder(&written)
			for _, e := range tc.events {
				recorder.Event(e)
			}
			if err := recorder.Close(); err != nil {
				t.Fatal(err)
			}
			if written.String() != tc.want {
				t.Errorf("got\n%s\nwant\n%s", written.String(), tc.want)
			}
			if _, err := Parse("recorded.txt", written.String()); err != nil {
				t.Error(err)
			}
		})
	}
}

// fullDisk takes nothing.
type fullDisk struct{}

var errFullDisk = errors.New("disk full")

func (fullDisk) Write([]byte) (int, error) { return 0, errFullDisk }

func TestRecorderReportsTheWriter(t *testing.T) {
	recorder := NewRecorder(fullDisk{})
	recorder.Event(Event{Conn: "1", Actor: "a@b/c", Kind: Connect})
	if err := recorder.Close(); !errors.Is(err, errFullDisk) {
		t.Errorf("got %v", err)
	}
}
