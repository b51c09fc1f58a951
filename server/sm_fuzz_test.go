package server_test

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"

	"rollcall/internal/servertest"
	"rollcall/internal/xmlscan"
	"rollcall/server"
)

// FuzzManagement has a client say anything about stream management: nothing panics, and
// a stream that goes on counts right.
func FuzzManagement(f *testing.F) {
	f.Add("enable", "resume='true'", "a", "h='1'")
	f.Add("enable", "resume='1' max='7'", "r", "")
	f.Add("enable", "max='-1'", "a", "h='4294967295'")
	f.Add("resume", "h='0' previd='x'", "enable", "resume=''")
	f.Add("a", "h='0'", "resume", "previd='' h=''")
	f.Fuzz(func(t *testing.T, name1, attrs1, name2, attrs2 string) {
		s := servertest.New(t, servertest.Options{Directory: people(), Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
		p := arrive(s, "bob")
		say := func(name, attrs string) {
			text := fmt.Sprintf("<%s %s %s/>", name, sm, attrs)
			scan := streamScanner()
			var el xmlscan.Element
			n, err := scan.Next([]byte(text), &el)
			if err != nil || n != len(text) || !strings.HasPrefix(text, "<"+string(el.Local)) {
				t.Skip("that is no element")
			}
			turn := p.Session().Begin()
			defer turn.End()
			turn.Element(&el)
		}
		say(name2, attrs2)
		if p.Closed() {
			return
		}
		p.Bind("phone")
		say(name1, attrs1)
		say(name2, attrs2)
		if p.Closed() {
			return
		}
		p.Drain()
		p.Send("<r " + sm + "/>")
		switch el := p.Next(); el.Tag {
		case "failed":
		case "a":
			if h := el.SelectAttrValue("h", ""); h != "0" {
				t.Errorf("h is %s", h)
			}
			p.ack(1)
			p.ExpectClosed(server.ReasonStream)
		default:
			t.Errorf("<%s/> came", el.Tag)
		}
	})
}
