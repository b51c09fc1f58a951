package front

import (
	"errors"
	"net/http"
	"strconv"
	"time"
)

// Block serves a request on another HTTP server, with a goroutine that waits for the
// reply: for servers that offer nothing better, such as those of HTTP/2. The body has
// bodyTime to come and the reply replyTime to be taken, where the server knows
// deadlines.
func Block(h Handler, w http.ResponseWriter, r *http.Request, bodyTime, replyTime time.Duration) {
	rc := http.NewResponseController(w)
	x, request := h.Exchange(), ofServer(r)
	x.ready = make(chan struct{})
	if err := deadline(rc.SetReadDeadline, bodyTime); err != nil {
		return // before anybody knows of it
	}
	x.serveBy(h, request)
	if request.ended {
		// Otherwise the deadline holds for what net/http still reads.
		if err := deadline(rc.SetReadDeadline, 0); err != nil {
			x.tell(false)
			return
		}
	}
	gone := r.Context().Done()
	if !request.ended {
		gone = nil // what has not come in time is answered all the same
	}
	select {
	case <-x.ready:
		// A connection that is gone may still take what is written to it.
		there := gone == nil || r.Context().Err() == nil
		x.tell(there && x.writeTo(w, rc, replyTime) == nil)
	case <-gone:
		x.tell(false)
	}
}

// deadline sets a deadline from now on, or lifts it.
func deadline(set func(time.Time) error, d time.Duration) error {
	at := time.Time{}
	if d > 0 {
		at = time.Now().Add(d)
	}
	if err := set(at); !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

func (x *Exchange) writeTo(w http.ResponseWriter, rc *http.ResponseController, replyTime time.Duration) error {
	x.mu.Lock()
	status, fields, body := x.status, x.fields, x.reply
	x.mu.Unlock()
	for _, f := range fields {
		w.Header().Add(f.Name, f.Value)
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	if err := deadline(rc.SetWriteDeadline, replyTime); err != nil {
		return err
	}
	w.WriteHeader(status)
	if _, err := w.Write(body); err != nil {
		return err
	}
	if err := rc.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	// The reply is out; a connection that is broken by now shows that next time.
	_ = deadline(rc.SetWriteDeadline, 0)
	return nil
}
