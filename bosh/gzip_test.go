package bosh

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
)

func TestB39AcceptsGzip(t *testing.T) {
	for accept, want := range map[string]bool{
		"": false, "gzip": true, "deflate, gzip": true, "GZIP": true, "gzip;q=0": false, "gzip; q=0.0": false,
		"gzip;q=0.5": true, "br": false, "*": true, "*;q=0": false, "gzip;q=0, *": false, "gzip;q=x": false, "identity": false,
		"deflate;q=1.0, *;q=0.5": true, "x-gzip": false, ";": false,
	} {
		if got := acceptsGzip([]string{accept}); got != want {
			t.Errorf("%q: %t", accept, got)
		}
	}
}

// TestB39Gzip: long replies are compressed when the client accepts that, and it is
// wanted; a repeated request may say otherwise.
func TestB39Gzip(t *testing.T) {
	for _, on := range []bool{true, false} {
		t.Run(fmt.Sprint(on), func(t *testing.T) {
			inBubble(t, func(r *rig) {
				bob := r.srv.Online("bob/x")
				c, poll := r.online("alice")
				if c.created.SelectAttr("accept") != nil {
					t.Error("compressed requests are not taken, but announced")
				}
				ask := func(payload, accept string) *call {
					req := newPost(c.text(c.rid, "", payload))
					req.Header.Set("Accept-Encoding", accept)
					return r.serve(req, false)
				}
				bob.Send(toWeb("short"))
				poll.now()
				c.rid++
				poll = ask("", "gzip")
				bob.Send(toWeb(strings.Repeat("long", 1000)))
				synctest.Wait()
				<-poll.done
				for range 2 { // the second one with a writer that was used before
					again := ask("", "gzip")
					<-again.done
					want := c.at(c.rid, "", "").now()
					r.expect(want, "message")
					got := again.rec.Body.Bytes()
					if fmt.Sprint(len(got)) != again.Header().Get("Content-Length") {
						t.Errorf("%d bytes, announced were %s", len(got), again.Header().Get("Content-Length"))
					}
					if encoding := again.Header().Get("Content-Encoding"); (encoding == "gzip") != on {
						t.Fatalf("encoding %q", encoding)
					}
					if on {
						got = unzip(t, got)
					}
					if !bytes.Contains(got, []byte("longlong")) || !bytes.HasSuffix(got, []byte("</body>")) {
						t.Errorf("%.200s", got)
					}
				}
				c.rid++
				short := ask(ping, "gzip")
				<-short.done
				if short.Header().Get("Content-Encoding") != "" {
					t.Error("a short reply is compressed")
				}
			}, func(c *Config) { c.Gzip = on })
		})
	}
}

func unzip(t *testing.T, b []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return all
}
