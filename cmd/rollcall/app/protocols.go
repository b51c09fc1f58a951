package app

import "rollcall/server"

// Protocols lists what the server speaks: the core and the modules that run, then what
// its listeners add.
func (a *App) Protocols() []server.Protocol {
	return append(a.srv.Protocols(), listenerProtocols()...)
}

// listenerProtocols is what the transports speak.
func listenerProtocols() []server.Protocol {
	return []server.Protocol{
		{Number: "RFC 7395", Title: "XMPP over WebSocket", Module: "c2s/websocket"},
		{
			Number: "XEP-0124", Title: "Bidirectional-streams Over Synchronous HTTP (BOSH)", Version: "1.11.2",
			Notes: "acknowledgements, keys, pauses, rid windows; one stream in a session", Module: "bosh",
		},
		{Number: "XEP-0206", Title: "XMPP Over BOSH", Version: "1.4", Module: "bosh"},
		{Number: "XEP-0156", Title: "Discovering Alternative XMPP Connection Methods", Version: "1.4.0", Notes: "host-meta, XML and JSON", Module: "listen.http"},
		{Number: "XEP-0368", Title: "SRV records for XMPP over TLS", Version: "1.1.0", Notes: "direct TLS with ALPN", Module: "c2s/tcp"},
	}
}
