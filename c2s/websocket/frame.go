package websocket

import (
	"encoding/binary"
	"fmt"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// failure is why a WebSocket connection fails (RFC 6455 section 7.1.7).
type failure struct {
	code  ws.StatusCode // told to the peer
	cause string        // for the log
}

// Error implements error.
func (f *failure) Error() string { return fmt.Sprintf("websocket: %s (%d)", f.cause, f.code) }

func broken(cause string) *failure { return &failure{ws.StatusProtocolError, cause} }

// event is what a parser found: a whole message, or a control frame. op is
// ws.OpText or ws.OpBinary for messages, ws.OpContinuation when there is nothing yet.
// The payload is unmasked, and still compressed when packed is set.
type event struct {
	op      ws.OpCode
	payload []byte
	packed  bool
}

// maxHeader is the length in bytes of the longest header of a masked frame.
const maxHeader = 14

// parser reads what a client sends (RFC 6455 section 5). It does no input and has no
// buffer of its own unless a frame or message has begun that is not complete. The zero
// parser is ready.
type parser struct {
	binary  bool // messages are accepted
	deflate bool // messages may be compressed

	head [maxHeader]byte // the beginning of an incomplete header
	have int             // how much of it

	in     bool // a frame, whose header is h
	h      ws.Header
	got    int    // bytes of its payload
	ctl    []byte // payload of a control frame of which not all came at once
	first  ws.OpCode
	packed bool   // the message is compressed
	msg    []byte // of a message of which not all came at once
	valid  int    // bytes of msg that are known to be UTF-8
	inside bool   // a fragmented message
}

// next finds the next message or control frame at the beginning of data. The first n
// bytes of data are done with; the next call gets what follows them. The event's
// payload may alias data, which is changed, and lasts until the next call. An event
// without op means that all of data was used up. No message may be longer than max
// bytes, or not much when it is compressed: that is known from the header, before
// anything is kept. An error is a *failure,
// and the end.
func (p *parser) next(data []byte, max int) (ev event, n int, err error) {
	for {
		if !p.in {
			used, err := p.header(data[n:])
			n += used
			if err != nil {
				return event{}, n, err
			}
			if !p.in {
				return event{}, n, nil
			}
			if err := p.admit(max); err != nil {
				return event{}, n, err
			}
		}
		part := data[n:min(len(data), n+int(p.h.Length)-p.got)]
		ws.Cipher(part, p.h.Mask, p.got)
		n += len(part)
		p.got += len(part)
		ev, err := p.payload(part)
		if err != nil || ev.op != ws.OpContinuation {
			return ev, n, err
		}
		if n == len(data) {
			return event{}, n, nil
		}
	}
}

// header takes the next frame's header, or what there is of it.
func (p *parser) header(data []byte) (used int, err error) {
	if p.have == 0 {
		size, err := parseHeader(data, &p.h)
		if err != nil || size > 0 {
			p.begin()
			return size, err
		}
	}
	for _, c := range data {
		p.head[p.have] = c
		p.have++
		used++
		size, err := parseHeader(p.head[:p.have], &p.h)
		if err != nil || size > 0 {
			p.begin()
			return used, err
		}
	}
	return used, nil
}

// begun reports whether a frame or a message has begun that is not complete.
func (p *parser) begun() bool { return p.have > 0 || p.in || p.inside }

func (p *parser) begin() { p.in, p.got, p.have = true, 0, 0 }

// parseHeader parses the header at the beginning of b (RFC 6455 section 5.2). size is
// its length, 0 when there is more to come.
func parseHeader(b []byte, h *ws.Header) (size int, err error) {
	if len(b) < 2 {
		return 0, nil
	}
	*h = ws.Header{Fin: b[0]&0x80 != 0, Rsv: b[0] >> 4 & 7, OpCode: ws.OpCode(b[0] & 0xf), Masked: b[1]&0x80 != 0}
	size = 2
	switch length := int64(b[1] & 0x7f); {
	case length < 126:
		h.Length = length
	case h.OpCode.IsControl():
		return 0, broken("long control frame")
	case length == 126:
		if size += 2; len(b) >= size {
			h.Length = int64(binary.BigEndian.Uint16(b[2:]))
			if h.Length < 126 {
				return 0, broken("length not in its shortest form")
			}
		}
	default:
		if size += 8; len(b) >= size {
			long := binary.BigEndian.Uint64(b[2:])
			if long < 1<<16 || long >= 1<<63 {
				return 0, broken("length not in its shortest form")
			}
			h.Length = int64(long)
		}
	}
	if h.Masked {
		size += len(h.Mask)
	}
	if len(b) < size {
		return 0, nil
	}
	if h.Masked {
		h.Mask = [4]byte(b[size-4 : size])
	}
	return size, nil
}

// admit checks a header against what came before, and against the limit.
func (p *parser) admit(max int) error {
	state := ws.StateServerSide
	if p.inside {
		state = state.Set(ws.StateFragmented)
	}
	packed := p.deflate && p.h.Rsv&4 != 0 && (p.h.OpCode == ws.OpText || p.h.OpCode == ws.OpBinary)
	if packed {
		p.h.Rsv &^= 4 // RFC 7692 section 6: RSV1 of a message's first frame
	}
	if err := ws.CheckHeader(p.h, state); err != nil {
		return broken(err.Error())
	}
	if p.h.OpCode.IsControl() {
		return nil
	}
	if p.h.OpCode == ws.OpBinary && !p.binary {
		return &failure{ws.StatusUnsupportedData, "binary message"}
	}
	if p.h.OpCode != ws.OpContinuation {
		p.first, p.packed = p.h.OpCode, packed
	}
	if p.packed {
		max = maxPacked(max)
	}
	if p.h.Length > int64(max-len(p.msg)) {
		return &failure{ws.StatusMessageTooBig, "message too long"}
	}
	return nil
}

// payload takes unmasked bytes of the frame at hand and returns the event if they
// complete one.
func (p *parser) payload(part []byte) (event, error) {
	whole := int64(p.got) == p.h.Length
	if whole {
		p.in = false
	}
	if op := p.h.OpCode; op.IsControl() {
		if !whole || p.ctl != nil {
			p.ctl = append(p.ctl, part...)
			part = p.ctl
		}
		if !whole {
			return event{}, nil
		}
		p.ctl = nil
		return event{op: op, payload: part}, nil
	}
	final := whole && p.h.Fin
	p.inside = !final && (p.inside || whole)
	if !final || p.msg != nil {
		// Only what came is kept, whatever length the header promised.
		p.msg = append(p.msg, part...)
		part = p.msg
	}
	if p.first == ws.OpText && !p.packed {
		p.valid += validUTF8(part[p.valid:])
		if p.valid < len(part) && (final || utf8.FullRune(part[p.valid:])) {
			return event{}, &failure{ws.StatusInvalidFramePayloadData, "text is not UTF-8"}
		}
	}
	if !final {
		return event{}, nil
	}
	p.msg, p.valid = nil, 0
	return event{p.first, part, p.packed}, nil
}

// validUTF8 is the length of the longest beginning of b that is UTF-8.
func validUTF8(b []byte) int {
	if utf8.Valid(b) {
		return len(b)
	}
	n := 0
	for n < len(b) {
		r, size := utf8.DecodeRune(b[n:])
		if r == utf8.RuneError && size <= 1 {
			break
		}
		n += size
	}
	return n
}

// closing reads the payload of a close frame (RFC 6455 sections 5.5.1 and 7.4).
func closing(payload []byte) (code ws.StatusCode, reason string, err error) {
	if len(payload) == 0 {
		return ws.StatusNoStatusRcvd, "", nil
	}
	if len(payload) == 1 {
		return 0, "", broken("close frame with half a status code")
	}
	code, reason = ws.ParseCloseFrameData(payload)
	switch {
	case code >= 1000 && code <= 1003, code >= 1007 && code <= 1014, code >= 3000 && code <= 4999:
	default:
		return 0, "", broken(fmt.Sprintf("close frame with status code %d", code))
	}
	if !utf8.ValidString(reason) {
		return 0, "", &failure{ws.StatusInvalidFramePayloadData, "reason is not UTF-8"}
	}
	return code, reason, nil
}

// appendHeader appends the header of an unfragmented frame from the server.
func appendHeader(dst []byte, op ws.OpCode, length int) []byte {
	dst = append(dst, 0x80|byte(op))
	switch {
	case length < 126:
		return append(dst, byte(length))
	case length < 1<<16:
		return binary.BigEndian.AppendUint16(append(dst, 126), uint16(length))
	}
	return binary.BigEndian.AppendUint64(append(dst, 127), uint64(length))
}

func appendFrame(dst []byte, op ws.OpCode, payload []byte) []byte {
	return append(appendHeader(dst, op, len(payload)), payload...)
}

// appendClose appends a close frame; a code of ws.StatusNoStatusRcvd is left out.
func appendClose(dst []byte, code ws.StatusCode) []byte {
	if code == ws.StatusNoStatusRcvd {
		return appendHeader(dst, ws.OpClose, 0)
	}
	return binary.BigEndian.AppendUint16(appendHeader(dst, ws.OpClose, 2), uint16(code))
}
