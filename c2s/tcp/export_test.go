package tcp

import "rollcall/server"

// Simple makes an Acceptor use the loop of systems without a lean link.
func (a *Acceptor) Simple() { a.simple = true }

// Sessions lists the sessions of the open connections.
func (a *Acceptor) Sessions() []*server.Session {
	var list []*server.Session
	for _, c := range a.open() {
		list = append(list, c.session)
	}
	return list
}
