package test

import (
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"rollcall/conf"
)

// A body that never comes does not hold a connection for ever, wherever it was
// meant to go.
func TestUnfinishedBodies(t *testing.T) {
	a := start(t, options{config: func(c *conf.Config) { c.Listen.HTTP[0].Demo = true }})
	_, http := a.Addresses()
	var conns []net.Conn
	for _, target := range []struct {
		request string
		address net.Addr
	}{
		{"GET /", http[0]}, {"POST /zzz", http[0]}, {"GET /http-bind", http[0]},
		{"PUT /http-bind/", http[0]}, {"GET /metrics", a.MetricsAddress()},
	} {
		conn, err := net.Dial("tcp", target.address.String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n", target.request); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	for i, conn := range conns {
		if _, err := io.ReadAll(conn); err != nil {
			t.Errorf("connection %d is still open: %v", i, err)
		}
	}
}
