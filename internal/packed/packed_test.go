package packed_test

import (
	"bytes"
	"errors"
	"math"
	"testing"

	"rollcall/internal/packed"
)

func TestRoundTrip(t *testing.T) {
	rec := packed.AppendUint(nil, math.MaxUint64)
	rec = packed.AppendString(rec, "")
	rec = packed.AppendBool(rec, true)
	rec = packed.AppendBytes(rec, []byte("\x00ü"))
	rec = packed.AppendUint(rec, 2)
	rec = append(rec, "ab"...)
	r := packed.NewReader(rec)
	if n := r.Uint(); n != math.MaxUint64 {
		t.Error(n)
	}
	if s := r.String(); s != "" {
		t.Errorf("%q", s)
	}
	if !r.Bool() {
		t.Error("false")
	}
	if b := r.Bytes(); string(b) != "\x00ü" {
		t.Errorf("%q", b)
	}
	if n := r.Len(); n != 2 {
		t.Error(n)
	}
	if rest := r.Rest(); string(rest) != "ab" || !r.Done() || r.Err() != nil {
		t.Error(string(rest), r.Done(), r.Err())
	}
}

func TestShort(t *testing.T) {
	for _, read := range []func(r *packed.Reader){
		func(r *packed.Reader) { r.Bytes() }, func(r *packed.Reader) { r.Len() },
		func(r *packed.Reader) { r.Uint(); r.Uint(); r.Uint(); r.Uint() },
	} {
		r := packed.NewReader([]byte{5, 'a', 'b'})
		read(r)
		if !errors.Is(r.Err(), packed.ErrShort) || !r.Done() || r.Uint() != 0 || r.String() != "" {
			t.Error(r.Err())
		}
	}
}

// FuzzReader reads anything; what it takes for bytes lies inside the record.
func FuzzReader(f *testing.F) {
	f.Add([]byte{3, 'a', 'b', 'c', 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, []byte("bul"))
	f.Fuzz(func(t *testing.T, record, steps []byte) {
		r := packed.NewReader(record)
		read := 0
		for _, s := range steps {
			switch s % 4 {
			case 0:
				b := r.Bytes()
				read += len(b)
				if !bytes.Contains(record, b) {
					t.Fatalf("%q is not in %q", b, record)
				}
			case 1:
				r.Uint()
			case 2:
				if n := r.Len(); n > len(record) {
					t.Fatal(n)
				}
			case 3:
				r.Bool()
			}
		}
		if read > len(record) {
			t.Fatalf("read %d of %d", read, len(record))
		}
	})
}
