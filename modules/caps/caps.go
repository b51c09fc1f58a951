// Package caps tells clients in the stream features what the server can do, so that they
// need not ask each time (XEP-0115 section 6.3). What clients say of themselves passes
// through as they write it.
package caps

import (
	"context"
	"crypto/sha1"
	"encoding/base64"
	"slices"
	"strings"
	"sync/atomic"

	"rollcall/internal/ns"
	"rollcall/internal/xmlscan"
	"rollcall/server"
)

// software is the URI that says which software this is.
const software = "urn:rollcall"

// Module implements server.Module.
type Module struct {
	host *server.Host
	last atomic.Pointer[described]
}

// described is what the server can do, and what it is called.
type described struct {
	identity server.Identity
	features []string // in order
	ver      string
	element  []byte // of the stream features
}

var _ server.Module = (*Module)(nil)

// New makes the module.
func New() *Module { return new(Module) }

// Name implements server.Module.
func (m *Module) Name() string { return "caps" }

// Start implements server.Module.
func (m *Module) Start(h *server.Host) error {
	m.host = h
	h.Declare(server.Protocol{
		Number: "XEP-0115", Title: "Entity Capabilities", Version: "1.6.0",
		Notes:          "those of the server in the stream features; those of clients pass through",
		Features:       []string{ns.Caps},
		StreamFeatures: []string{ns.Caps},
	})
	h.Feature(server.ToServer, ns.Caps)
	h.StreamFeature(server.AfterLogin, func(_ *server.Session, dst []byte) []byte {
		return append(dst, m.describe().element...)
	})
	h.HandleNode(m.about)
	return nil
}

// describe describes the server as it is now: modules come and go.
func (m *Module) describe() *described {
	identity, features := m.host.Identity(server.ToServer), m.host.Features(server.ToServer)
	if d := m.last.Load(); d != nil && d.identity == identity && slices.Equal(d.features, features) {
		return d
	}
	d := &described{identity: identity, features: features, ver: verification(identity, features)}
	d.element = []byte("<c xmlns='" + ns.Caps + "' hash='sha-1' node='" + software + "' ver='" + d.ver + "'/>")
	m.last.Store(d)
	return d
}

// verification is the ver attribute (section 5.1).
func verification(is server.Identity, features []string) string {
	var s strings.Builder
	s.WriteString(is.Category + "/" + is.Type + "//" + is.Name + "<")
	for _, f := range slices.Sorted(slices.Values(features)) {
		s.WriteString(f + "<")
	}
	sum := sha1.Sum([]byte(s.String()))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// about answers discovery about what the stream features named (section 6.2).
func (m *Module) about(_ context.Context, iq *server.IQ, node string) (server.Payload, bool, error) {
	if iq.Scope != server.ToServer || iq.Space != ns.DiscoInfo {
		return nil, false, nil
	}
	d := m.describe()
	if node != software+"#"+d.ver {
		return nil, false, nil
	}
	b := []byte("<query xmlns='" + ns.DiscoInfo + "' node='")
	b = xmlscan.AppendAttr(b, node)
	b = append(b, "'><identity category='"...)
	b = xmlscan.AppendAttr(b, d.identity.Category)
	b = append(b, "' type='"...)
	b = xmlscan.AppendAttr(b, d.identity.Type)
	b = append(b, "' name='"...)
	b = xmlscan.AppendAttr(b, d.identity.Name)
	b = append(b, "'/>"...)
	for _, f := range d.features {
		b = append(b, "<feature var='"...)
		b = xmlscan.AppendAttr(b, f)
		b = append(b, "'/>"...)
	}
	return server.Raw(append(b, "</query>"...)), true, nil
}
