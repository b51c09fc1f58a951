// Package csi spares clients that nobody looks at (XEP-0352): presence waits for them,
// of each sender only the latest, until something comes that does not wait or they are
// looked at again.
package csi

import (
	"context"

	"rollcall/internal/ns"
	"rollcall/server"
)

// Module implements server.Module.
type Module struct{}

var _ server.Module = (*Module)(nil)

// New makes the module.
func New() *Module { return new(Module) }

// Name implements server.Module.
func (m *Module) Name() string { return "csi" }

// Start implements server.Module.
func (m *Module) Start(h *server.Host) error {
	h.Declare(server.Protocol{
		Number: "XEP-0352", Title: "Client State Indication", Version: "1.0.0",
		Notes:          "presence is held back while a client is inactive, of each sender the latest",
		StreamFeatures: []string{ns.CSI},
	})
	h.StreamFeature(server.AfterLogin, func(_ *server.Session, dst []byte) []byte {
		return append(dst, "<csi xmlns='"+ns.CSI+"'/>"...)
	})
	// Section 5.2: nothing of what the client sends later is looked at before.
	for name, inactive := range map[string]bool{"inactive": true, "active": false} {
		err := h.HandleNonza(ns.CSI, name, func(_ context.Context, n *server.Nonza) { n.Session.Hold(n.Batch, inactive) })
		if err != nil {
			return err
		}
	}
	return nil
}
