package proxy

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"regexp"
	"time"
)

// What goes wrong with requests.
const (
	Delay       Fault = "delay"        // the request arrives late, even if its client has given up
	Reorder     Fault = "reorder"      // a later request of the session arrives first
	CutRequest  Fault = "cut request"  // the server gets a part of the request, the client nothing
	CutHeld     Fault = "cut held"     // the request arrives, then its connection is cut
	CutResponse Fault = "cut response" // the server has answered; the client gets a part of it
	Repeat      Fault = "repeat"       // the server gets the request twice, the client one of the answers
	HalfOpen    Fault = "half-open"    // nothing arrives, and nobody is told
	BadGateway  Fault = "502"          // the client gets that answer; the server may have got the request
)

// Overtaken counts the requests chosen for Reorder that another one really
// overtook.
const Overtaken Fault = "overtaken"

// Broken counts connections to the server that broke without the proxy's doing.
const Broken Fault = "broken upstream"

// HTTPConfig is how a proxy for requests behaves.
type HTTPConfig struct {
	Target string // host:port of the server
	Seed   uint64
	Faults Faults // of each request
	// MaxDelay is the longest that a request is delayed, and held back for another
	// one to overtake it.
	MaxDelay time.Duration
}

// HTTP is a proxy that knows requests of BOSH sessions. A connection and its
// requests, each with its number, have the same fate whenever the seed is the same.
type HTTP struct {
	*base
	cfg HTTPConfig
	// behind holds the requests that wait to be overtaken, by session; guarded by
	// base.mu.
	behind map[string][]chan struct{}
}

// ListenHTTP starts a proxy on a free port of the loopback interface.
func ListenHTTP(c HTTPConfig) (*HTTP, error) {
	b, err := listen(c.Target, c.Seed)
	if err != nil {
		return nil, err
	}
	p := &HTTP{base: b, cfg: c, behind: make(map[string][]chan struct{})}
	b.accept(func(nc *net.TCPConn, number uint64) {
		v := &visit{p: p, client: nc, number: number, requests: make(chan *request)}
		v.serve()
	})
	return p, nil
}

// request is one request as it came.
type request struct {
	req *http.Request
	raw []byte
	sid string // of its BOSH session, if any
}

var sidAttribute = regexp.MustCompile(`^<body[^>]*\ssid=['"]([^'"]*)['"]`)

