// Package version tells which software answers for a virtual host (XEP-0092).
package version

import (
	"context"
	"runtime"
	"runtime/debug"

	"mellium.im/xmpp/stanza"

	"rollcall/internal/ns"
	"rollcall/internal/xmlscan"
	"rollcall/server"
)

// Options are what a Module is made of.
type Options struct {
	// Version is what to tell; when empty, what the binary says of itself.
	Version string
	// ShowOS tells the operating system too.
	ShowOS bool
}

// Module implements server.Module.
type Module struct {
	o      Options
	answer server.Raw
}

var _ server.Module = (*Module)(nil)

// New makes the module.
func New(o Options) *Module { return &Module{o: o} }

// Name implements server.Module.
func (m *Module) Name() string { return "version" }

// Start implements server.Module.
func (m *Module) Start(h *server.Host) error {
	h.Declare(server.Protocol{Number: "XEP-0092", Title: "Software Version", Version: "1.1", Features: []string{ns.Version}})
	version := m.o.Version
	if version == "" {
		version = built()
	}
	b := []byte("<query xmlns='" + ns.Version + "'><name>rollcall</name><version>")
	b = xmlscan.AppendText(b, version)
	b = append(b, "</version>"...)
	if m.o.ShowOS {
		b = append(b, "<os>"+runtime.GOOS+"</os>"...)
	}
	m.answer = append(b, "</query>"...)
	return h.HandleIQ(server.ToServer|server.FromForeign, ns.Version, "query", m.query)
}

func (m *Module) query(_ context.Context, iq *server.IQ) (server.Payload, error) {
	if iq.Set() {
		return nil, server.Error(stanza.ServiceUnavailable, "the version cannot be set")
	}
	return m.answer, nil
}

// built is the version that the Go toolchain put into the binary.
func built() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}
