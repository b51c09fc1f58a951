package front

import (
	"bufio"
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"testing"
)

// heads are requests, and whether parse takes them.
func heads() map[string]bool {
	const usual = "POST /held HTTP/1.1\r\nHost: example.com:5280\r\nContent-Length: 3\r\n"
	return map[string]bool{
		usual + "\r\nabc": true,
		usual + "Content-Type: text/xml; charset=utf-8\r\n\r\nabc":                          true,
		usual + "connection: Keep-Alive\r\n\r\nabc":                                         true,
		usual + "X-A: b\r\nX-A:\tc \r\nx-a:\r\n\r\nabcd":                                    true,
		usual + "X-A: \xc3\xa9\r\n\r\nabc":                                                  true,
		usual + "Connection: close\r\n\r\nabc":                                              false,
		usual + "Connection: keep-alive, close\r\n\r\nabc":                                  false,
		usual + "Expect: 100-continue\r\n\r\nabc":                                           false,
		usual + "Transfer-Encoding: chunked\r\n\r\nabc":                                     false,
		usual + "transfer-encoding:\r\n\r\nabc":                                             false,
		usual + "Content-Length: 3\r\n\r\nabc":                                              false,
		usual + "Host: example.com\r\n\r\nabc":                                              false,
		usual + "X-A : b\r\n\r\nabc":                                                        false,
		usual + " folded: b\r\n\r\nabc":                                                     false,
		usual + "X-A: b\n\r\nabc":                                                           false,
		usual + "X-A: b\rc\r\n\r\nabc":                                                      false,
		usual + "X-A: \x00\r\n\r\nabc":                                                      false,
		usual + "X-A\r\n\r\nabc":                                                            false,
		usual + ": b\r\n\r\nabc":                                                            false,
		usual[:len(usual)-5] + " : 3\r\n\r\nabc":                                            false,
		"POST /held HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\nabc":                   false,
		"POST /held HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\nabc": false,
		"POST /held HTTP/1.1\r\nHost: \r\nContent-Length: 3\r\n\r\nabc":                     false,
		"POST /held HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc":                               false,
		"POST /held HTTP/1.1\r\nHost: x\r\n\r\nabc":                                         false,
		"POST /held HTTP/1.0\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc":                    false,
		"POST /held?a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc":                  false,
		"POST /%2fheld HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc":                 false,
		"POST  /held HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc":                   false,
		"GET /held HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc":                     false,
		"POST /held HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n":                           false,
		"\r\n\r\n": false,
		"":         false,
	}
}

func heldFront() *Front {
	return New(Config{
		Held: keeper{}, Paths: []string{"/held", "//y", "/held/../x", "/a b", "held", "/%2f"},
		Log: slog.New(slog.DiscardHandler),
	})
}

func TestParse(t *testing.T) {
	f := heldFront()
	if len(f.plainPaths) != 2 {
		t.Errorf("%q", f.plainPaths)
	}
	for head, want := range heads() {
		if n, ok := new(Request).parse(f.plainPaths, []byte(head)); ok != want || ok && head[n-4:n] != "\r\n\r\n" {
			t.Errorf("%q: %t, %d", head, ok, n)
		}
	}
	usual := []byte("POST /held HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
	if testing.AllocsPerRun(100, func() { new(Request).parse(f.plainPaths, usual) }) > 0 {
		t.Error("it allocates")
	}
}

// FuzzParse: what parse takes, net/http takes as the same.
func FuzzParse(f *testing.F) {
	for head := range heads() {
		f.Add([]byte(head))
	}
	front := heldFront()
	f.Fuzz(func(t *testing.T, in []byte) {
		before := bytes.Clone(in)
		var r Request
		n, ok := r.parse(front.plainPaths, in)
		if !bytes.Equal(in, before) {
			t.Fatal("the input was changed")
		}
		if !ok {
			return
		}
		rest := bytes.NewReader(in)
		std, err := http.ReadRequest(bufio.NewReaderSize(rest, 16)) // reads little ahead
		if err != nil {
			t.Fatalf("%q: %v", in, err)
		}
		if !front.holds(std) || !valid(std) || std.Close || !std.ProtoAtLeast(1, 1) || std.TransferEncoding != nil {
			t.Fatalf("%q: %+v", in, std)
		}
		if std.ContentLength != int64(r.left) || r.ended != (r.left == 0) {
			t.Errorf("%q: length %d, %d", in, r.left, std.ContentLength)
		}
		body, err := io.ReadAll(std.Body)
		if want := in[n:][:min(len(in)-n, r.left)]; !bytes.Equal(body, want) || (err == nil) != (len(want) == r.left) {
			t.Errorf("%q: body %q, %q, %v", in, want, body, err)
		}
		lines := 0
		for name, values := range std.Header {
			lines += len(values)
			if got := r.Values(name); !slices.Equal(got, values) || r.Value(name) != values[0] {
				t.Errorf("%q: %s %q, %q", in, name, got, values)
			}
		}
		for range fields(r.lines) {
			lines--
		}
		if lines != -1 { // the Host is not there
			t.Errorf("%q: %d lines too many", in, lines)
		}
	})
}
