// Package jid holds XMPP addresses (RFC 7622) in the form that routing wants:
// a comparable value over the canonical text, so that parts cost nothing and
// tables can be keyed by address.
//
// Lower-case ASCII addresses are checked here; everything else goes through
// mellium's implementation of the PRECIS profiles.
package jid

import (
	"errors"
	"fmt"
	"strings"

	mellium "mellium.im/xmpp/jid"
)

// maxPart is the longest part of an address in bytes (RFC 7622 section 3.1).
const maxPart = 1023

// maxLabel is the longest label of a domain name in bytes (RFC 1035 section
// 2.3.4).
const maxLabel = 63

// ErrMalformed is what every parsing error wraps.
var ErrMalformed = errors.New("malformed address")

// JID is an address in canonical form. The zero value is no address. JIDs are
// equal exactly when their addresses are.
type JID struct {
	text string
	at   uint16 // length of the local part
	bare uint16 // length of the bare address
	rich bool   // the resource has characters that XML wants escaped, or may have
}

// Parse returns the canonical form of s, or an error that wraps ErrMalformed.
func Parse(s string) (JID, error) {
	if j, ok := parseASCII(s); ok {
		return j, nil
	}
	return parsePrecis(s)
}

// New assembles an address from parts; local and resource may be empty.
func New(local, domain, resource string) (JID, error) {
	if domain == "" || strings.ContainsAny(domain, "@/") || strings.ContainsAny(local, "@/") {
		return JID{}, fmt.Errorf("%w: separator in a part, or no domain", ErrMalformed)
	}
	s := domain
	if local != "" {
		s = local + "@" + domain
	}
	if resource != "" {
		s += "/" + resource
	}
	return Parse(s)
}

// String is the canonical text; empty for the zero value.
func (j JID) String() string { return j.text }

// IsZero reports whether j is no address.
func (j JID) IsZero() bool { return j.text == "" }

// Local is the part before '@'; empty when there is none.
func (j JID) Local() string { return j.text[:j.at] }

// Domain is the part after '@' and before '/'.
func (j JID) Domain() string {
	if j.at > 0 {
		return j.text[j.at+1 : j.bare]
	}
	return j.text[:j.bare]
}

// Resource is the part after '/'; empty when there is none.
func (j JID) Resource() string {
	if j.IsFull() {
		return j.text[j.bare+1:]
	}
	return ""
}

// InXML reports whether the text can stand in XML as it is. Every bare address can
// (RFC 7622 sections 3.2 and 3.3.1).
func (j JID) InXML() bool { return !j.rich }

// IsFull reports whether j has a resource.
func (j JID) IsFull() bool { return int(j.bare) < len(j.text) }

// Bare is j without its resource.
func (j JID) Bare() JID { return JID{text: j.text[:j.bare], at: j.at, bare: j.bare} }

// WithResource is j's bare address with another resource.
func (j JID) WithResource(resource string) (JID, error) {
	return New(j.Local(), j.Domain(), resource)
}

// parseASCII accepts what needs no preparation: lower-case letters, digits and
// harmless punctuation in the local part, an LDH domain name, printable ASCII in
// the resource.
func parseASCII(s string) (JID, bool) {
	bare, at, rich := len(s), 0, false
	if i := strings.IndexByte(s, '/'); i >= 0 {
		bare, rich = i, strings.ContainsAny(s[i+1:], "<>&'\"")
		if i == len(s)-1 || len(s)-i-1 > maxPart || !plainResource(s[i+1:]) {
			return JID{}, false
		}
	}
	domain := s[:bare]
	if i := strings.IndexByte(domain, '@'); i >= 0 {
		if i == 0 || i > maxPart || !plainLocal(domain[:i]) {
			return JID{}, false
		}
		at, domain = i, domain[i+1:]
	}
	if !plainDomain(domain) {
		return JID{}, false
	}
	return JID{text: s, at: uint16(at), bare: uint16(bare), rich: rich}, true
}

func plainLocal(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		case c == '-', c == '_', c == '.', c == '+', c == '=', c == '~', c == '\\', c == '!', c == '#', c == '$', c == '%':
		default:
			return false
		}
	}
	return true
}

func plainResource(s string) bool {
	for i := range len(s) {
		// A leading or trailing space is OpaqueString's business.
		if c := s[i]; c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return true
}

// plainDomain accepts LDH names without A-labels, which the general path has to
// turn into U-labels (RFC 7622 section 3.2.1).
func plainDomain(s string) bool {
	if s == "" || len(s) > maxPart {
		return false
	}
	label := 0
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
			label++
		case c == '-' && label > 0 && i+1 < len(s) && s[i+1] != '.':
			label++
			if label == 4 && s[i-1] == '-' { // "xn--" and its like
				return false
			}
		case c == '.' && label > 0 && i+1 < len(s):
			label = 0
		default:
			return false
		}
		if label > maxLabel {
			return false
		}
	}
	return s[len(s)-1] != '-'
}

func parsePrecis(s string) (JID, error) {
	if len(s) > 3*maxPart+2 {
		return JID{}, fmt.Errorf("%w: %d bytes", ErrMalformed, len(s))
	}
	m, err := mellium.Parse(s)
	if err != nil {
		return JID{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	domain := m.Domainpart()
	// Mellium lets these pass, and what it makes of ".." does not parse again.
	if !strings.HasPrefix(domain, "[") {
		for label := range strings.SplitSeq(domain, ".") {
			if label == "" || len(label) > maxLabel {
				return JID{}, fmt.Errorf("%w: label %q in the domain", ErrMalformed, label)
			}
		}
	}
	if !plainDomain(domain) {
		// Right-to-left letters come of some symbols, whose rules were not looked at.
		if again, err := mellium.Parse(domain); err != nil || again.Domainpart() != domain {
			return JID{}, fmt.Errorf("%w: the domain %q is none when it is prepared", ErrMalformed, domain)
		}
	}
	bare := domain
	at := 0
	if l := m.Localpart(); l != "" {
		at = len(l)
		bare = l + "@" + domain
	}
	j := JID{text: bare, at: uint16(at), bare: uint16(len(bare))}
	if r := m.Resourcepart(); r != "" {
		j.text += "/" + r
		j.rich = !plainResource(r) || strings.ContainsAny(r, "<>&'\"")
	}
	return j, nil
}
