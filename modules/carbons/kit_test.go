package carbons_test

import (
	"context"

	"rollcall/server"
)

func mark(_ context.Context, e *server.MessageEvent) {
	e.Extra = append(e.Extra, "<mark xmlns='urn:mark'/>"...)
}

// liar is a node's carbons that tell what nobody can read.
type liar struct{ host *server.Host }

func (*liar) Name() string { return "carbons" }

func (l *liar) Start(h *server.Host) error {
	l.host = h
	h.OnNodes(l)
	return nil
}

func (l *liar) Joined(b *server.Batch, node string) {
	for _, data := range []string{"", "\x00", "\x09", "\x03\x05alice", "\x03\x03a@b\x01", "\x05", "\x05\x03a@b\x04sent\x00\x01\x02\x01@"} {
		l.host.Tell(b, node, []byte(data))
	}
}

func (*liar) Told(*server.Batch, string, []byte) {}

func (*liar) Left(*server.Batch, string) {}
