package bosh

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/beevik/etree"

	"rollcall/internal/ns"
	"rollcall/internal/servertest"
	"rollcall/server"
)

// rig is a Handler in front of a whole core, inside a bubble of synctest: time
// passes when everybody waits.
type rig struct {
	t   *testing.T
	srv *servertest.Server
	h   *Handler
	// gate, once set, is where handlers of presence wait; leaving, those of the ends
	// of sessions.
	gate, leaving chan struct{}
}

// Name and Start make the rig a module.
func (r *rig) Name() string { return "gate" }

func (r *rig) Start(h *server.Host) error {
	h.OnSetPresence(0, func(context.Context, *server.SetPresence) {
		if r.gate != nil {
			<-r.gate
		}
	})
	h.OnRemoveConnection(0, func(context.Context, *server.RemoveConnection) {
		if r.leaving != nil {
			<-r.leaving
		}
	})
	return nil
}

func testConfig() Config {
	return Config{
		Wait: 55 * time.Second, Hold: 1, Inactivity: 30 * time.Second, MaxPause: 120 * time.Second,
		Polling: 2 * time.Second, Origins: []string{"*"}, Limits: testLimits,
	}
}

// inBubble runs a test with alice and bob in the directory.
func inBubble(t *testing.T, f func(*rig), change ...func(*Config)) {
	inBubbleWith(t, servertest.Options{}, f, change...)
}

// inBubbleWith is inBubble with a core of another kind.
func inBubbleWith(t *testing.T, o servertest.Options, f func(*rig), change ...func(*Config)) {
	synctest.Test(t, func(t *testing.T) {
		c := testConfig()
		c.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
		for _, f := range change {
			f(&c)
		}
		r := &rig{t: t}
		o.Directory = servertest.NewDirectory().AddUser("alice", "").AddUser("bob", "")
		o.Limits, o.Modules = &c.Limits, []server.Module{r}
		r.srv = servertest.New(t, o)
		r.h = New(r.srv.Server, server.Listener{PlainWithoutTLS: true}, c)
		f(r)
		r.srv.Stop()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := r.h.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
}

// call is one HTTP request on its way.
type call struct {
	t      *testing.T
	sent   string
	rec    *httptest.ResponseRecorder
	cancel context.CancelFunc
	done   chan struct{}
	// broken makes writing the answer fail, slow makes it take longer.
	broken bool
	slow   time.Duration
	// answered is when writing began.
	answered time.Time
}

func (c *call) Header() http.Header { return c.rec.Header() }

func (c *call) WriteHeader(status int) { c.rec.WriteHeader(status) }

func (c *call) Write(p []byte) (int, error) {
	c.answered = time.Now()
	time.Sleep(c.slow)
	if c.broken {
		return 0, errors.New("the connection is gone")
	}
	return c.rec.Write(p)
}

func (r *rig) serve(req *http.Request, broken bool) *call {
	c := &call{t: r.t, broken: broken}
	r.start(c, req)
	return c
}

func (r *rig) start(c *call, req *http.Request) {
	ctx, cancel := context.WithCancel(req.Context())
	c.rec, c.cancel, c.done = httptest.NewRecorder(), cancel, make(chan struct{})
	go func() {
		defer close(c.done)
		r.h.ServeHTTP(c, req.WithContext(ctx))
	}()
}

func newPost(body string) *http.Request {
	return httptest.NewRequest(http.MethodPost, "/http-bind", strings.NewReader(body))
}

func (r *rig) post(body string) *call {
	c := r.serve(newPost(body), false)
	c.sent = body
	return c
}

// held fails the test when the request is answered already.
func (c *call) held() {
	c.t.Helper()
	synctest.Wait()
	select {
	case <-c.done:
		c.t.Fatalf("%s was answered: %s", c.sent, c.rec.Body)
	default:
	}
}

// now fails the test when the request waits for something.
func (c *call) now() *etree.Element {
	c.t.Helper()
	synctest.Wait()
	select {
	case <-c.done:
		return c.body()
	default:
		c.t.Fatalf("%s is not answered", c.sent)
		return nil
	}
}

// body waits for the answer.
func (c *call) body() *etree.Element {
	c.t.Helper()
	<-c.done
	d := etree.NewDocument()
	if err := d.ReadFromString(c.rec.Body.String()); err != nil || d.Root() == nil {
		c.t.Fatalf("%s was answered %q: %v", c.sent, c.rec.Body, err)
	}
	b := d.Root()
	if b.Tag != "body" || b.NamespaceURI() != ns.HTTPBind {
		c.t.Fatalf("%s was answered %s", c.sent, c.rec.Body)
	}
	return b
}

// abort is the client giving up.
func (c *call) abort() {
	c.cancel()
	<-c.done
}

// boshClient speaks BOSH, one request at a time.
type boshClient struct {
	*rig
	sid string
	rid int64
	// created is the first answer.
	created *etree.Element
}

func (c *boshClient) text(rid int64, attrs, payload string) string {
	return fmt.Sprintf("<body xmlns='%s' xmlns:xmpp='%s' sid='%s' rid='%d' %s>%s</body>", ns.HTTPBind, ns.XBOSH, c.sid, rid, attrs, payload)
}

// send sends the next request.
func (c *boshClient) send(attrs, payload string) *call {
	c.rid++
	return c.post(c.text(c.rid, attrs, payload))
}

// at sends a request with any rid.
func (c *boshClient) at(rid int64, attrs, payload string) *call {
	return c.post(c.text(rid, attrs, payload))
}

const usualAttrs = "to='example.com' xml:lang='en' wait='60' hold='1' content='text/xml; charset=utf-8' ver='1.6' xmpp:version='1.0'"

func creation(attrs string) string {
	return "<body xmlns='" + ns.HTTPBind + "' xmlns:xmpp='" + ns.XBOSH + "' rid='1000' " + attrs + "/>"
}

// create begins a session.
func (r *rig) create(attrs string) *boshClient {
	r.t.Helper()
	b := r.post(creation(attrs)).now()
	c := &boshClient{rig: r, sid: b.SelectAttrValue("sid", ""), rid: 1000, created: b}
	if c.sid == "" || b.FindElement("./features") == nil {
		r.t.Fatalf("not created: %s", dump(b))
	}
	return c
}

func plain(user string) string {
	return "<auth xmlns='" + ns.SASL + "' mechanism='PLAIN'>" +
		base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+servertest.Password)) + "</auth>"
}

