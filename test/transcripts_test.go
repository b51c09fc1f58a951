package test

import (
	"testing"

	"rollcall/internal/transcript"
)

// TestTranscripts plays every script over every transport, each with a server of
// its own. Those of onenode need all connections at one node.
func TestTranscripts(t *testing.T) {
	overEach(t, func(t *testing.T, tr transport) {
		for _, dir := range []string{"core", "onenode"} {
			transcript.RunDir(t, "../internal/transcript/testdata/"+dir, tr.kind,
				func(t *testing.T, _ *transcript.Script) transcript.Target { return tr.of(start(t, options{})) })
		}
	})
}
