// Package ns names the XML namespaces that rollcall speaks.
package ns

// Namespaces, by the document that defines them.
const (
	XML   = "http://www.w3.org/XML/1998/namespace"
	XMLNS = "http://www.w3.org/2000/xmlns/"

	Stream           = "http://etherx.jabber.org/streams"       // RFC 6120 4.8.1
	Client           = "jabber:client"                          // RFC 6120 4.8.2
	Streams          = "urn:ietf:params:xml:ns:xmpp-streams"    // RFC 6120 4.9.2
	TLS              = "urn:ietf:params:xml:ns:xmpp-tls"        // RFC 6120 5.4
	SASL             = "urn:ietf:params:xml:ns:xmpp-sasl"       // RFC 6120 6.4
	Bind             = "urn:ietf:params:xml:ns:xmpp-bind"       // RFC 6120 7
	Stanzas          = "urn:ietf:params:xml:ns:xmpp-stanzas"    // RFC 6120 8.3.2
	Session          = "urn:ietf:params:xml:ns:xmpp-session"    // RFC 3921 3
	Roster           = "jabber:iq:roster"                       // RFC 6121 2
	Framing          = "urn:ietf:params:xml:ns:xmpp-framing"    // RFC 7395
	HTTPBind         = "http://jabber.org/protocol/httpbind"    // XEP-0124
	XBOSH            = "urn:xmpp:xbosh"                         // XEP-0206
	DiscoInfo        = "http://jabber.org/protocol/disco#info"  // XEP-0030
	DiscoItems       = "http://jabber.org/protocol/disco#items" // XEP-0030
	RSM              = "http://jabber.org/protocol/rsm"         // XEP-0059
	IQAuth           = "jabber:iq:auth"                         // XEP-0078
	IQAuthOffer      = "http://jabber.org/features/iq-auth"     // XEP-0078
	Limits           = "urn:xmpp:stream-limits:0"               // XEP-0478
	Version          = "jabber:iq:version"                      // XEP-0092
	Ping             = "urn:xmpp:ping"                          // XEP-0199
	Time             = "urn:xmpp:time"                          // XEP-0202
	Component        = "jabber:component:accept"                // XEP-0114
	Commands         = "http://jabber.org/protocol/commands"    // XEP-0050
	Admin            = "http://jabber.org/protocol/admin"       // XEP-0133
	Private          = "jabber:iq:private"                      // XEP-0049
	VCard            = "vcard-temp"                             // XEP-0054
	Register         = "jabber:iq:register"                     // XEP-0077
	RegisterOffer    = "http://jabber.org/features/iq-register" // XEP-0077
	DataForms        = "jabber:x:data"                          // XEP-0004
	StreamManagement = "urn:xmpp:sm:3"                          // XEP-0198
	StanzaID         = "urn:xmpp:sid:0"                         // XEP-0359
	Carbons          = "urn:xmpp:carbons:2"                     // XEP-0280
	Forward          = "urn:xmpp:forward:0"                     // XEP-0297
	Hints            = "urn:xmpp:hints"                         // XEP-0334
	Blocking         = "urn:xmpp:blocking"                      // XEP-0191
	BlockingErrors   = "urn:xmpp:blocking:errors"               // XEP-0191
	CSI              = "urn:xmpp:csi:0"                         // XEP-0352
	Caps             = "http://jabber.org/protocol/caps"        // XEP-0115
	LastActivity     = "jabber:iq:last"                         // XEP-0012
	Project          = "urn:rollcall:project:1"                 // README
	Notification     = "urn:rollcall:notify:1"                  // README
)
