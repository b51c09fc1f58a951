package transcript

import (
	"errors"
	"net"
	"strings"
)

// frameWatch is a connection that looks at the frames a server sends: the library
// shows whole messages only.
type frameWatch struct {
	net.Conn
	head    []byte // of the HTTP response, then of a frame
	upgrade int    // 0: the response is coming, 1: frames, -1: no WebSocket
	payload uint64 // still to come of the frame
}

// Read reads and looks.
func (w *frameWatch) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	for _, b := range p[:n] {
		if w.upgrade < 0 {
			break
		}
		if e := w.see(b); e != nil {
			return 0, e
		}
	}
	return n, err
}

func (w *frameWatch) see(b byte) error {
	if w.payload > 0 {
		w.payload--
		return nil
	}
	w.head = append(w.head, b)
	if w.upgrade == 0 {
		if strings.HasSuffix(string(w.head), "\r\n\r\n") {
			w.upgrade = -1
			if strings.HasPrefix(string(w.head), "HTTP/1.1 101 ") {
				w.upgrade = 1
			}
			w.head = w.head[:0]
		}
		return nil
	}
	return w.frame()
}

// frame takes the head of a frame once it is whole (RFC 6455 section 5.2).
func (w *frameWatch) frame() error {
	if len(w.head) < 2 {
		return nil
	}
	size := uint64(w.head[1] & 0x7f)
	extra := 0
	switch size {
	case 126:
		extra = 2
	case 127:
		extra = 8
	}
	if len(w.head) < 2+extra {
		return nil
	}
	if extra > 0 {
		size = 0
		for _, b := range w.head[2:] {
			size = size<<8 | uint64(b)
		}
	}
	if w.head[0]&0x80 == 0 || w.head[0]&0x0f == 0 {
		return errors.New("transcript: a message in several frames")
	}
	if w.head[1]&0x80 != 0 {
		return errors.New("transcript: a masked frame from the server (RFC 6455 section 5.1)")
	}
	w.payload, w.head = size, w.head[:0]
	return nil
}