func bind(resource string) string {
	return "<iq xmlns='jabber:client' type='set' id='bind'><bind xmlns='" + ns.Bind + "'><resource>" + resource + "</resource></bind></iq>"
}

// login begins a session and binds a resource.
func (r *rig) login(user string) *boshClient { return r.loginWith(user, usualAttrs) }

func (r *rig) loginWith(user, attrs string) *boshClient {
	r.t.Helper()
	c := r.create(attrs)
	c.expect(c.send("", plain(user)).now(), "success")
	c.expect(c.send("xmpp:restart='true' to='example.com'", "").now(), "features")
	c.expect(c.send("", bind("web")).now(), "iq")
	return c
}

// online also sends presence, and keeps a request at the server.
func (r *rig) online(user string) (*boshClient, *call) {
	r.t.Helper()
	c := r.login(user)
	c.expect(c.send("", "<presence xmlns='jabber:client'/>").now(), "presence")
	poll := c.send("", "")
	poll.held()
	return c, poll
}

// expect checks what elements a body has.
func (r *rig) expect(b *etree.Element, names ...string) {
	r.t.Helper()
	var got []string
	for _, e := range b.ChildElements() {
		got = append(got, e.Tag)
	}
	if strings.Join(got, " ") != strings.Join(names, " ") || b.SelectAttr("type") != nil {
		r.t.Fatalf("got %s, want %q", dump(b), names)
	}
}

// expectEnd checks that a body ends the session.
func (r *rig) expectEnd(b *etree.Element, condition string) {
	r.t.Helper()
	if b.SelectAttrValue("type", "") != "terminate" || b.SelectAttrValue("condition", "") != condition {
		r.t.Fatalf("got %s, want condition %q", dump(b), condition)
	}
}

// expectMessages checks the ids of the messages in a body.
func (r *rig) expectMessages(b *etree.Element, ids ...string) {
	r.t.Helper()
	var got []string
	for _, e := range b.SelectElements("message") {
		got = append(got, e.SelectAttrValue("id", ""))
	}
	if strings.Join(got, " ") != strings.Join(ids, " ") {
		r.t.Fatalf("got %s, want messages %q", dump(b), ids)
	}
}

func message(to, id string) string {
	return fmt.Sprintf("<message xmlns='jabber:client' to='%s' type='chat' id='%s'><body>%[2]s</body></message>", to, id)
}

func dump(e *etree.Element) string {
	d := etree.NewDocumentWithRoot(e.Copy())
	s, err := d.WriteToString()
	if err != nil {
		return err.Error()
	}
	return s
}

// pass lets time pass, in the bubble.
func (r *rig) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// after checks that something takes as long as it should.
func (r *rig) after(d time.Duration, what func()) {
	r.t.Helper()
	begun := time.Now()
	what()
	if took := time.Since(begun); took != d {
		r.t.Fatalf("it took %v, want %v", took, d)
	}
}
