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
	for _, target := range []struct {
		name, request string
		address       net.Addr
	}{
		{"page", "GET /", http[0]}, {"nothing", "POST /zzz", http[0]}, {"bosh", "GET /http-bind", http[0]},
		{"bosh body", "POST /http-bind", http[0]}, {"method", "PUT /http-bind/", http[0]}, {"metrics", "GET /metrics", a.MetricsAddress()},
	} {
		t.Run(target.name, func(t *testing.T) {
			t.Parallel()
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
			if _, err := io.ReadAll(conn); err != nil {
				t.Errorf("the connection is still open: %v", err)
			}
		})
	}
}
