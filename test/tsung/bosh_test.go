package tsung

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
)

// T11: BOSH as tsung speaks it.
func TestBOSH(t *testing.T) {
	for _, path := range []string{"/http-bind", "/http-bind/"} {
		t.Run(path, func(t *testing.T) { boshSession(t, path) })
	}
}

func boshSession(t *testing.T, path string) {
	_, sites := start(t, nil).Addresses()
	one, two := dial(t, sites[0]), dial(t, sites[0])
	post := func(p *peer, body string) {
		p.say(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type:text/xml; charset=utf-8\r\nkeep-alive:true\r\nContent-Length:%d\r\n\r\n%s", path, len(body), body))
	}
	post(one, "<body xmlns='http://jabber.org/protocol/httpbind' content='text/xml; charset=utf-8' ver='1.8' to='localhost' rid='1001' xmlns:xmpp='urn:xmpp:xbosh' xmpp:version='1.0' wait='60' hold='1'/>")
	sid := regexp.MustCompile("sid='([^']+)'").FindStringSubmatch(reply(t, one))
	if sid == nil {
		t.Fatal("no sid in the first reply")
	}
	rid := 1001
	say := func(attributes, content string) string {
		rid++
		return fmt.Sprintf("<body xmlns='http://jabber.org/protocol/httpbind'  rid='%d' sid='%s'%s>%s</body>", rid, sid[1], attributes, content)
	}
	const xmpp = " xmlns:xmpp='urn:xmpp:xbosh'"
	post(one, say("", sasl("user1", "pass1")))
	if got := reply(t, one); !strings.Contains(got, "<success") {
		t.Fatalf("got %s", got)
	}
	post(one, say(" xmpp:restart='true'"+xmpp+" to='localhost'", ""))
	if got := reply(t, one); !strings.Contains(got, "<bind") {
		t.Fatalf("got %s", got)
	}
	post(one, say("", bind))
	if got := reply(t, one); !strings.Contains(got, "id='b'") {
		t.Fatalf("got %s", got)
	}
	// From here on one request is held, and the other connection sends.
	post(one, say("", ""))
	post(two, say("", session))
	if got := reply(t, one); !strings.Contains(got, "id='s'") {
		t.Fatalf("the request that was held got %s", got)
	}
	// Two are under way at most: the second is held now.
	post(one, say(" type='terminate'"+xmpp, ""))
	if got := reply(t, two) + reply(t, one); !strings.Contains(got, "type='terminate'") {
		t.Errorf("the end got %s", got)
	}
}

// reply reads one reply and checks its form.
func reply(t *testing.T, p *peer) string {
	t.Helper()
	if err := p.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(p)
	r, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	if r.Status != "200 OK" || r.ContentLength < 0 && len(r.TransferEncoding) == 0 || r.Close || in.Buffered() > 0 {
		t.Fatalf("%s %v %s", r.Status, r.Header, body)
	}
	return string(body)
}
