package websocket

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

// found is a copy of what a parser found.
type found struct {
	op      ws.OpCode
	payload string
}

// parseAll gives p the pieces of a stream.
func parseAll(p *parser, max int, pieces ...[]byte) (all []found, err error) {
	for _, piece := range pieces {
		piece = bytes.Clone(piece)
		for {
			ev, n, err := p.next(piece, max)
			if err != nil {
				return all, err
			}
			piece = piece[n:]
			if ev.op == ws.OpContinuation {
				if len(piece) > 0 {
					return all, fmt.Errorf("%d bytes are left over", len(piece))
				}
				break
			}
			all = append(all, found{ev.op, string(ev.payload)})
		}
	}
	return all, nil
}

func masked(op ws.OpCode, fin bool, payload string) []byte {
	return ws.MustCompileFrame(ws.MaskFrameWith(ws.NewFrame(op, fin, []byte(payload)), [4]byte{1, 200, 3, 99}))
}

func join(frames ...[]byte) []byte { return bytes.Join(frames, nil) }

func each(b []byte) (pieces [][]byte) {
	for i := range b {
		pieces = append(pieces, b[i:i+1])
	}
	return pieces
}

func TestParserFinds(t *testing.T) {
	long := strings.Repeat("x", 70_000)
	for name, test := range map[string]struct {
		in   []byte
		want []found
	}{
		"text":              {masked(ws.OpText, true, "hello"), []found{{ws.OpText, "hello"}}},
		"nothing":           {masked(ws.OpText, true, ""), []found{{ws.OpText, ""}}},
		"125":               {masked(ws.OpText, true, long[:125]), []found{{ws.OpText, long[:125]}}},
		"126":               {masked(ws.OpText, true, long[:126]), []found{{ws.OpText, long[:126]}}},
		"65535":             {masked(ws.OpText, true, long[:65535]), []found{{ws.OpText, long[:65535]}}},
		"65536":             {masked(ws.OpText, true, long[:65536]), []found{{ws.OpText, long[:65536]}}},
		"long":              {masked(ws.OpText, true, long), []found{{ws.OpText, long}}},
		"two":               {join(masked(ws.OpText, true, "a"), masked(ws.OpBinary, true, "\xff")), []found{{ws.OpText, "a"}, {ws.OpBinary, "\xff"}}},
		"fragments":         {join(masked(ws.OpText, false, "a"), masked(ws.OpContinuation, false, ""), masked(ws.OpContinuation, true, "b")), []found{{ws.OpText, "ab"}}},
		"empty fragments":   {join(masked(ws.OpText, false, ""), masked(ws.OpContinuation, true, "")), []found{{ws.OpText, ""}}},
		"ping in between":   {join(masked(ws.OpText, false, "a"), masked(ws.OpPing, true, "p"), masked(ws.OpContinuation, true, "b")), []found{{ws.OpPing, "p"}, {ws.OpText, "ab"}}},
		"character in two":  {join(masked(ws.OpText, false, "\xc3"), masked(ws.OpContinuation, true, "\xa9")), []found{{ws.OpText, "é"}}},
		"character in four": {join(masked(ws.OpText, false, "x\xf0"), masked(ws.OpContinuation, false, "\x9f"), masked(ws.OpContinuation, false, "\x98"), masked(ws.OpContinuation, true, "\x80y")), []found{{ws.OpText, "x😀y"}}},
		"message after one in fragments": {join(masked(ws.OpText, false, "a"), masked(ws.OpContinuation, true, "b"), masked(ws.OpText, true, "c")),
			[]found{{ws.OpText, "ab"}, {ws.OpText, "c"}}},
	} {
		for _, pieces := range [][][]byte{{test.in}, each(test.in)} {
			got, err := parseAll(&parser{binary: true}, 1<<20, pieces...)
			if err != nil || fmt.Sprint(got) != fmt.Sprint(test.want) {
				t.Errorf("%s in %d pieces: %.100q %v", name, len(pieces), got, err)
			}
		}
	}
}

