package tcp

import "rollcall/server"

// Sessions lists the sessions of the open connections.
func (a *Acceptor) Sessions() []*server.Session {
	var list []*server.Session
	for _, c := range a.pool.Open() {
		list = append(list, c.Handler().(*conn).session)
	}
	return list
}
