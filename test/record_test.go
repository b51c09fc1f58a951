package test

import (
	"strings"
	"testing"

	"rollcall/cmd/rollcall/app"
	"rollcall/internal/transcript"
)

// live is a conversation to record.
const live = `# live

alice: alice@localhost/web password=secret
bob: bob@localhost/web password=secret

alice connects
alice sends:
    <presence><show>away</show></presence>
alice receives:
    <presence from='{alice}' to='{alice}'><show>away</show></presence>
bob connects
bob sends:
    <presence/>
bob receives in any order:
    <presence from='{bob}' to='{bob}'/>
    <presence from='{alice}' to='{bob}'>...</presence>
alice receives:
    <presence from='{bob}' to='{alice}'>...</presence>
alice sends:
    <message to='bob@localhost' type='chat' id='m1'><body>hello</body></message>
bob receives:
    <message from='{alice}' to='bob@localhost' type='chat' id='m1'><body>hello</body></message>
bob sends:
    <iq type='get' id='q1' to='p1@wtmuc.localhost'><online xmlns='urn:rollcall:project:1'/></iq>
bob receives:
    <iq type='result' id='q1' from='p1@wtmuc.localhost' to='{bob}'>...</iq>
bob disconnects
alice receives:
    <presence type='unavailable' from='{bob}' to='{alice}'>...</presence>
alice disconnects
`

// TestRecorder turns a live session into a transcript, and plays that against
// another server.
func TestRecorder(t *testing.T) {
	overEach(t, func(t *testing.T, tr transport) {
		var recorded strings.Builder
		r := transcript.NewRecorder(&recorded)
		script, err := transcript.Parse("live", live)
		if err != nil {
			t.Fatal(err)
		}
		a := start(t, options{tap: app.Record(r)})
		transcript.Run(t, tr.of(a), script)
		stop(t, a)
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(recorded.String(), "<auth") || !strings.Contains(recorded.String(), "hello") {
			t.Fatalf("recorded\n%s", recorded.String())
		}
		again, err := transcript.Parse("recorded", recorded.String())
		if err != nil {
			t.Fatalf("%v\n%s", err, recorded.String())
		}
		transcript.Run(t, tr.of(start(t, options{})), again)
	})
}
