package transcript

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxElement bounds one top-level element and one BOSH body, in bytes: far more
// than a server may send, so that a defect of the server fails the test instead
// of eating the machine.
const maxElement = 8 << 20

// pieceKind says what a splitter cut off.
type pieceKind int

const (
	headerPiece  pieceKind = iota // <stream:stream ...>
	elementPiece                  // a complete element
	endPiece                      // </stream:stream>
)

// errBadXML says that text is not what a stream may carry.
var errBadXML = errors.New("bad XML")

// splitter cuts the bytes of a stream (RFC 6120 section 4) into the header, the
// top-level elements and the end. A failed read loses nothing: after a timeout
// next may be called again.
type splitter struct {
	r   io.Reader
	buf []byte
	pos int // of the next byte to give to the decoder
}

// ReadByte feeds the decoder without reading ahead of it.
func (s *splitter) ReadByte() (byte, error) {
	if s.pos == len(s.buf) {
		if len(s.buf) > maxElement {
			return 0, fmt.Errorf("%w: an element of more than %d bytes", errBadXML, maxElement)
		}
		var chunk [4096]byte
		n, err := s.r.Read(chunk[:])
		if n == 0 {
			if err == nil {
				err = io.ErrNoProgress
			}
			return 0, err
		}
		s.buf = append(s.buf, chunk[:n]...)
	}
	s.pos++
	return s.buf[s.pos-1], nil
}

// Read makes the splitter a Reader; the decoder uses ReadByte only.
func (s *splitter) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	b, err := s.ReadByte()
	if err != nil {
		return 0, err
	}
	p[0] = b
	return 1, nil
}

// buffered reports whether bytes were read that belong to no piece yet.
func (s *splitter) buffered() bool { return len(s.buf) > 0 }

// next cuts off the next piece and returns its text as it came. White space
// between pieces and the XML declaration are skipped. The error is io.EOF when
// the bytes end between two pieces.
func (s *splitter) next() (pieceKind, string, error) {
	s.pos = 0
	d := xml.NewDecoder(s)
	var open []xml.Name
	start := int64(0)
	for {
		before := d.InputOffset()
		token, err := d.RawToken()
		if err != nil {
			between := len(open) == 0 && strings.TrimSpace(string(s.buf)) == ""
			s.pos = 0
			return 0, "", splitError(err, between)
		}
		switch t := token.(type) {
		case xml.StartElement:
			if len(open) == 0 {
				start = before
				if t.Name.Space == "stream" && t.Name.Local == "stream" {
					return headerPiece, s.cut(start, d.InputOffset()), nil
				}
			}
			open = append(open, t.Name)
		case xml.EndElement:
			if len(open) == 0 {
				if t.Name.Space != "stream" || t.Name.Local != "stream" {
					return 0, "", fmt.Errorf("%w: </%s> ends nothing", errBadXML, fullName(t.Name))
				}
				return endPiece, s.cut(before, d.InputOffset()), nil
			}
			if last := open[len(open)-1]; last != t.Name {
				return 0, "", fmt.Errorf("%w: <%s> ended by </%s>", errBadXML, fullName(last), fullName(t.Name))
			}
			open = open[:len(open)-1]
			if len(open) == 0 {
				return elementPiece, s.cut(start, d.InputOffset()), nil
			}
		case xml.CharData:
			if len(open) == 0 && strings.TrimSpace(string(t)) != "" {
				return 0, "", fmt.Errorf("%w: text %q between elements", errBadXML, string(t))
			}
		case xml.ProcInst:
			if len(open) > 0 || t.Target != "xml" {
				return 0, "", fmt.Errorf("%w: a processing instruction", errBadXML)
			}
		default:
			return 0, "", fmt.Errorf("%w: a comment or a directive", errBadXML)
		}
	}
}

// splitError tells the end of the bytes between two pieces from one within.
func splitError(err error, between bool) error {
	var syntax *xml.SyntaxError
	switch {
	case errors.Is(err, io.EOF) && between:
		return io.EOF
	case errors.Is(err, io.EOF), errors.As(err, &syntax) && syntax.Msg == "unexpected EOF":
		return io.ErrUnexpectedEOF
	case errors.As(err, &syntax):
		return fmt.Errorf("%w: %s", errBadXML, syntax.Msg)
	}
	return err
}

// cut removes everything up to to and returns what stands at from.
func (s *splitter) cut(from, to int64) string {
	text := string(s.buf[from:to])
	s.buf = s.buf[to:]
	s.pos = 0
	return text
}

func fullName(n xml.Name) string {
	if n.Space == "" {
		return n.Local
	}
	return n.Space + ":" + n.Local
}

// splitAll cuts a text into its complete elements.
func splitAll(text string) ([]string, error) {
	s := &splitter{r: strings.NewReader(text)}
	var elements []string
	for {
		kind, piece, err := s.next()
		switch {
		case errors.Is(err, io.EOF):
			return elements, nil
		case err != nil:
			return nil, err
		case kind != elementPiece:
			return nil, fmt.Errorf("%w: %s among elements", errBadXML, piece)
		}
		elements = append(elements, piece)
	}
}
