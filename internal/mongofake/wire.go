package mongofake

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// The messages of MongoDB's wire protocol that are understood. Drivers still begin with
// an OP_QUERY; everything after it is OP_MSG.
const (
	opReply = 1
	opQuery = 2004
	opMsg   = 2013

	headerSize = 16
	// maxMessage is the longest message taken, in bytes; a hello says so.
	maxMessage = 48_000_000
)

// flagMoreToCome is set on an OP_MSG that is not to be answered.
const flagMoreToCome = 1 << 1

// message is one command.
type message struct {
	id     int32
	op     int32
	silent bool // no answer is wanted
	body   bson.Raw
}

// name is that of the command: the first field's.
func (m message) name() string {
	first, err := m.body.IndexErr(0)
	if err != nil {
		return ""
	}
	return first.Key()
}

func readMessage(r io.Reader) (message, error) {
	var header [headerSize]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return message{}, err
	}
	field := func(i int) int32 { return int32(binary.LittleEndian.Uint32(header[4*i:])) }
	size := int(field(0)) - headerSize
	if size < 0 || size > maxMessage {
		return message{}, fmt.Errorf("message of %d bytes", size)
	}
	rest := make([]byte, size)
	if _, err := io.ReadFull(r, rest); err != nil {
		return message{}, err
	}
	m := message{id: field(1), op: field(3)}
	var err error
	switch m.op {
	case opMsg:
		err = m.parseMsg(rest)
	case opQuery:
		err = m.parseQuery(rest)
	default:
		err = fmt.Errorf("opcode %d", m.op)
	}
	return m, err
}

var errShort = errors.New("message is too short")

// parseMsg finds the section with the command, and adds the sequences of documents beside
// it, which commands that write have.
func (m *message) parseMsg(b []byte) error {
	if len(b) < 4 {
		return errShort
	}
	var lists bson.D
	m.silent = binary.LittleEndian.Uint32(b)&flagMoreToCome != 0
	for b = b[4:]; len(b) >= 5; {
		size := int(int32(binary.LittleEndian.Uint32(b[1:])))
		if size < 4 || size > len(b)-1 {
			return errShort
		}
		if b[0] == 0 {
			m.body = bson.Raw(b[1 : 1+size])
		} else if b[0] == 1 {
			list, err := parseSequence(b[5 : 1+size])
			if err != nil {
				return err
			}
			lists = append(lists, list)
		}
		b = b[1+size:]
	}
	if m.body == nil {
		return errors.New("no command")
	}
	if err := m.body.Validate(); err != nil || lists == nil {
		return err
	}
	var fields bson.D
	if err := bson.Unmarshal(m.body, &fields); err != nil {
		return err
	}
	body, err := bson.Marshal(append(fields, lists...))
	m.body = body
	return err
}

// parseSequence reads a name and documents until the end.
func parseSequence(b []byte) (bson.E, error) {
	name, rest, ok := bytes.Cut(b, []byte{0})
	list := bson.A{}
	for ok && len(rest) > 0 {
		size := 0
		if len(rest) >= 4 {
			size = int(int32(binary.LittleEndian.Uint32(rest)))
		}
		if size < 5 || size > len(rest) {
			return bson.E{}, errShort
		}
		doc := bson.Raw(rest[:size])
		if err := doc.Validate(); err != nil {
			return bson.E{}, err
		}
		list = append(list, doc)
		rest = rest[size:]
	}
	if !ok {
		return bson.E{}, errShort
	}
	return bson.E{Key: string(name), Value: list}, nil
}

// parseQuery skips flags, the name of the collection and two numbers.
func (m *message) parseQuery(b []byte) error {
	i := 4
	for i < len(b) && b[i] != 0 {
		i++
	}
	if i += 1 + 8; i > len(b) {
		return errShort
	}
	m.body = bson.Raw(b[i:])
	return m.body.Validate()
}

// reply answers m with a document or a refusal. When cut it fails halfway.
func reply(c net.Conn, m message, answer any, cut bool) error {
	if r, ok := answer.(*refusal); ok {
		answer = r.document()
	}
	out := make([]byte, headerSize, 512)
	op := int32(opMsg)
	if m.op == opQuery {
		op = opReply
		out = append(out, make([]byte, 16)...) // no flags, no cursor, from the first
		out = binary.LittleEndian.AppendUint32(out, 1)
	} else {
		out = append(out, 0, 0, 0, 0, 0) // no flags; a section of one document
	}
	document, err := bson.Marshal(answer)
	if err != nil {
		return err
	}
	out = append(out, document...)
	for i, v := range []int32{int32(len(out)), m.id, m.id, op} {
		binary.LittleEndian.PutUint32(out[4*i:], uint32(v))
	}
	if cut {
		out = out[:len(out)/2]
	}
	if _, err := c.Write(out); err != nil {
		return err
	}
	if cut {
		return errors.New("cut")
	}
	return nil
}
