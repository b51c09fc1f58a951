package websocket

import (
	"fmt"
	"io"
	"net"

	"github.com/gobwas/ws"
)

// Take begins a session on a connection after its handshake.
func (a *Acceptor) Take(nc net.Conn) {
	c := &conn{a: a, awaits: true, secure: true}
	c.serve(nc, nil, nil)
}

// ReadFrame reads a frame of a reasonable length.
func ReadFrame(r io.Reader) (f ws.Frame, err error) {
	if f.Header, err = ws.ReadHeader(r); err != nil {
		return f, err
	}
	if f.Header.Length > 1<<20 {
		return f, fmt.Errorf("a frame of %d bytes", f.Header.Length)
	}
	f.Payload = make([]byte, f.Header.Length)
	_, err = io.ReadFull(r, f.Payload)
	return f, err
}
