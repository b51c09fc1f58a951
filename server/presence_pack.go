package server

import (
	"time"

	"rollcall/internal/jid"
	"rollcall/internal/ns"
	"rollcall/internal/packed"
)

// AppendPacked appends the presence for another node; UnpackPresence reads it.
func (p *Presence) AppendPacked(dst []byte) []byte {
	dst = packed.AppendString(dst, p.JID.String())
	dst = packed.AppendBool(dst, p.Available)
	dst = packed.AppendString(dst, p.Show)
	dst = packed.AppendString(dst, p.Declared)
	dst = packed.AppendUint(dst, uint64(uint8(p.Priority)))
	dst = packed.AppendUint(dst, uint64(p.At.UnixNano()))
	dst = packed.AppendString(dst, p.attrs())
	return packed.AppendString(dst, p.content())
}

// UnpackPresence reads what AppendPacked wrote. It keeps nothing of the record.
func UnpackPresence(r *packed.Reader) (*Presence, error) {
	address := r.String()
	p := &Presence{
		Available: r.Bool(), Show: r.String(), Declared: r.String(),
		Priority: int8(uint8(r.Uint())), At: time.Unix(0, int64(r.Uint())),
	}
	attrs, content := r.Bytes(), r.Bytes()
	p.text, p.inner = string(attrs)+string(content), uint32(len(attrs))
	if err := r.Err(); err != nil {
		return nil, err
	}
	var err error
	p.JID, err = jid.Parse(address)
	return p, err
}

// AppendPresenceType appends a presence stanza that has a type and nothing else.
func AppendPresenceType(dst []byte, from, to jid.JID, typ string) []byte {
	dst = append(dst, "<presence xmlns='"+ns.Client+"'"...)
	dst = appendAddress(dst, " from='", from)
	dst = appendAddress(dst, " to='", to)
	dst = append(dst, " type='"...)
	dst = append(dst, typ...)
	return append(dst, "'/>"...)
}
