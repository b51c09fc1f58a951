package server_test

import "testing"

// TestOneWrite sends to the same connections again and again in one turn.
func TestOneWrite(t *testing.T) {
	c := newCore(t)
	alice, bob, eve := c.dial(t, "alice@example.com/web"), c.dial(t, "bob@example.com/web"), c.dial(t, "eve@example.com/web")
	all := []*pipe{alice, bob, eve}
	for _, p := range all {
		p.writes, p.flushes = 0, 0
	}
	const rounds = 5
	in := ""
	for range rounds {
		in += "<message to='bob@example.com/web'/><message to='eve@example.com'/><iq type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>"
	}
	alice.send(t, []byte(in))
	for _, p := range all {
		if p.writes != rounds || p.flushes != 1 {
			t.Errorf("%s: %d elements in %d writes", p.JID(), p.writes, p.flushes)
		}
	}
}

// TestAddressesAsTheyAre sends to addresses that only look like those that are known,
// and to the same ones in other words.
func TestAddressesAsTheyAre(t *testing.T) {
	c := newCore(t)
	alice := c.dial(t, "alice@example.com/web")
	plain, escaped := c.dial(t, "bob@example.com/a&b"), c.dial(t, "bob@example.com/a&amp;b")
	tests := []struct {
		to             string
		plain, escaped int
	}{
		{"bob@example.com/a&amp;b", 1, 0},
		{"bob@example.com/a&#38;b", 1, 0},
		{"BOB@example.com/a&amp;b", 1, 0},
		{"bob@example.com/a&amp;amp;b", 0, 1},
		{"bob@example.com", 1, 1},
		{"BOB@Example.com", 1, 1},
		{"b&#x6f;b@example.com", 1, 1},
		{"bob@example.com/", 0, 0},
		{"bob@example.com/b", 0, 0},
	}
	for _, test := range tests {
		plain.writes, escaped.writes = 0, 0
		alice.send(t, []byte("<message to='"+test.to+"'/>"))
		if plain.writes != test.plain || escaped.writes != test.escaped {
			t.Errorf("%s: %d and %d, want %d and %d", test.to, plain.writes, escaped.writes, test.plain, test.escaped)
		}
	}
}
