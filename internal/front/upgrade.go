package front

import (
	"net"
	"net/http"

	"rollcall/internal/link"
)

// Upgrader takes connections whose clients ask for another protocol (RFC 9110 section
// 7.8).
type Upgrader interface {
	// Upgrade serves a request, and reports whether it did; if not, Rest does. detach,
	// which may be called once, hands over the connection with all that comes after the
	// request, and with HTTP's deadlines; false means that it is on its way down.
	Upgrade(r *http.Request, detach func() (nc net.Conn, ok bool)) bool
}

// upgrader is who may take the connection of a request, or nil. r may be nil.
func (f *Front) upgrader(r *http.Request) Upgrader {
	if r == nil || r.Method != http.MethodGet || r.Header["Upgrade"] == nil {
		return nil
	}
	return f.cfg.Upgraders[r.URL.Path]
}

// upgrade has u serve a request, and reports whether it did. unread is what came after
// the request.
func (c *conn) upgrade(u Upgrader, r *http.Request, unread func() []byte) (served bool) {
	var detached *link.Detached
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		c.f.logPanic(p)
		c.lost()
		if detached != nil {
			// Nobody is there to be told that closing failed.
			_ = detached.Close()
		}
		served = true
	}()
	return u.Upgrade(r, func() (net.Conn, bool) {
		d, ok := c.link.Detach(unread())
		if !ok {
			return nil, false
		}
		detached = d
		return d, true
	})
}
