package websocket

import (
	"net"

	"rollcall/server"
)

// Take begins a session on a connection after its handshake.
func (a *Acceptor) Take(nc net.Conn) {
	a.newConn(server.Info{Kind: "websocket", Remote: "pipe", Secure: true}).serve(nc, nil)
}
