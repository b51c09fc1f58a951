package bosh

import (
	"crypto/sha1"
	"encoding/hex"
	"strings"
	"testing"
)

// keyChain makes n keys, of which the last is announced and the others are used
// backwards (XEP-0124 section 15.3).
func keyChain(seed string, n int) []string {
	keys := make([]string, n)
	for i := range keys {
		sum := sha1.Sum([]byte(seed))
		seed = hex.EncodeToString(sum[:])
		keys[n-1-i] = seed
	}
	return keys
}

func TestB27Keys(t *testing.T) {
	keys := keyChain("some seed", 8)
	for _, test := range []struct {
		name  string
		keys  []string // attributes of the requests after creation
		fails bool     // the last one
	}{
		{"in order", []string{"key='" + keys[1] + "'", "key='" + keys[2] + "'", "key='" + keys[3] + "'"}, false},
		{"none", []string{""}, true},
		{"later none", []string{"key='" + keys[1] + "'", ""}, true},
		{"empty", []string{"key=''"}, true},
		{"wrong", []string{"key='" + keys[2] + "'"}, true},
		{"the same twice", []string{"key='" + keys[1] + "'", "key='" + keys[1] + "'"}, true},
		{"the announced one", []string{"key='" + keys[0] + "'"}, true},
		{"a new chain", []string{"key='" + keys[1] + "' newkey='" + keyChain("b", 3)[0] + "'", "key='" + keyChain("b", 3)[1] + "'"}, false},
		{"a new chain without the key of the old", []string{"newkey='" + keyChain("b", 3)[0] + "'"}, true},
		{"the old chain after the new", []string{"key='" + keys[1] + "' newkey='" + keyChain("b", 3)[0] + "'", "key='" + keys[2] + "'"}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(r *rig) {
				c := r.create(usualAttrs + " newkey='" + strings.ToUpper(keys[0]) + "'")
				for i, attrs := range test.keys {
					b := c.send(attrs+" wait='0'", "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='X'/>").now()
					if test.fails && i == len(test.keys)-1 {
						r.expectEnd(b, itemNotFound)
						r.expectEnd(c.send("key='"+keys[3]+"'", "").now(), itemNotFound)
						return
					}
					r.expect(b, "failure")
				}
			})
		})
	}
}

// TestB27Repeats: copies of a request do not use up keys, and requests out of order
// are checked in order.
func TestB27Repeats(t *testing.T) {
	keys := keyChain("some seed", 8)
	inBubble(t, func(r *rig) {
		c := r.create(usualAttrs + " newkey='" + keys[0] + "'")
		c.expect(c.send("key='"+keys[1]+"'", plain("alice")).now(), "success")
		c.expect(c.at(c.rid, "key='"+keys[1]+"'", plain("alice")).now(), "success")
		c.expect(c.send("xmpp:restart='true' key='"+keys[2]+"'", "").now(), "features")
		early := c.at(c.rid+2, "key='"+keys[4]+"'", presence)
		early.held()
		again := c.at(c.rid+2, "key='"+keys[4]+"'", presence)
		r.expectError(early)
		c.expect(c.send("key='"+keys[3]+"'", bind("web")).now(), "iq")
		c.expect(again.now(), "presence")
		c.rid++
		c.expect(c.send("key='"+keys[5]+"'", ping).now(), "iq")
	})
}

// expectError checks that a request was told to come again.
func (r *rig) expectError(c *call) {
	r.t.Helper()
	if b := c.now(); b.SelectAttrValue("type", "") != "error" {
		r.t.Fatalf("got %s", dump(b))
	}
}
