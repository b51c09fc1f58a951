package app

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"

	"rollcall/conf"
	"rollcall/internal/transcript"
	"rollcall/server"
)

var update = flag.Bool("update", false, "write docs/protocols.md")

const protocolsFile = "../../../docs/protocols.md"

// everything turns on all that is off by default.
func everything(c *conf.Config) {
	modules := reflect.ValueOf(&c.Modules).Elem()
	for i := range modules.NumField() {
		if modules.Type().Field(i).Name == "Example" {
			continue // it speaks no protocol but its own
		}
		modules.Field(i).FieldByName("Enabled").SetBool(true)
	}
	c.Listen.TCP = []conf.TCPListener{{Address: "127.0.0.1:0", TLS: conf.TLSStartTLS, PlainWithoutTLS: true, LegacyAuth: true}}
	c.Listen.Components = []conf.ComponentListener{{Address: "127.0.0.1:0", Name: "echo.localhost", Secret: "0123456789"}}
}

// docs/protocols.md says what the modules declare.
func TestProtocolsPage(t *testing.T) {
	a := begin(t, node(t, "one", "rollcall.db", nil, everything))
	page := protocolsPage(a.Protocols())
	if *update {
		if err := os.WriteFile(protocolsFile, page, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	had, err := os.ReadFile(protocolsFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(had, page) {
		t.Errorf("docs/protocols.md is out of date: go test ./cmd/rollcall/app -run TestProtocolsPage -update\n%s", page)
	}
}

func protocolsPage(list []server.Protocol) []byte {
	slices.SortStableFunc(list, func(a, b server.Protocol) int { return cmp.Compare(a.Number, b.Number) })
	var b bytes.Buffer
	b.WriteString("# Protocols\n\nWhat rollcall speaks, as its modules declare it; a test compares this page with them, and them with\n" +
		"what service discovery and stream features say. The version is that of the text the code obeys.\n\n" +
		"| specification | | version | module | notes |\n|---|---|---|---|---|\n")
	for _, p := range list {
		module := cmp.Or(p.Module, "server")
		fmt.Fprintf(&b, "| %s | %s | %s | `%s` | %s |\n", link(p.Number), p.Title, p.Version, module, p.Notes)
	}
	return b.Bytes()
}

func link(number string) string {
	kind, n, _ := strings.Cut(number, "-")
	if kind == "XEP" {
		return fmt.Sprintf("[%s](https://xmpp.org/extensions/xep-%s.html)", number, n)
	}
	_, n, _ = strings.Cut(number, " ")
	return fmt.Sprintf("[%s](https://www.rfc-editor.org/rfc/rfc%s)", number, n)
}

// What is declared is what clients are told, and nothing else.
func TestProtocolsAreTold(t *testing.T) {
	a := begin(t, node(t, "one", "rollcall.db", nil, everything))
	fill(t, a)
	tcp, _ := a.Addresses()
	streams := offered(t, tcp[0].String())
	alice := login(t, a, "alice@localhost/x", "secret")
	var told []string
	for i, to := range []string{"localhost", "alice@localhost"} {
		id := fmt.Sprint("d", i)
		alice.say("<iq type='get' id='" + id + "' to='" + to + "'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>")
		for _, f := range alice.hear("id='" + id + "'").FindElements("query/feature") {
			told = append(told, f.SelectAttrValue("var", ""))
		}
	}
	var declared, declaredStreams []string
	for _, p := range a.Protocols() {
		declared = append(declared, p.Features...)
		declaredStreams = append(declaredStreams, p.StreamFeatures...)
	}
	same(t, "disco#info", told, declared)
	same(t, "stream features", streams, declaredStreams)
}

func same(t *testing.T, what string, told, declared []string) {
	t.Helper()
	for _, x := range told {
		if !slices.Contains(declared, x) {
			t.Errorf("%s: %s is told and not declared", what, x)
		}
	}
	for _, x := range declared {
		if !slices.Contains(told, x) {
			t.Errorf("%s: %s is declared and not told", what, x)
		}
	}
}

// offered lists the namespaces of what a stream offers, before and after login.
func offered(t *testing.T, address string) (spaces []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c, err := transcript.Dial(ctx, transcript.Target{
		Kind: transcript.KindTCP, Address: address, Host: "localhost", Timeout: 20 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// The server ends it, perhaps.
		_ = c.Drop()
	})
	receive := func() *etree.Element {
		e, err := c.Receive(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	open := func() {
		if err := c.Open(ctx, "localhost"); err != nil {
			t.Fatal(err)
		}
		for _, f := range receive().ChildElements() {
			spaces = append(spaces, f.NamespaceURI())
		}
	}
	open()
	plain := base64.StdEncoding.EncodeToString([]byte("\x00alice\x00secret"))
	if err := c.Send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>" + plain + "</auth>"); err != nil {
		t.Fatal(err)
	}
	if e := receive(); e.Tag != "success" {
		t.Fatalf("%s", transcript.Text(e))
	}
	open()
	return spaces
}
