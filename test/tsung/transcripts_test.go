package tsung

import (
	"fmt"
	"testing"

	"rollcall/internal/transcript"
)

// TestTranscripts plays the scripts of testdata over every transport of the profile.
func TestTranscripts(t *testing.T) {
	for _, kind := range []string{transcript.KindTCP, transcript.KindBOSH, transcript.KindWebSocket} {
		t.Run(kind, func(t *testing.T) {
			transcript.RunDir(t, "testdata", kind, func(t *testing.T, _ *transcript.Script) transcript.Target {
				streams, sites := start(t, nil).Addresses()
				target := transcript.Target{Kind: kind, Host: "localhost"}
				switch kind {
				case transcript.KindTCP:
					target.Address = streams[0].String()
				case transcript.KindBOSH:
					target.URL = fmt.Sprintf("http://%s/http-bind", sites[0])
				case transcript.KindWebSocket:
					target.URL = fmt.Sprintf("ws://%s/xmpp-websocket", sites[0])
				}
				return target
			})
		})
	}
}
