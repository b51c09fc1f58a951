package bosh

import (
	"bufio"
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rollcall/internal/ns"
)

// onWire sends the client's next request over a connection of net/http that takes
// no answer until somebody reads.
func (c *boshClient) onWire(conn io.Writer, payload string) {
	c.t.Helper()
	c.rid++
	body := c.text(c.rid, "", payload)
	_, err := fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	if err != nil {
		c.t.Fatal(err)
	}
	synctest.Wait()
}

// TestB11NothingOvertakes: clients take answers as they come, so that stanzas wait
// while earlier ones are still being written.
func TestB11NothingOvertakes(t *testing.T) {
	for _, broken := range []bool{false, true} {
		t.Run(fmt.Sprintf("broken %v", broken), func(t *testing.T) {
			inBubble(t, func(r *rig) {
				bob := r.srv.Online("bob/x")
				c, poll := r.online("alice")
				poll.abort()
				conn := r.listen()()
				c.onWire(conn, "")
				bob.Send(message("alice@example.com", "1"))
				next := c.send("", "")
				bob.Send(message("alice@example.com", "2"))
				next.held()
				if broken {
					if err := conn.Close(); err != nil {
						t.Fatal(err)
					}
					r.expectMessages(next.now(), "1", "2")
					return
				}
				if _, body := readRaw(t, bufio.NewReader(conn)); !strings.Contains(body, "id='1'") || strings.Contains(body, "id='2'") {
					t.Errorf("first came %s", body)
				}
				r.expectMessages(next.now(), "2")
			})
		})
	}
}

// TestB23NothingOvertakes: a poll is answered at once all the same.
func TestB23NothingOvertakes(t *testing.T) {
	inBubble(t, func(r *rig) {
		bob := r.srv.Online("bob/x")
		c := r.loginWith("alice", strings.Replace(usualAttrs, "hold='1'", "hold='0'", 1))
		r.expect(c.send("", presence).now(), "presence")
		bob.Send(message("alice@example.com", "1"))
		synctest.Wait()
		conn := r.listen()()
		c.onWire(conn, "")
		bob.Send(message("alice@example.com", "2"))
		r.expectMessages(c.send("", "").now())
		if _, body := readRaw(t, bufio.NewReader(conn)); !strings.Contains(body, "id='1'") {
			t.Errorf("first came %s", body)
		}
		r.expectMessages(c.send("", "").now(), "2")
	})
}

// TestB22SlowDownload: who is busy with an answer is not away.
func TestB22SlowDownload(t *testing.T) {
	inBubble(t, func(r *rig) {
		bob := r.srv.Online("bob/x")
		c, poll := r.online("alice")
		poll.abort()
		conn := r.listen()()
		c.onWire(conn, "")
		bob.Send(message("alice@example.com", "1"))
		r.pass(20 * time.Second)
		readRaw(t, bufio.NewReader(conn))
		r.pass(5*time.Second - 1)
		c.send("", "").held()

		// Nobody takes the answer: the deadline of writing ends that.
		c.onWire(r.listen()(), "")
		bob.Send(message("alice@example.com", "2"))
		r.pass(ReplyTime + 5*time.Second)
		r.expectEnd(c.send("", "").now(), itemNotFound)
	}, func(c *Config) { c.Inactivity = 5 * time.Second })
}

// TestGapBehindHeld: a request that never comes ends the session also when the
// client asks again for an earlier one.
func TestGapBehindHeld(t *testing.T) {
	inBubble(t, func(r *rig) {
		c := r.loginWith("alice", strings.Replace(usualAttrs, "hold='1'", "hold='2'", 1))
		first := c.at(c.rid+1, "", "")
		first.held()
		r.after(85*time.Second, func() {
			early := c.at(c.rid+3, "", "")
			r.pass(50 * time.Second)
			again := c.at(c.rid+1, "", "")
			again.held()
			r.expectEnd(again.body(), remoteStreamError)
			r.expectEnd(early.now(), remoteStreamError)
		})
	}, func(c *Config) { c.Hold = 2 })
}

// TestB21GoneBeforehand: nothing is written to a client that has gone already, even
// when the answer is ready.
func TestB21GoneBeforehand(t *testing.T) {
	inBubble(t, func(r *rig) {
		c := r.login("alice")
		for range 30 {
			c.rid++
			ctx, cancel := context.WithCancel(r.t.Context())
			cancel()
			<-r.serve(newPost(c.text(c.rid, "", ping)).WithContext(ctx), false).done
			r.expect(c.send("", "").now(), "iq")
		}
	})
}