func TestParserRefuses(t *testing.T) {
	header := func(b ...byte) []byte { return append(b, 0, 0, 0, 0) } // with a mask
	for name, test := range map[string]struct {
		in   []byte
		code ws.StatusCode
	}{
		"not masked":                 {[]byte{0x81, 1, 'a'}, 1002},
		"RSV1":                       {header(0xc1, 0x80), 1002},
		"RSV2":                       {header(0xa1, 0x80), 1002},
		"RSV3":                       {header(0x91, 0x80), 1002},
		"opcode 3":                   {header(0x83, 0x80), 1002},
		"opcode 11":                  {header(0x8b, 0x80), 1002},
		"continuation of nothing":    {header(0x80, 0x80), 1002},
		"text inside text":           {join(masked(ws.OpText, false, "a"), masked(ws.OpText, true, "b")), 1002},
		"ping in fragments":          {masked(ws.OpPing, false, ""), 1002},
		"long ping":                  {header(0x89, 0xfe, 0, 126), 1002},
		"length of 16 bits, short":   {header(0x81, 0xfe, 0, 125), 1002},
		"length of 64 bits, short":   {header(0x81, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff), 1002},
		"length with its top bit":    {header(0x81, 0xff, 0x80, 0, 0, 0, 0, 1, 0, 0), 1002},
		"binary":                     {header(0x82, 0x81), 1003},
		"too long":                   {header(0x81, 0xfe, 3, 0xe9), 1009},
		"far too long":               {header(0x81, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), 1009},
		"too long together":          {join(masked(ws.OpText, false, strings.Repeat("x", 600)), header(0x80, 0xfe, 1, 0x91)), 1009},
		"not UTF-8":                  {masked(ws.OpText, true, "a\xff"), 1007},
		"surrogate":                  {masked(ws.OpText, true, "\xed\xa0\x80"), 1007},
		"half a character":           {masked(ws.OpText, true, "a\xc3"), 1007},
		"not UTF-8, known early":     {masked(ws.OpText, false, "a\xff"), 1007},
		"not UTF-8, across":          {join(masked(ws.OpText, false, "a\xc3"), masked(ws.OpContinuation, false, "x")), 1007},
		"half a character at an end": {join(masked(ws.OpText, false, "a\xc3"), masked(ws.OpContinuation, true, "")), 1007},
	} {
		for _, pieces := range [][][]byte{{test.in}, each(test.in)} {
			_, err := parseAll(new(parser), 1000, pieces...)
			var f *failure
			if !errors.As(err, &f) || f.code != test.code {
				t.Errorf("%s in %d pieces: %v, want %d", name, len(pieces), err, test.code)
			}
		}
	}
}

// TestParserKeeps: what a header promises costs nothing before it comes.
func TestParserKeeps(t *testing.T) {
	p := new(parser)
	start := masked(ws.OpText, true, strings.Repeat("x", 1<<20))
	if _, err := parseAll(p, 1<<20, start[:20]); err != nil {
		t.Fatal(err)
	}
	if got := cap(p.msg); got > 64 {
		t.Errorf("%d bytes are kept of 6", got)
	}
	if _, err := parseAll(p, 1<<20, start[20:]); err != nil || p.msg != nil || p.ctl != nil || p.have != 0 {
		t.Errorf("after the message: %d bytes, %v", len(p.msg), err)
	}
}

func TestClosing(t *testing.T) {
	for payload, want := range map[string]string{
		"":             "1005",
		"\x03":         "websocket: close frame with half a status code (1002)",
		"\x03\xe8":     "1000",
		"\x03\xe8bye":  "1000 bye",
		"\x03\xf6":     "1014",
		"\x0b\xb8":     "3000",
		"\x13\x87":     "4999",
		"\x03\xe7":     "websocket: close frame with status code 999 (1002)",
		"\x03\xec":     "websocket: close frame with status code 1004 (1002)",
		"\x03\xed":     "websocket: close frame with status code 1005 (1002)",
		"\x03\xee":     "websocket: close frame with status code 1006 (1002)",
		"\x03\xf7":     "websocket: close frame with status code 1015 (1002)",
		"\x07\xd0":     "websocket: close frame with status code 2000 (1002)",
		"\x13\x88":     "websocket: close frame with status code 5000 (1002)",
		"\x03\xe8\xff": "websocket: reason is not UTF-8 (1007)",
	} {
		code, reason, err := closing([]byte(payload))
		got := strings.TrimSpace(fmt.Sprint(int(code), " ", reason))
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: %s, want %s", payload, got, want)
		}
	}
}

// TestAppendFrame: what is written is what gobwas/ws reads.
func TestAppendFrame(t *testing.T) {
	for _, size := range []int{0, 1, 125, 126, 127, 65535, 65536, 100_000} {
		payload := bytes.Repeat([]byte("y"), size)
		f, err := ReadFrame(bytes.NewReader(appendFrame(nil, ws.OpText, payload)))
		if err != nil || !f.Header.Fin || f.Header.Masked || f.Header.OpCode != ws.OpText || !bytes.Equal(f.Payload, payload) {
			t.Errorf("%d bytes: %+v %v", size, f.Header, err)
		}
	}
}