func readRequest(r *bufio.Reader) (*request, error) {
	req, err := http.ReadRequest(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	req.Body = io.NopCloser(bytes.NewReader(body))
	var raw bytes.Buffer
	if err := req.Write(&raw); err != nil {
		return nil, err
	}
	m := &request{req: req, raw: raw.Bytes()}
	if sid := sidAttribute.FindSubmatch(body); sid != nil {
		m.sid = string(sid[1])
	}
	return m, nil
}

// visit is one connection of a client.
type visit struct {
	p        *HTTP
	client   *net.TCPConn
	number   uint64
	requests chan *request // one after the other
	// gone ends when the client has closed the connection.
	gone   context.Context
	server *net.TCPConn
	from   *bufio.Reader // of server
}

func (v *visit) serve() {
	ctx, cancel := context.WithCancel(v.p.ctx)
	defer cancel()
	var left context.CancelFunc
	v.gone, left = context.WithCancel(v.p.ctx)
	defer left()
	v.p.work.Go(func() {
		defer left()
		defer close(v.requests)
		r := bufio.NewReader(v.client)
		for {
			m, err := readRequest(r)
			if err != nil {
				return
			}
			select {
			case v.requests <- m:
			case <-ctx.Done():
				return
			}
		}
	})
	defer v.hangUp()
	n := uint64(0)
	for m := range v.requests {
		if !v.exchange(m, v.p.rand(v.number, n)) {
			v.client.Close()
			return
		}
		n++
	}
}

func (v *visit) hangUp() {
	if v.server != nil {
		v.p.untrack(v.server)
		v.server = nil
	}
}

// exchange carries one request, and reports whether the connection goes on.
func (v *visit) exchange(m *request, rnd *rand.Rand) bool {
	fault := None
	if !v.p.isCalm() {
		fault = v.p.cfg.Faults.choose(rnd)
	}
	if fault != None {
		v.p.count(fault)
	}
	switch fault {
	case HalfOpen:
		<-v.gone.Done()
		return false
	case BadGateway:
		return v.badGateway(m, rnd)
	case CutRequest:
		v.send(m.raw[:rnd.IntN(len(m.raw))])
		return v.cut(rnd)
	case CutHeld:
		return v.cutHeld(m, rnd)
	case Delay:
		v.p.pause(upTo(rnd, v.p.cfg.MaxDelay))
	case Reorder:
		v.p.fallBehind(m.sid)
	case Repeat:
		v.p.repeat(m, rnd)
	}
	return v.forward(m, rnd, fault)
}

// forward carries a request and its answer.
func (v *visit) forward(m *request, rnd *rand.Rand, fault Fault) bool {
	if !v.send(m.raw) {
		v.p.count(Broken)
		v.answer([]byte(badGateway))
		return false
	}
	v.p.pass(m.sid)
	// Some proxies notice that the client has gone, others do not.
	if rnd.IntN(2) == 0 {
		server := v.server
		defer context.AfterFunc(v.gone, func() { server.Close() })()
	}
	raw, last, err := readResponse(v.from, m.req)
	if err != nil {
		if v.gone.Err() == nil {
			v.p.count(Broken)
		}
		return v.cut(rnd)
	}
	if fault == CutResponse {
		v.answer(raw[:rnd.IntN(len(raw))])
		return v.cut(rnd)
	}
	return v.answer(raw) && !last
}

func readResponse(r *bufio.Reader, req *http.Request) (raw []byte, last bool, err error) {
	resp, err := http.ReadResponse(r, req)
	if err != nil {
		return nil, false, err
	}
	var b bytes.Buffer
	err = resp.Write(&b) // reads the body, which has a length
	return b.Bytes(), resp.Close, err
}

// send sends bytes to the server.
func (v *visit) send(raw []byte) bool {
	if v.server == nil {
		nc, err := v.p.dial()
		if err != nil {
			return false
		}
		v.server, v.from = nc, bufio.NewReader(nc)
	}
	_, err := v.server.Write(raw)
	return err == nil
}

// answer sends bytes to the client.
func (v *visit) answer(raw []byte) bool {
	_, err := v.client.Write(raw)
	return err == nil
}

// cut ends both connections.
func (v *visit) cut(rnd *rand.Rand) bool {
	if v.server != nil {
		cut(v.server, rnd.IntN(2) == 0)
	}
	cut(v.client, rnd.IntN(2) == 0)
	return false
}

const badGateway = "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"

func (v *visit) badGateway(m *request, rnd *rand.Rand) bool {
	if rnd.IntN(2) == 0 {
		v.send(m.raw)
		v.hangUp()
	}
	return v.answer([]byte(badGateway))
}

// cutHeld cuts the connection of a request that has arrived. The server may not
// notice: then the answer goes nowhere.
func (v *visit) cutHeld(m *request, rnd *rand.Rand) bool {
	if !v.send(m.raw) {
		return v.cut(rnd)
	}
	v.p.pass(m.sid)
	v.p.pause(upTo(rnd, v.p.cfg.MaxDelay))
	if rnd.IntN(2) == 0 {
		return v.cut(rnd)
	}
	cut(v.client, rnd.IntN(2) == 0)
	// Whether there is an answer does not matter to anybody here.
	_, _, _ = readResponse(v.from, m.req)
	return false
}

// repeat sends a copy of a request on a connection of its own, before, together
// with or after the request itself. The copy's answer goes nowhere; its connection
// may be cut before there is one.
func (p *HTTP) repeat(m *request, rnd *rand.Rand) {
	impatient := rnd.IntN(3) == 0
	patience := upTo(rnd, p.cfg.MaxDelay)
	late := time.Duration(0)
	if rnd.IntN(2) == 0 {
		late = upTo(rnd, 4*p.cfg.MaxDelay)
	}
	before := rnd.IntN(3) == 0
	sent := make(chan struct{})
	p.work.Go(func() {
		nc, err := p.dial()
		if err != nil {
			close(sent)
			p.count(Broken)
			return
		}
		defer p.untrack(nc)
		if !before {
			p.pause(late)
		}
		_, err = nc.Write(m.raw)
		close(sent)
		if err != nil {
			return
		}
		if impatient {
			p.pause(patience)
			return
		}
		// The answer belongs to the request itself.
		_, _, _ = readResponse(bufio.NewReader(nc), m.req)
	})
	if before {
		<-sent
	}
}

// fallBehind waits until another request of the session has gone ahead, or for so
// long that none will.
func (p *HTTP) fallBehind(sid string) {
	overtaken := make(chan struct{})
	p.mu.Lock()
	p.behind[sid] = append(p.behind[sid], overtaken)
	p.mu.Unlock()
	limit := time.NewTimer(p.cfg.MaxDelay)
	defer limit.Stop()
	select {
	case <-overtaken:
		p.count(Overtaken)
	case <-limit.C:
	case <-p.ctx.Done():
	}
}

// pass says that a request of the session has gone to the server.
func (p *HTTP) pass(sid string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.behind[sid] {
		close(c)
	}
	delete(p.behind, sid)
}
