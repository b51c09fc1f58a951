// Package packed writes and reads the records that nodes exchange: unsigned
// numbers in the variable-length form of encoding/binary, and byte strings with their
// length before them.
package packed

import (
	"encoding/binary"
	"errors"
)

// ErrShort says that a record ended too early, or names a length that it does not
// have.
var ErrShort = errors.New("packed: the record is cut short")

// AppendUint appends a number.
func AppendUint(dst []byte, n uint64) []byte { return binary.AppendUvarint(dst, n) }

// AppendBool appends a truth value.
func AppendBool(dst []byte, b bool) []byte {
	if b {
		return append(dst, 1)
	}
	return append(dst, 0)
}

// AppendString appends a string with its length.
func AppendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// AppendBytes appends bytes with their length.
func AppendBytes(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

// Reader reads a record in the order in which it was written. The first error
// stays: everything read after it is zero.
type Reader struct {
	rest []byte
	err  error
}

// NewReader returns a Reader of one record.
func NewReader(record []byte) *Reader { return &Reader{rest: record} }

// Uint reads a number.
func (r *Reader) Uint() uint64 {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 {
		r.fail()
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

// Bool reads a truth value.
func (r *Reader) Bool() bool { return r.Uint() != 0 }

// Bytes reads bytes, which are those of the record itself.
func (r *Reader) Bytes() []byte {
	n := r.Uint()
	if n > uint64(len(r.rest)) {
		r.fail()
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

// String reads a string.
func (r *Reader) String() string { return string(r.Bytes()) }

// Len reads the number of elements of a list. It fails when there are more than
// bytes left, so that a loop over them, and what is made for them, stays bounded.
func (r *Reader) Len() int {
	n := r.Uint()
	if n > uint64(len(r.rest)) {
		r.fail()
		return 0
	}
	return int(n)
}

// Rest returns what was not read yet, and ends the record.
func (r *Reader) Rest() []byte {
	rest := r.rest
	r.rest = nil
	return rest
}

// Left is how many bytes were not read yet.
func (r *Reader) Left() int { return len(r.rest) }

// Done reports whether nothing is left, or nothing can be read any more.
func (r *Reader) Done() bool { return len(r.rest) == 0 }

// Err is the first error.
func (r *Reader) Err() error { return r.err }

func (r *Reader) fail() {
	r.rest = nil
	if r.err == nil {
		r.err = ErrShort
	}
}