// reference reads a stream with gobwas/ws.
func reference(stream []byte) (all []found) {
	r := bytes.NewReader(stream)
	var message []byte
	var first ws.OpCode
	for {
		f, err := ReadFrame(r)
		if err != nil {
			return all
		}
		if f.Header.Masked {
			ws.Cipher(f.Payload, f.Header.Mask, 0)
		}
		if f.Header.OpCode.IsControl() {
			all = append(all, found{f.Header.OpCode, string(f.Payload)})
			continue
		}
		if f.Header.OpCode != ws.OpContinuation {
			first, message = f.Header.OpCode, nil
		}
		message = append(message, f.Payload...)
		if f.Header.Fin {
			all = append(all, found{first, string(message)})
		}
	}
}

// FuzzFrames: a stream means the same in whatever pieces it comes, and what is accepted
// means what it means to gobwas/ws.
func FuzzFrames(f *testing.F) {
	f.Add(join(masked(ws.OpText, false, "h\xc3"), masked(ws.OpPing, true, "p"), masked(ws.OpContinuation, true, "\xa9")), uint64(1))
	f.Add(join(masked(ws.OpBinary, true, strings.Repeat("z", 300)), masked(ws.OpClose, true, "\x03\xe8bye")), uint64(2))
	f.Add([]byte{0x81, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4}, uint64(3))
	f.Add(masked(ws.OpText, true, "a\xff"), uint64(4))
	f.Fuzz(func(t *testing.T, stream []byte, seed uint64) {
		const max = 1 << 12
		p := &parser{binary: true}
		whole, err := parseAll(p, max, stream)
		var pieces [][]byte
		random := rand.New(rand.NewPCG(seed, 0))
		for rest := stream; len(rest) > 0; {
			n := 1 + random.IntN(min(len(rest), 20))
			pieces, rest = append(pieces, rest[:n]), rest[n:]
		}
		parts, err2 := parseAll(&parser{binary: true}, max, pieces...)
		if fmt.Sprint(whole) != fmt.Sprint(parts) || fmt.Sprint(err) != fmt.Sprint(err2) {
			t.Fatalf("whole %q %v\nparts %q %v", whole, err, parts, err2)
		}
		if len(p.msg) > max || len(p.ctl) > 125 {
			t.Fatalf("%d and %d bytes are kept", len(p.msg), len(p.ctl))
		}
		for i, want := range reference(bytes.Clone(stream)) {
			if i < len(whole) && whole[i] != want {
				t.Fatalf("event %d: %q, gobwas/ws says %q", i, whole[i], want)
			}
			if i >= len(whole) && err == nil {
				t.Fatalf("event %d is missing: %q", i, want)
			}
		}
		if n := len(reference(bytes.Clone(stream))); len(whole) > n {
			t.Fatalf("%d events, gobwas/ws finds %d", len(whole), n)
		}
	})
}

// FuzzExpand: nothing that a client compresses, or claims to, expands beyond the limit;
// and what was compressed comes back.
func FuzzExpand(f *testing.F) {
	f.Add([]byte("<presence/>"))
	f.Add(bytes.Repeat([]byte("<presence/>"), 1000))
	f.Add([]byte{0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00}) // RFC 7692 section 7.2.3.1
	f.Fuzz(func(t *testing.T, data []byte) {
		p := new(packer)
		const max = 1 << 14
		if got, err := p.expand(data, false, max); err == nil && len(got) > max {
			t.Fatalf("%d bytes", len(got))
		}
		packed, err := p.compress(data)
		if err != nil {
			t.Fatal(err)
		}
		if len(packed) > maxPacked(len(data)) {
			t.Errorf("%d bytes grow to %d", len(data), len(packed))
		}
		got, err := p.expand(bytes.Clone(packed), false, len(data))
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%q comes back as %q, %v", data, got, err)
		}
	})
}

// TestExpand: RFC 7692 section 7.2.3.
func TestExpand(t *testing.T) {
	for name, packed := range map[string]string{
		"one block":   "\xf2\x48\xcd\xc9\xc9\x07\x00",
		"stored":      "\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00",
		"final block": "\xf3\x48\xcd\xc9\xc9\x07\x00\x00",
		"two blocks":  "\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00",
	} {
		got, err := new(packer).expand([]byte(packed), true, 5)
		if string(got) != "Hello" || err != nil {
			t.Errorf("%s: %q %v", name, got, err)
		}
	}
	for name, test := range map[string]struct {
		packed string
		code   ws.StatusCode
	}{
		"too long":  {"\xf2\x48\xcd\xc9\xc9\x07\x00", 1009},
		"no data":   {"\xff\xff\xff\xff", 1007},
		"not UTF-8": {"\x00\x01\x00\xfe\xff\xff\x00", 1007},
	} {
		_, err := new(packer).expand([]byte(test.packed), true, 4)
		var f *failure
		if !errors.As(err, &f) || f.code != test.code {
			t.Errorf("%s: %v, want %d", name, err, test.code)
		}
	}
}
