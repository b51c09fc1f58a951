package load

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"time"

	"github.com/gobwas/ws"

	"rollcall/internal/ns"
	"rollcall/internal/xmlscan"
)

// limits are wider than the server's own.
var limits = xmlscan.Limits{Bytes: 64 << 20, Depth: 1000, Attrs: 1000}

// clientScope is what is declared around stanzas.
func clientScope() []xmlscan.Attr {
	return []xmlscan.Attr{
		{Name: []byte("xmlns"), Value: []byte(ns.Client), Quote: '\''},
		{Name: []byte("xmlns:stream"), Value: []byte(ns.Stream), Quote: '\''},
	}
}

// stream is the incoming side of a connection whose elements follow one another.
type stream struct {
	conn net.Conn
	scan *xmlscan.Scanner
	// fill reads at least one byte into p, which is not empty.
	fill func(p []byte) (int, error)
	buf  []byte // what was read and not taken
	room []byte // all of the buffer
}

func newStream(conn net.Conn) *stream {
	room := make([]byte, 512)
	return &stream{conn: conn, scan: xmlscan.New(limits), fill: conn.Read, buf: room[:0], room: room}
}

// next waits for the next element.
func (s *stream) next(el *xmlscan.Element) error {
	for {
		n, err := s.scan.Next(s.buf, el)
		s.buf = s.buf[n:]
		if !errors.Is(err, xmlscan.ErrMore) {
			if err == nil && el.Kind == xmlscan.End {
				return io.EOF
			}
			return err
		}
		if err := s.more(); err != nil {
			return err
		}
	}
}

// more reads once, into a larger buffer if this one is full.
func (s *stream) more() error {
	have := len(s.buf)
	if have == len(s.room) {
		s.room = make([]byte, 2*len(s.room))
	}
	copy(s.room, s.buf)
	n, err := s.fill(s.room[have:])
	s.buf = s.room[:have+n]
	if n > 0 {
		return nil
	}
	return err
}

func (s *stream) run(on func(el *xmlscan.Element)) error {
	var el xmlscan.Element
	for {
		if err := s.next(&el); err != nil {
			return err
		}
		if string(el.Local) == "error" && string(el.Space) == ns.Stream {
			return fmt.Errorf("%w: %s", errRefused, el.Raw)
		}
		on(&el)
	}
}

func (s *stream) deadline(t time.Time) error { return s.conn.SetDeadline(t) }
func (s *stream) close() error               { return s.conn.Close() }

// tcp is XMPP over TCP (RFC 6120).
type tcp struct{ *stream }

func dialTCP(ctx context.Context, o Options) (wire, error) {
	conn, err := connect(ctx, o)
	if err != nil {
		return nil, err
	}
	return tcp{newStream(conn)}, nil
}

func (t tcp) open(host string) error {
	header := "<stream:stream to='" + host + "' version='1.0' xmlns='" + ns.Client + "' xmlns:stream='" + ns.Stream + "'>"
	if err := t.send([]byte(header)); err != nil {
		return err
	}
	t.scan.Reset()
	var el xmlscan.Element
	return t.next(&el)
}

func (t tcp) send(el []byte) error {
	_, err := t.conn.Write(el)
	return err
}

// webSocket is XMPP over WebSocket (RFC 7395).
type webSocket struct {
	*stream
	read *bufio.Reader
	left int64 // of the frame that is being read
}

func dialWebSocket(ctx context.Context, o Options) (wire, error) {
	conn, err := connect(ctx, o)
	if err != nil {
		return nil, err
	}
	u := &url.URL{Scheme: "ws", Host: o.Address, Path: "/xmpp-websocket"}
	d := ws.Dialer{Protocols: []string{"xmpp"}}
	// The server says nothing before the client does: the reader that Upgrade may return
	// is empty.
	if _, _, err := d.Upgrade(conn, u); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	w := &webSocket{stream: newStream(conn), read: bufio.NewReaderSize(conn, 512)}
	w.fill = w.payload
	return w, nil
}

func (w *webSocket) open(host string) error {
	if err := w.send([]byte("<open xmlns='" + ns.Framing + "' to='" + host + "' version='1.0'/>")); err != nil {
		return err
	}
	w.scan.Scope(clientScope())
	var el xmlscan.Element
	return w.next(&el)
}

func (w *webSocket) send(el []byte) error { return w.frame(ws.NewTextFrame(el)) }

// frame writes a frame at once.
func (w *webSocket) frame(f ws.Frame) error {
	var key [4]byte
	for i, r := 0, rand.Uint32(); i < len(key); i++ {
		key[i] = byte(r >> (8 * i))
	}
	raw, err := ws.CompileFrame(ws.MaskFrameWith(f, key))
	if err != nil {
		return err
	}
	_, err = w.conn.Write(raw)
	return err
}

// payload reads what text frames carry, and answers pings.
func (w *webSocket) payload(p []byte) (int, error) {
	for w.left == 0 {
		h, err := ws.ReadHeader(w.read)
		if err != nil {
			return 0, err
		}
		switch h.OpCode {
		case ws.OpText, ws.OpContinuation:
			w.left = h.Length
			continue
		case ws.OpClose:
			return 0, io.EOF
		}
		control := make([]byte, h.Length) // at most 125 bytes
		if _, err := io.ReadFull(w.read, control); err != nil {
			return 0, err
		}
		if h.OpCode == ws.OpPing {
			if err := w.frame(ws.NewPongFrame(control)); err != nil {
				return 0, err
			}
		}
	}
	n, err := w.read.Read(p[:min(int64(len(p)), w.left)])
	w.left -= int64(n)
	return n, err
}
