package bosh

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/beevik/etree"
)

// createWith sends a creation request with a header.
func (r *rig) createWith(remote string, header http.Header) *etree.Element {
	r.t.Helper()
	req := newPost(creation(usualAttrs))
	req.RemoteAddr, req.Header = remote, header
	c := r.serve(req, false)
	synctest.Wait()
	return c.body()
}

// TestB7ProposedSIDs: a proxy that is trusted may choose the sid, if it is long and
// free.
func TestB7ProposedSIDs(t *testing.T) {
	const proxy, stranger = "10.1.2.3:4", "192.0.2.1:5"
	good := strings.Repeat("0123456789abcdef", 2)
	for _, test := range []struct {
		name, remote, sid string
		taken             bool
	}{
		{"32 digits", proxy, good, true},
		{"64 digits", proxy, good + good, true},
		{"a stranger's", stranger, good, false},
		{"too short", proxy, good[1:], false},
		{"too long", proxy, good + good + "0", false},
		{"upper case", proxy, strings.ToUpper(good), false},
		{"no hexadecimal", proxy, good[1:] + "g", false},
		{"markup", proxy, "'/><x y='" + good, false},
		{"a new line", proxy, good + "\n", false},
		{"none", proxy, "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(r *rig) {
				header := http.Header{"X-Bosh-Sid": {test.sid}}
				sid := r.createWith(test.remote, header).SelectAttrValue("sid", "")
				if sid == "" || (sid == test.sid) != test.taken {
					t.Fatalf("sid %q", sid)
				}
				c := &boshClient{rig: r, sid: sid, rid: 1000}
				c.expect(c.send("", plain("alice")).now(), "success")
				// It is not given twice.
				other := r.createWith(test.remote, header).SelectAttrValue("sid", "")
				if other == "" || other == sid {
					t.Errorf("sid %q of another one", other)
				}
				c.expect(c.send("xmpp:restart='true'", "").now(), "features")
				d := &boshClient{rig: r, sid: other, rid: 1000}
				d.expect(d.send("", plain("alice")).now(), "success")
				// The end of one leaves the other.
				d.send("type='terminate'", "").now()
				c.expect(c.send("", bind("web")).now(), "iq")
				// Elsewhere than at creation it means nothing.
				req := newPost(c.text(c.rid+1, "", ping))
				req.RemoteAddr, req.Header = test.remote, http.Header{"X-Bosh-Sid": {strings.Repeat("f", 32)}}
				r.expect(r.serve(req, false).body(), "iq")
			}, func(c *Config) { c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} })
		})
	}
}
