package test

import (
	"testing"

	"rollcall/internal/transcript"
)

// TestTranscripts plays every script over every transport, each with a server of
// its own.
func TestTranscripts(t *testing.T) {
	overEach(t, func(t *testing.T, tr transport) {
		transcript.RunDir(t, "../internal/transcript/testdata/core", tr.kind,
			func(t *testing.T, _ *transcript.Script) transcript.Target { return tr.of(start(t, options{})) })
	})
}
