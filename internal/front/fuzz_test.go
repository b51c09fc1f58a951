package front_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"rollcall/internal/front"
)

// echo answers held requests at once with what they say.
type echo struct{}

func answer(body []byte, err error, words []string) []byte {
	return fmt.Appendf(nil, "%q %t %q", body, err == nil, words)
}

func (echo) Exchange() *front.Exchange { return new(front.Exchange) }

func (echo) Serve(x *front.Exchange, r *front.Request) {
	words := r.Values("X-Word")
	if len(words) > 0 && r.Value("x-word") != words[0] {
		panic("two answers to one question")
	}
	body, err := r.AppendBody(nil, math.MaxInt)
	x.Reply(http.StatusOK, nil, answer(body, err, words))
	x.Send()
}

func (echo) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	_, _ = w.Write(answer(body, err, r.Header.Values("X-Word"))) // the peer may be gone
}

// talk sends all and returns every response up to the end, and whether that was a reset.
func talk(t *testing.T, address string, in []byte) (out []string, reset bool) {
	nc, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := nc.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	go func() {
		_, _ = nc.Write(in) // the server may hang up meanwhile
		_ = nc.(*net.TCPConn).CloseWrite()
	}()
	reader := bufio.NewReader(nc)
	for {
		r, err := http.ReadResponse(reader, nil)
		if err != nil {
			if ne, ok := err.(net.Error); ok && ne.Timeout() {
				t.Fatal("no end")
			}
			return out, errors.Is(err, syscall.ECONNRESET)
		}
		body, err := io.ReadAll(r.Body)
		out = append(out, fmt.Sprintf("%d %s %v", r.StatusCode, body, err))
		if errors.Is(err, syscall.ECONNRESET) {
			return out, true
		}
	}
}

// talkToReference asks again when net/http hung up on input that was still coming in: such a reset may
// overtake what it had answered.
func talkToReference(t *testing.T, address string, in []byte) []string {
	for range 20 {
		if out, reset := talk(t, address, in); !reset {
			return out
		}
	}
	t.Fatalf("%q: net/http resets every time", in)
	return nil
}

func withoutLast400(responses []string, others int) []string {
	if n := len(responses) - 1; n == others && n > 0 && strings.HasPrefix(responses[n], "400") {
		return responses[:n]
	}
	return responses
}

// FuzzFront compares with net/http: the same requests get the same answers.
func FuzzFront(f *testing.F) {
	for _, seed := range []string{
		post("a"), post("a") + post("b"), get, get + post("a"), post("a") + get,
		post("a", "Connection: close") + get, post("a", "Expect: 100-continue"),
		"POST /held/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n" + post("b"),
		"POST /held HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\na" + get,
		"POST /held HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\na", "POST /held HTTP/1.1\r\nHo", "\r\n\r\n" + get,
		"POST http://y/held?q HTTP/1.1\r\nHost: x\r\n\r\n", "POST /held HTTP/1.1\nHost: x\nContent-Length: 1\n\na",
		post("a", "X-Word: b", "x-word:c ", "X-Word:\td"), post("a", "X-Word : b"), post("a", "X-Word: b", " c"),
		post("a", "Content-Length: 1"), post("a", "Content-Length: 2"), post("a", "Host: y"), post("a", "X-Word: \x01"),
		post("a", "Connection: keep-alive"), post("a", "X-Word: \xff"), post("a", "X-Word: b\rc"),
		"POST /held HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\na", "POST /held HTTP/1.1\r\nHost: \r\nContent-Length: 1\r\n\r\na",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", "<stream:stream>\n\n",
	} {
		f.Add([]byte(seed))
	}
	c := config()
	c.Held, c.Rest = echo{}, echo{}
	fr := front.New(c)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- fr.Serve(ln) }()
	reference := httptest.NewUnstartedServer(echo{})
	reference.Config.MaxHeaderBytes = c.HeaderBytes
	reference.Start()
	f.Cleanup(func() {
		reference.Close()
		if err := fr.Shutdown(f.Context()); err != nil && f.Context().Err() == nil {
			f.Error(err)
		}
		<-served
	})
	f.Fuzz(func(t *testing.T, in []byte) {
		got, _ := talk(t, ln.Addr().String(), in)
		want := talkToReference(t, reference.Listener.Addr().String(), in)
		// Whether what follows the last answer is worth a word is a matter of taste.
		got, want = withoutLast400(got, len(want)), withoutLast400(want, len(got))
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%q:\n%q, net/http:\n%q", in, got, want)
		}
	})
}