func TestB26NothingToPauseAtCreation(t *testing.T) {
	inBubble(t, func(r *rig) {
		for _, pause := range []string{"60", "1000"} {
			c := r.create(usualAttrs + " pause='" + pause + "'")
			r.expect(c.send("", plain("alice")).now(), "success")
			r.pass(30 * time.Second)
			r.expectEnd(c.send("", "").now(), itemNotFound)
		}
	}, func(c *Config) { c.Limits.LoginTime = time.Hour })
}

func TestB9RouteIsIgnored(t *testing.T) {
	inBubble(t, func(r *rig) {
		c := r.create(usualAttrs + " route='xmpp:elsewhere.example:5222'")
		if from := c.created.SelectAttrValue("from", ""); from != "example.com" || c.created.SelectAttr("route") != nil {
			t.Errorf("%s", dump(c.created))
		}
	})
}

// TestEarlyRequestWithoutClient: what a client sent counts, though it is gone.
func TestEarlyRequestWithoutClient(t *testing.T) {
	inBubble(t, func(r *rig) {
		bob := r.srv.Online("bob/x")
		c := r.login("alice")
		early := c.at(c.rid+2, "", message("bob@example.com", "2"))
		early.held()
		early.abort()
		r.expect(c.send("", message("bob@example.com", "1")).now())
		for _, id := range []string{"1", "2"} {
			bob.Expect("<message from='alice@example.com/web' to='bob@example.com' type='chat' id='" + id + "'>...</message>")
		}
	})
}

// TestPrefixesOfTheBodyTravel: a stanza may use what the body declares, and whoever
// gets it knows nothing of that body.
func TestPrefixesOfTheBodyTravel(t *testing.T) {
	inBubble(t, func(r *rig) {
		bob := r.srv.Online("bob/x")
		c := r.login("alice")
		c.send("xmlns:s='urn:example:s'", "<message xmlns='jabber:client' to='bob@example.com' type='chat'><s:x s:y='1'/></message>")
		m := bob.Next()
		x := m.SelectElement("x")
		if x == nil || x.NamespaceURI() != "urn:example:s" || x.SelectAttr("y") == nil {
			t.Errorf("%s", dump(m))
		}
		// A stanza without a namespace means jabber:client.
		c.send("", "<message to='bob@example.com' type='chat'><body>hi</body></message>")
		m = bob.Next()
		if b := m.SelectElement("body"); b == nil || b.NamespaceURI() != ns.Client {
			t.Errorf("%s", dump(m))
		}
	})
}

// TestB16TooOldIsNoSignOfLife: a copy that lingered on the way says nothing about
// the client.
func TestB16TooOldIsNoSignOfLife(t *testing.T) {
	inBubble(t, func(r *rig) {
		c := r.login("alice")
		r.pass(29 * time.Second)
		r.expectEnd(c.at(c.rid-3, "", "").now(), itemNotFound)
		r.pass(time.Second)
		r.expectEnd(c.send("", "").now(), itemNotFound)
	})
}

// counter counts what is read of an endless body.
type counter struct {
	text string
	n    int
}

func (c *counter) Read(p []byte) (int, error) {
	n := copy(p, c.text)
	c.text = c.text[n:]
	for i := n; i < len(p); i++ {
		p[i] = ' '
	}
	c.n += len(p)
	return len(p), nil
}

// TestB41StrangersAreReadBriefly: little of a body is kept before it is known that
// a client is behind it that is logged in.
func TestB41StrangersAreReadBriefly(t *testing.T) {
	inBubble(t, func(r *rig) {
		fresh, known := r.create(usualAttrs), r.login("alice")
		open := func(c *boshClient) string { return strings.TrimSuffix(c.text(c.rid+1, "", ""), "</body>") }
		declared := "\ufeff<?xml version='1.0' encoding='utf-8'?>\r\n"
		stranger, client := r.h.strangersLimit()+1, r.h.find([]byte(known.sid)).bodyLimit()+1
		for _, test := range []struct {
			name, start string
			want        int
		}{
			{"not even a body", "", stranger},
			{"no sid", strings.TrimSuffix(creation(usualAttrs), "/>") + ">", stranger},
			{"an unknown sid", strings.Replace(open(known), known.sid, "x", 1), stranger},
			{"the sid in an attribute of something else", strings.Replace(open(known), " sid=", " kid=", 1) + "<body sid='" + known.sid + "'>", stranger},
			{"not logged in", open(fresh), stranger},
			{"logged in", declared + open(known), client},
		} {
			body := &counter{text: test.start}
			c := r.serve(httptest.NewRequest("POST", "/", body), false)
			r.expectEnd(c.now(), policyViolation)
			if body.n != test.want {
				t.Errorf("%s: %d bytes were read, want %d", test.name, body.n, test.want)
			}
		}
	})
}

