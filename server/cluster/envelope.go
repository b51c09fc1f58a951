package cluster

import (
	"errors"

	"rollcall/internal/packed"
)

// An envelope is one message of the bus:
//
//	version, bye, node, epoch, link, seq, then any number of items: kind, data
//
// link grows with every link that a process makes; it may make another to a process
// that was taken for dead. seq grows by one with every envelope that is sent, or was
// tried to send, over the link.
const version = 1

// maxEnvelope is how many bytes of items go into one envelope, unless one item alone
// has more.
const maxEnvelope = 256 << 10

var errVersion = errors.New("cluster: unknown version")

type envelope struct {
	bye   bool
	from  string
	epoch uint64
	link  uint64
	seq   uint64
	items []byte
}

func (e *envelope) append(dst []byte) []byte {
	dst = packed.AppendUint(dst, version)
	dst = packed.AppendBool(dst, e.bye)
	dst = packed.AppendString(dst, e.from)
	dst = packed.AppendUint(dst, e.epoch)
	dst = packed.AppendUint(dst, e.link)
	dst = packed.AppendUint(dst, e.seq)
	return append(dst, e.items...)
}

// readEnvelope reads an envelope whose items are those of data itself.
func readEnvelope(data []byte) (e envelope, err error) {
	r := packed.NewReader(data)
	if v := r.Uint(); v != version && r.Err() == nil {
		return e, errVersion
	}
	e.bye, e.from, e.epoch, e.link, e.seq = r.Bool(), r.String(), r.Uint(), r.Uint(), r.Uint()
	e.items = r.Rest()
	return e, r.Err()
}

func appendItem(dst []byte, kind byte, data []byte) []byte {
	return packed.AppendBytes(append(dst, kind), data)
}

// readItems reads what appendItem wrote.
func readItems(data []byte) (items []Item, err error) {
	r := packed.NewReader(data)
	for !r.Done() {
		it := Item{Kind: byte(r.Uint()), Data: r.Bytes()}
		if err := r.Err(); err != nil {
			return items, err
		}
		items = append(items, it)
	}
	return items, nil
}

// firstItems returns how many bytes of items go into the next envelope.
func firstItems(data []byte) int {
	if len(data) <= maxEnvelope {
		return len(data)
	}
	r := packed.NewReader(data)
	n := 0
	for !r.Done() {
		r.Uint()
		r.Bytes()
		if next := len(data) - r.Left(); n > 0 && next > maxEnvelope {
			break
		} else {
			n = next
		}
	}
	return n
}
