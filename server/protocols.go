package server

import (
	"slices"
	"sync"

	"rollcall/internal/ns"
)

// Protocol is a specification that a module obeys, for people and for tests.
type Protocol struct {
	// Number is as in "XEP-0280" or "RFC 6121".
	Number, Title string
	// Version is the one that was read; empty for an RFC.
	Version string
	// Notes say what is left out or particular; may be empty.
	Notes string
	// Features are what disco#info of a virtual host or an account lists for it.
	Features []string
	// StreamFeatures are the namespaces of what stream features list for it.
	StreamFeatures []string
	// Module is who declared it; empty for the core. Declare sets it.
	Module string
}

// declarations are the protocols that modules declare.
type declarations struct {
	mu   sync.Mutex
	list []*Protocol
}

// Declare says which protocol the module speaks.
func (h *Host) Declare(p Protocol) {
	p.Module = h.module.Name()
	d := &h.srv.declared
	d.mu.Lock()
	defer d.mu.Unlock()
	d.list = append(d.list, &p)
	h.undo = append(h.undo, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.list = slices.DeleteFunc(d.list, func(x *Protocol) bool { return x == &p })
	})
}

// Protocols lists what the server speaks: what the core declares, then the modules in
// the order of their start.
func (srv *Server) Protocols() []Protocol {
	d := &srv.declared
	d.mu.Lock()
	defer d.mu.Unlock()
	list := coreProtocols()
	for _, p := range d.list {
		list = append(list, *p)
	}
	return list
}

// coreProtocols is what the core itself speaks.
func coreProtocols() []Protocol {
	return []Protocol{
		{
			Number: "RFC 6120", Title: "XMPP Core", Notes: "between client and server; no server to server",
			StreamFeatures: []string{ns.TLS, ns.SASL, ns.Bind},
		},
		{
			Number: "RFC 6121", Title: "XMPP Instant Messaging and Presence", Notes: "presence, and the routing of stanzas",
		},
		{
			Number: "RFC 3921", Title: "XMPP Instant Messaging (obsolete)", Notes: "the session request is answered, and marked optional",
			StreamFeatures: []string{ns.Session},
		},
		{Number: "RFC 5802", Title: "SCRAM-SHA-1", Notes: "and RFC 7677, SCRAM-SHA-256; SCRAM-SHA-512; no channel binding"},
		{Number: "RFC 7622", Title: "XMPP Address Format"},
		{
			Number: "XEP-0078", Title: "Non-SASL Authentication", Version: "2.5", Notes: "on listeners that allow it",
			StreamFeatures: []string{ns.IQAuthOffer},
		},
		{Number: "XEP-0082", Title: "XMPP Date and Time Profiles", Version: "1.1.1"},
		{
			Number: "XEP-0175", Title: "Best Practices for Use of SASL ANONYMOUS", Version: "1.2",
			Notes: "off by default; nothing is kept for who has no account",
		},
		{
			Number: "XEP-0198", Title: "Stream Management", Version: "1.6.3", Notes: "with resumption, at any node; offered where the connection itself acknowledges nothing",
			StreamFeatures: []string{ns.StreamManagement},
		},
		{
			Number: "XEP-0478", Title: "Stream Limits Advertisement", Version: "0.2.0",
			StreamFeatures: []string{ns.Limits},
		},
	}
}
