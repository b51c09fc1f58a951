package front

import (
	"bytes"
	"iter"
	"math"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// Nearly every request to be held has the same few lines, which parse takes without
// the nine allocations of http.ReadRequest. It is stricter than that: whatever is
// unusual goes to net/http's parser, which also says what is wrong.

// parse reads the head that data begins with, and returns how long it is. It does not
// take a head that net/http would refuse or understand otherwise: the request line
// names one of paths, every line ends with CRLF, and the body has a Content-Length.
func (r *Request) parse(paths [][]byte, data []byte) (n int, ok bool) {
	end := bytes.Index(data, []byte("\r\n\r\n"))
	if end < 0 {
		return 0, false
	}
	line, rest, more := bytes.Cut(data[:end+2], []byte("\r\n"))
	if !more || !isPost(line, paths) {
		return 0, false
	}
	hosts, lengths := 0, 0
	for rest := rest; len(rest) > 0; {
		var name, value []byte
		if name, value, rest, ok = field(rest); !ok {
			return 0, false
		}
		switch {
		case is(name, "Host"):
			hosts++
			ok = len(value) > 0 && isPlain(value, ".-:")
		case is(name, "Content-Length"):
			lengths++
			r.left, ok = length(value)
		case is(name, "Connection"):
			ok = is(value, "keep-alive")
		case is(name, "Transfer-Encoding"), is(name, "Trailer"), is(name, "Expect"), is(name, "Upgrade"):
			ok = false
		}
		if !ok {
			return 0, false
		}
	}
	if hosts != 1 || lengths != 1 {
		return 0, false
	}
	r.lines, r.ended = rest, r.left == 0
	return end + 4, true
}

// isPost reports whether a line is that of a POST request to one of paths.
func isPost(line []byte, paths [][]byte) bool {
	path, post := bytes.CutPrefix(line, []byte("POST "))
	path, known := bytes.CutSuffix(path, []byte(" HTTP/1.1"))
	if !post || !known {
		return false
	}
	for _, p := range paths {
		if bytes.Equal(path, p) {
			return true
		}
	}
	return false
}

// plainPaths are those that come as they are, without escapes and whatever else
// package url looks at.
func plainPaths(all []string) (plain [][]byte) {
	for _, p := range all {
		if strings.HasPrefix(p, "/") && !strings.HasPrefix(p, "//") && isPlain([]byte(p), "/.-_") {
			plain = append(plain, []byte(p))
		}
	}
	return plain
}

// isPlain reports whether there are only letters and digits of ASCII, and others.
func isPlain(b []byte, others string) bool {
	for _, c := range b {
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && strings.IndexByte(others, c) < 0 {
			return false
		}
	}
	return true
}

// field takes the first line of a head, all of whose lines end with CRLF.
func field(lines []byte) (name, value, rest []byte, ok bool) {
	i := 0
	for i < len(lines) && httpguts.IsTokenRune(rune(lines[i])) {
		i++
	}
	if i == 0 || lines[i] != ':' {
		return nil, nil, nil, false
	}
	end := i + 1
	for lines[end] >= ' ' && lines[end] != 0x7f || lines[end] == '\t' {
		end++
	}
	if lines[end] != '\r' || lines[end+1] != '\n' {
		return nil, nil, nil, false
	}
	return lines[:i], bytes.Trim(lines[i+1:end], " \t"), lines[end+2:], true
}

// fields are those of lines that parse has taken.
func fields(lines []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		for len(lines) > 0 {
			name, value, rest, ok := field(lines)
			if !ok || !yield(name, value) {
				return
			}
			lines = rest
		}
	}
}

// length reads a Content-Length.
func length(b []byte) (n int, ok bool) {
	for _, c := range b {
		if c < '0' || c > '9' || n > (math.MaxInt-9)/10 {
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	return n, len(b) > 0
}
