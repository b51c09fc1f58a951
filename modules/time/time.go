// Package entitytime tells what time it is on the server (XEP-0202).
package entitytime

import (
	"context"
	"time"

	"mellium.im/xmpp/stanza"

	"rollcall/internal/ns"
	"rollcall/server"
)

// Module implements server.Module.
type Module struct{}

var _ server.Module = (*Module)(nil)

// New makes the module.
func New() *Module { return new(Module) }

// Name implements server.Module.
func (m *Module) Name() string { return "time" }

// Start implements server.Module.
func (m *Module) Start(h *server.Host) error {
	h.Declare(server.Protocol{Number: "XEP-0202", Title: "Entity Time", Version: "2.0", Features: []string{ns.Time}})
	return h.HandleIQ(server.ToServer|server.FromForeign, ns.Time, "time", func(_ context.Context, iq *server.IQ) (server.Payload, error) {
		if iq.Set() {
			return nil, server.Error(stanza.ServiceUnavailable, "the time cannot be set")
		}
		return payload(time.Now()), nil
	})
}

// payload tells a moment in UTC and the offset of its zone, in the forms of
// XEP-0082.
func payload(t time.Time) server.Raw {
	b := []byte("<time xmlns='" + ns.Time + "'><tzo>")
	b = t.AppendFormat(b, "-07:00")
	b = append(b, "</tzo><utc>"...)
	b = t.UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z")
	return append(b, "</utc></time>"...)
}