func TestB41BodiesThatFit(t *testing.T) {
	inBubble(t, func(r *rig) {
		// All that may come before login, in one body.
		c := r.create(usualAttrs)
		auth := "<auth xmlns='" + ns.SASL + "' mechanism='PLAIN'></auth>"
		long := strings.Replace(auth, "></", ">"+strings.Repeat("A", int(testLimits.LoginBytes)-len(auth))+"</", 1)
		r.expect(c.send("", long).now(), "failure")

		c, poll := r.online("alice")
		m := strings.Replace(message("alice@example.com", "1"), "</body>", strings.Repeat("x", 100<<10)+"</body>", 1)
		c.rid++
		next := r.post("<?xml version='1.0'?>\n" + c.text(c.rid, "", m))
		r.expectMessages(poll.now(), "1")
		next.held()
	})
}

// TestRestOfLongBody: nobody waits for the rest of what is refused.
func TestRestOfLongBody(t *testing.T) {
	inBubble(t, func(r *rig) {
		conn := r.listen()()
		go func() {
			// It fails when the server has read enough.
			_, _ = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n"+
				creation(usualAttrs)+strings.Repeat(" ", 80<<10))
		}()
		in := bufio.NewReader(conn)
		r.after(0, func() {
			head, body := readRaw(t, in)
			if !strings.Contains(head, "Connection: close\r\n") || !strings.Contains(body, policyViolation) {
				t.Errorf("%q %q", head, body)
			}
		})
		begun := time.Now()
		if _, err := in.ReadByte(); err == nil {
			t.Error("something follows the answer")
		}
		if took := time.Since(begun); took > BodyTime {
			t.Errorf("the connection was open for %v", took)
		}
	})
}

// TestB42MadeUpAddresses: a list of addresses begins with what the client itself
// wrote.
func TestB42MadeUpAddresses(t *testing.T) {
	inBubble(t, func(r *rig) {
		for forwarded, want := range map[string]string{
			"rubbish":                           "192.0.2.1:1234",
			"rubbish, 192.0.2.9":                "192.0.2.9",
			"203.0.113.9, rubbish, 192.0.2.9":   "192.0.2.9",
			"203.0.113.9:77, 192.0.2.9":         "203.0.113.9:77",
			"[2001:db8::1]:77, 192.0.2.9":       "[2001:db8::1]:77",
			"203.0.113.9, ::ffff:192.0.2.9, , ": "203.0.113.9",
		} {
			req := newPost("")
			req.Header.Set("X-Forwarded-For", forwarded)
			if got := r.h.clientSending(req).remote; got != want {
				t.Errorf("%q: %q, want %q", forwarded, got, want)
			}
		}
	}, func(c *Config) { c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} })
}

// TestFloodOfSessions: sessions that nobody logs in to go away by themselves.
func TestFloodOfSessions(t *testing.T) {
	inBubble(t, func(r *rig) {
		for range 300 {
			r.create(usualAttrs).send("", "").held()
		}
		r.pass(testLimits.LoginTime + 30*time.Second)
		if n := len(r.h.known()); n != 0 || r.srv.Metric("rollcall_connections") != 0 {
			t.Errorf("%d sessions and %v connections are left", n, r.srv.Metric("rollcall_connections"))
		}
	})
}

// sameAttributes compares what was read of a start tag with encoding/xml.
func sameAttributes(t *testing.T, raw []byte, b *body) {
	t.Helper()
	raw, err := skipDeclaration(raw)
	if err != nil {
		t.Fatal(err)
	}
	d := xml.NewDecoder(strings.NewReader(string(raw)))
	want := map[xml.Name]string{}
	for want[xml.Name{}] == "" {
		token, err := d.Token()
		if oldNames(raw, err) {
			return
		}
		if err != nil {
			t.Fatalf("encoding/xml refuses: %v", err)
		}
		if el, ok := token.(xml.StartElement); ok {
			want[xml.Name{}] = el.Name.Local
			for _, a := range el.Attr {
				want[a.Name] = a.Value
			}
		}
	}
	// Attributes are normalized by XML 1.0 section 3.3.3, which encoding/xml omits.
	plain := strings.NewReplacer("\r\n", " ", "\n", " ", "\t", " ", "\r", " ")
	for name, got := range map[xml.Name]string{
		{Local: "sid"}: string(b.sid), {Local: "to"}: b.to, {Local: "from"}: b.from, {Local: "ver"}: b.ver,
		{Local: "content"}: b.content, {Space: ns.XBOSH, Local: "version"}: b.version,
		{Space: "http://www.w3.org/XML/1998/namespace", Local: "lang"}: b.lang,
	} {
		if plain.Replace(got) != plain.Replace(want[name]) {
			t.Errorf("%v is %q, want %q", name, got, want[name])
		}
	}
}
