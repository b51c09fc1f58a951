package transcript

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"
)

func TestSplitter(t *testing.T) {
	const text = "<?xml version='1.0'?>\n<stream:stream a='>'> <a/>\n<b c='/>'><b>x</b>&lt;</b> </stream:stream>"
	want := []struct {
		kind pieceKind
		text string
	}{
		{headerPiece, "<stream:stream a='>'>"},
		{elementPiece, "<a/>"},
		{elementPiece, "<b c='/>'><b>x</b>&lt;</b>"},
		{endPiece, "</stream:stream>"},
	}
	for name, r := range map[string]io.Reader{
		"at once":      strings.NewReader(text),
		"byte by byte": iotest.OneByteReader(strings.NewReader(text)),
	} {
		s := &splitter{r: r}
		for _, w := range want {
			kind, piece, err := s.next()
			if err != nil || kind != w.kind || piece != w.text {
				t.Errorf("%s: got %v %q %v, want %q", name, kind, piece, err, w.text)
			}
		}
		if _, _, err := s.next(); !errors.Is(err, io.EOF) {
			t.Errorf("%s: at the end %v", name, err)
		}
	}
}

// stutter fails every other read.
type stutter struct {
	r    io.Reader
	fail bool
}

func (s *stutter) Read(p []byte) (int, error) {
	s.fail = !s.fail
	if s.fail {
		return 0, os.ErrDeadlineExceeded
	}
	return s.r.Read(p[:1])
}

// TestSplitterGoesOn takes up after timeouts without losing a byte.
func TestSplitterGoesOn(t *testing.T) {
	s := &splitter{r: &stutter{r: strings.NewReader("<a><b/></a>")}}
	for range 100 {
		_, piece, err := s.next()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if err != nil || piece != "<a><b/></a>" {
			t.Fatalf("got %q, %v", piece, err)
		}
		return
	}
	t.Fatal("never ends")
}

func TestSplitterRefuses(t *testing.T) {
	for text, want := range map[string]error{
		"<a>":                      io.ErrUnexpectedEOF,
		"<a":                       io.ErrUnexpectedEOF,
		"<a></b>":                  errBadXML,
		"</a>":                     errBadXML,
		"x":                        errBadXML,
		"x<a/>":                    errBadXML,
		"<!-- x --><a/>":           errBadXML,
		"<!DOCTYPE a><a/>":         errBadXML,
		"<?php x?><a/>":            errBadXML,
		"<a>&undefined;</a>":       errBadXML,
		"<a b=c/>":                 errBadXML,
		strings.Repeat("<a>", 1e5): io.ErrUnexpectedEOF,
		"<a b='" + strings.Repeat("x", maxElement+5000): errBadXML,
	} {
		s := &splitter{r: strings.NewReader(text)}
		if _, piece, err := s.next(); !errors.Is(err, want) {
			t.Errorf("%.20q: got %q, %v, want %v", text, piece, err, want)
		}
	}
}
