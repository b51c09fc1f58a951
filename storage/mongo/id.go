package mongo

import (
	"math"
	"strconv"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"

	"rollcall/internal/jid"
)

// ids reads and writes ids of one type as text, called their keys.
type ids struct {
	t IDType
	// verbatim takes strings as they are. Otherwise a key is a local part, and ids that
	// have none have no key.
	verbatim bool
}

// key returns the text that stands for a stored id, and whether there is one.
func (i ids) key(v bson.RawValue) (string, bool) {
	switch v.Type {
	case bson.TypeObjectID:
		id, ok := v.ObjectIDOK()
		return id.Hex(), ok && i.are(IDObjectID)
	case bson.TypeString:
		text, ok := v.StringValueOK()
		if !ok || text == "" || !i.are(IDString) {
			return "", false
		}
		if i.verbatim {
			return text, true
		}
		return jid.Escape(text)
	case bson.TypeInt32, bson.TypeInt64, bson.TypeDouble:
		n, ok := integer(v)
		return strconv.FormatInt(n, 10), ok && i.are(IDInteger)
	}
	return "", false
}

func (i ids) are(t IDType) bool { return i.t == IDAuto || i.t == t }

// values are the stored ids that a key may stand for.
func (i ids) values(key string) (values []any) {
	if i.are(IDObjectID) && len(key) == 24 && strings.ToLower(key) == key {
		if id, err := bson.ObjectIDFromHex(key); err == nil {
			values = append(values, id)
		}
	}
	if i.are(IDString) {
		if text, ok := i.text(key); ok {
			values = append(values, text)
		}
	}
	if i.are(IDInteger) {
		// The server compares numbers of all types by value.
		if n, err := strconv.ParseInt(key, 10, 64); err == nil && strconv.FormatInt(n, 10) == key {
			values = append(values, n)
		}
	}
	return values
}

func (i ids) text(key string) (string, bool) {
	if i.verbatim {
		return key, key != ""
	}
	return jid.Unescape(key)
}

// all are the stored ids that some keys may stand for.
func (i ids) all(keys []string) (values []any) {
	for _, key := range keys {
		values = append(values, i.values(key)...)
	}
	return values
}

// integer is the value of a number that has no fraction.
func integer(v bson.RawValue) (int64, bool) {
	if n, ok := v.Int32OK(); ok {
		return int64(n), true
	}
	if n, ok := v.Int64OK(); ok {
		return n, true
	}
	const exact = 1 << 53 // doubles below that have no neighbours closer than 1
	f, ok := v.DoubleOK()
	if !ok || f != math.Trunc(f) || math.Abs(f) > exact {
		return 0, false
	}
	return int64(f), true
}
