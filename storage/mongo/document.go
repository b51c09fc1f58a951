package mongo

import (
	"encoding/binary"
	"hash/maphash"
	"strings"
	"unicode/utf8"

	"go.mongodb.org/mongo-driver/v2/bson"

	"rollcall/storage"
)

// path is where a field is in a document.
type path []string

func newPath(s string) path {
	if s == "" {
		return nil
	}
	return strings.Split(s, ".")
}

// in returns the field's value. Where there is none, or no path, it has type 0.
func (p path) in(doc bson.Raw) (v bson.RawValue) {
	for i, name := range p {
		if i > 0 {
			var ok bool
			if doc, ok = v.DocumentOK(); !ok {
				return bson.RawValue{}
			}
		}
		var err error
		// One name at a time: with several the driver panics over damaged arrays.
		if v, err = doc.LookupErr(name); err != nil {
			return bson.RawValue{} // damaged is as good as missing
		}
	}
	return v
}

// each calls f for every value that a query on the path would compare: arrays stand
// for their elements, but not arrays in arrays.
func (p path) each(doc bson.Raw, f func(bson.RawValue)) {
	if len(p) == 0 {
		return
	}
	v, err := doc.LookupErr(p[0])
	if err != nil {
		return
	}
	rest := p[1:]
	array, ok := v.ArrayOK()
	if !ok {
		rest.element(v, f)
		return
	}
	values, err := array.Values()
	if err != nil {
		return
	}
	for _, v := range values {
		rest.element(v, f)
	}
}

func (p path) element(v bson.RawValue, f func(bson.RawValue)) {
	switch {
	case v.Type == bson.TypeArray:
	case len(p) == 0:
		f(v)
	default:
		if doc, ok := v.DocumentOK(); ok {
			p.each(doc, f)
		}
	}
}

// text is a name; empty for what is none.
func text(v bson.RawValue) string {
	s, _ := v.StringValueOK()
	s = strings.ToValidUTF8(s, "\ufffd")
	if len(s) <= storage.MaxName {
		return s
	}
	n := storage.MaxName
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// says reports whether a field says yes: it is there and not false, 0, null or "".
func says(v bson.RawValue) bool {
	switch v.Type {
	case 0, bson.TypeNull, bson.TypeUndefined:
		return false
	case bson.TypeBoolean:
		b, ok := v.BooleanOK()
		return b || !ok
	case bson.TypeString:
		s, ok := v.StringValueOK()
		return s != "" || !ok
	}
	n, ok := integer(v)
	return n != 0 || !ok
}

// digester makes digests that this process can compare.
type digester struct{ seed maphash.Seed }

func newDigester() digester { return digester{maphash.MakeSeed()} }

func (d digester) bytes(b []byte) uint64 { return maphash.Bytes(d.seed, b) }

// values is the digest of values, whose places in the document do not matter.
func (d digester) values(text string, values ...bson.RawValue) uint64 {
	var h maphash.Hash
	h.SetSeed(d.seed)
	put := func(b []byte) {
		// A hash takes everything and never fails.
		_, _ = h.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(b))))
		_, _ = h.Write(b)
	}
	put([]byte(text))
	for _, v := range values {
		put([]byte{byte(v.Type)})
		put(v.Value)
	}
	return h.Sum64()
}
