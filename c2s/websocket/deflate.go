package websocket

import (
	"bytes"
	"compress/flate"
	"io"
	"unicode/utf8"

	"github.com/gobwas/httphead"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsflate"
)

// agree returns what is agreed upon of the extensions that a client offers (RFC 7692
// section 7.1), if anything; ok is false for headers that break the grammar. The first
// offer of permessage-deflate that can be met is accepted, without context between
// messages in either direction. Others, broken ones among them, are declined.
func agree(headers []string) (accepted []httphead.Option, ok bool) {
	for _, h := range headers {
		offers, ok := httphead.ParseOptions([]byte(h), nil)
		if !ok {
			return nil, false
		}
		for _, offer := range offers {
			var p wsflate.Parameters
			if accepted != nil || string(offer.Name) != wsflate.ExtensionName || p.Parse(offer) != nil ||
				p.ServerMaxWindowBits.Defined() && p.ServerMaxWindowBits.Bytes() < wsflate.MaxLZ77WindowSize {
				continue
			}
			accepted = []httphead.Option{wsflate.Parameters{
				ServerNoContextTakeover: true, ClientNoContextTakeover: true,
				ServerMaxWindowBits: p.ServerMaxWindowBits,
			}.Option()}
		}
	}
	return accepted, true
}

// Ends of a message that are not sent (RFC 7692 section 7.2.1), and an empty last block
// for the reader to stop at.
const (
	flushTail = "\x00\x00\xff\xff"
	lastBlock = "\x01\x00\x00\xff\xff"
)

// compressFrom is the length in bytes from which compression is worth its while.
const compressFrom = 256

// packer compresses and expands. Nothing of one message is left for the next.
type packer struct {
	w   *flate.Writer
	r   io.ReadCloser
	src bytes.Reader
	in  []byte
	out bytes.Buffer
}

// compress returns text compressed, which lasts until the next call.
func (p *packer) compress(text []byte) ([]byte, error) {
	p.out.Reset()
	if p.w == nil {
		w, err := flate.NewWriter(&p.out, flate.BestSpeed)
		if err != nil {
			return nil, err
		}
		p.w = w
	} else {
		p.w.Reset(&p.out)
	}
	if _, err := p.w.Write(text); err != nil {
		return nil, err
	}
	if err := p.w.Flush(); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(p.out.Bytes(), []byte(flushTail)), nil
}

// expand returns what a compressed message says, which lasts until the next call and is
// no longer than max bytes. Errors are *failures.
func (p *packer) expand(packed []byte, text bool, max int) ([]byte, error) {
	p.in = append(append(p.in[:0], packed...), flushTail+lastBlock...)
	p.src.Reset(p.in)
	p.out.Reset()
	if p.r == nil {
		p.r = flate.NewReader(&p.src)
	} else if err := p.r.(flate.Resetter).Reset(&p.src, nil); err != nil {
		return nil, &failure{ws.StatusInvalidFramePayloadData, err.Error()}
	}
	_, err := p.out.ReadFrom(io.LimitReader(p.r, int64(max)+1))
	switch {
	case err != nil:
		return nil, &failure{ws.StatusInvalidFramePayloadData, err.Error()}
	case p.out.Len() > max:
		return nil, &failure{ws.StatusMessageTooBig, "message too long when expanded"}
	case text && !utf8.Valid(p.out.Bytes()):
		return nil, &failure{ws.StatusInvalidFramePayloadData, "text is not UTF-8"}
	}
	return p.out.Bytes(), nil
}

// maxPacked is how long a compressed message may be that expands to max bytes: what
// cannot be compressed grows a little.
func maxPacked(max int) int { return max + max>>10 + 64 }

// writePacked is Write for a client that agreed to compression.
func (c *conn) writePacked(el []byte) (flush bool, err error) {
	p := c.a.packers.Get().(*packer)
	defer c.a.packers.Put(p)
	packed, err := p.compress(el)
	if err != nil {
		return false, err
	}
	var head [10]byte
	h := appendHeader(head[:0], ws.OpText, len(packed))
	h[0] |= 0x40 // RSV1, RFC 7692 section 6
	return c.link.Queue(h, packed)
}
