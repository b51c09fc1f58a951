package websocket_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"
)

// The opcodes of RFC 6455 section 5.2.
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xa
)

// rawFrame is a frame as a client may write it, right or wrong.
type rawFrame struct {
	op       byte
	payload  string
	more     bool   // FIN is not set
	reserved byte   // RSV1 to RSV3 as 4, 2, 1
	unmasked bool   // RFC 6455 section 5.1 forbids it
	width    int    // bytes of the extended length: 2, 8, or 0 for the least
	claim    uint64 // the length when it is not the payload's
}

// bytes is the frame on the wire.
func (f rawFrame) bytes() []byte {
	first := f.op | f.reserved<<4
	if !f.more {
		first |= 0x80
	}
	size := uint64(len(f.payload))
	if f.claim > 0 {
		size = f.claim
	}
	width := f.width
	switch {
	case width > 0:
	case size > 0xffff:
		width = 8
	case size > 125:
		width = 2
	}
	b := []byte{first}
	switch width {
	case 0:
		b = append(b, byte(size))
	case 2:
		b = binary.BigEndian.AppendUint16(append(b, 126), uint16(size))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 127), size)
	}
	if f.unmasked {
		return append(b, f.payload...)
	}
	b[1] |= 0x80
	key := [4]byte{0xa1, 0x00, 0x5c, 0xff}
	b = append(b, key[:]...)
	for i := range len(f.payload) {
		b = append(b, f.payload[i]^key[i%4])
	}
	return b
}

func textFrame(payload string) rawFrame { return rawFrame{op: opText, payload: payload} }

// closeFrame has a code and a reason; without a code it is empty.
func closeFrame(code uint16, reason string) rawFrame {
	return rawFrame{op: opClose, payload: string(binary.BigEndian.AppendUint16(nil, code)) + reason}
}

// fragments cuts a text message into frames.
func fragments(pieces ...string) []rawFrame {
	frames := make([]rawFrame, len(pieces))
	for i, piece := range pieces {
		frames[i] = rawFrame{op: opContinuation, payload: piece, more: i < len(pieces)-1}
	}
	frames[0].op = opText
	return frames
}

// chop is how frames are cut into writes: 0 for one write, -1 for one per frame,
// else so many bytes each.
type chop int

// frame reads the next frame of the server and holds it to RFC 6455 sections 5.1,
// 5.2 and 5.5, and to one frame per message.
func (p *rawPeer) frame() (op byte, payload string, err error) {
	var head [2]byte
	if _, err := io.ReadFull(p.in, head[:]); err != nil {
		return 0, "", err
	}
	op = head[0] & 0x0f
	size := uint64(head[1] & 0x7f)
	if head[0]&0xf0 != 0x80 || head[1]&0x80 != 0 {
		return 0, "", fmt.Errorf("the server sends a frame that begins %x", head)
	}
	if op >= opClose && size > 125 {
		return 0, "", fmt.Errorf("the server sends a control frame that begins %x", head)
	}
	var extended [8]byte
	width := map[uint64]int{126: 2, 127: 8}[size]
	if width > 0 {
		if _, err := io.ReadFull(p.in, extended[8-width:]); err != nil {
			return 0, "", err
		}
		size = binary.BigEndian.Uint64(extended[:])
		if size < 126 || width == 8 && size < 1<<16 || size > 1<<24 {
			return 0, "", fmt.Errorf("the server writes the length %d in %d bytes", size, width)
		}
	}
	body := make([]byte, size)
	_, err = io.ReadFull(p.in, body)
	return op, string(body), err
}

// closeCode reads the payload of a close frame (RFC 6455 section 5.5.1).
func (p *rawPeer) closeCode(payload string) int {
	p.t.Helper()
	if payload == "" {
		return 1005
	}
	if len(payload) < 2 || strings.ToValidUTF8(payload[2:], "") != payload[2:] {
		p.t.Fatalf("a close frame with %q", payload)
	}
	return int(binary.BigEndian.Uint16([]byte(payload)))
}
