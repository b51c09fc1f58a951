//go:build unix

package tcp_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"testing"

	"rollcall/internal/testkit"
)

// crowd says what clients in another process do.
type crowd struct {
	Address string
	Conns   int  // that log in and stay
	TLS     bool // from the first byte
	// Handshakes is how many shake hands only, one after the other: with which
	// groups for the keys (nil for the usual ones), and whether they resume the first
	// one's session.
	Handshakes int
	Groups     []tls.CurveID
	Version    uint16
	Resume     bool
}

func TestMain(m *testing.M) { os.Exit(testkit.Main(m, beCrowd)) }

// clients waits until a crowd has done what it is told; leave ends it.
func (h *house) clients(b *testing.B, c crowd) (leave func()) {
	b.Helper()
	c.Address = h.address
	about, err := json.Marshal(c)
	if err != nil {
		b.Fatal(err)
	}
	end := testkit.Clients(b, string(about))
	return func() {
		end()
		for range c.Conns {
			h.expectClose("lost")
		}
	}
}

func beCrowd(about string) (any, error) {
	var c crowd
	if err := json.Unmarshal([]byte(about), &c); err != nil {
		return nil, err
	}
	if err := c.shakeHands(); err != nil {
		return nil, err
	}
	conns := make([]net.Conn, c.Conns)
	for i := range conns {
		conn, err := c.logIn(fmt.Sprint("u", i))
		if err != nil {
			return nil, err
		}
		conns[i] = conn
	}
	return conns, nil
}

func (c *crowd) logIn(user string) (net.Conn, error) {
	conn, err := net.Dial("tcp", c.Address)
	if err != nil {
		return nil, err
	}
	if c.TLS {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	}
	if _, err := io.WriteString(conn, header+auth64(user)+header+bind("x")); err != nil {
		return nil, err
	}
	return conn, readUntil(conn, "</jid></bind></iq>")
}

// readUntil reads up to a text.
func readUntil(conn net.Conn, text string) error {
	var got []byte
	buf := make([]byte, 4096)
	for !bytes.Contains(got, []byte(text)) {
		n, err := conn.Read(buf)
		got = append(got, buf[:n]...)
		if err != nil {
			return fmt.Errorf("%w: %s", err, got)
		}
	}
	return nil
}

// shakeHands connects and reads a little, so that it gets the ticket, then leaves.
func (c *crowd) shakeHands() error {
	config := &tls.Config{InsecureSkipVerify: true, CurvePreferences: c.Groups, MaxVersion: c.Version, ServerName: host}
	if c.Resume {
		config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	}
	for i := range c.Handshakes {
		conn, err := tls.Dial("tcp", c.Address, config)
		if err != nil {
			return err
		}
		if _, err := io.WriteString(conn, header); err != nil {
			return err
		}
		if err := readUntil(conn, "</stream:features>"); err != nil {
			return err
		}
		if resumed := conn.ConnectionState().DidResume; resumed != (c.Resume && i > 0) {
			return fmt.Errorf("resumed: %v", resumed)
		}
		if err := conn.Close(); err != nil {
			return err
		}
	}
	return nil
}
