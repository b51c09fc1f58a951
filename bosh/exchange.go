package bosh

import (
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"rollcall/internal/front"
)

// exchange is one POST request under way, and where its answer goes.
type exchange struct {
	*front.Exchange
	h      *Handler
	client client
	origin string // that may read the answer
	gzip   bool   // is accepted
	closes bool   // the connection, with the answer
	s      *session
	r      *request // of s
}

// post reads a request and gives it to its session.
func (x *exchange) post() {
	h := x.h
	raw, tooLong, err := x.read()
	if err != nil {
		// Nothing that could be answered has come.
		x.closes = true
		rep := reply{status: http.StatusBadRequest, body: []byte("The request cannot be read\n")}
		if late, ok := errors.AsType[net.Error](err); ok && late.Timeout() {
			rep = reply{status: http.StatusRequestTimeout, body: []byte("The request did not come in time\n")}
		}
		x.reply(rep, "text/plain; charset=utf-8")
		return
	}
	if tooLong {
		x.closes = true // the rest is not awaited
		x.refuse(&body{sid: peekSID(raw, h.cfg.Limits)}, &bodyError{policyViolation, errTooLong})
		return
	}
	b, bad := parseBody(raw, h.cfg.Limits)
	switch {
	case bad != nil:
		x.refuse(b, bad)
	case b.sid == "":
		x.create(b)
	default:
		if s := x.session(b.sid); s != nil {
			x.arrive(s, newRequest(b, x, time.Now()))
			return
		}
		x.reply(refusal(itemNotFound, false), defaultContentType)
	}
}

var errTooLong = errors.New("bosh: body too long")

// read reads a body. Only clients that are logged in may send much, and who that
// is can be told from the beginning.
func (x *exchange) read() (raw []byte, tooLong bool, err error) {
	limit, in := x.h.strangersLimit(), x.Request.Body
	raw, err = io.ReadAll(io.LimitReader(in, int64(limit)+1))
	if err == nil && len(raw) > limit {
		if s := x.session(peekSID(raw, x.h.cfg.Limits)); s != nil {
			limit = s.bodyLimit()
		}
		if len(raw) <= limit {
			var more []byte
			more, err = io.ReadAll(io.LimitReader(in, int64(limit-len(raw))+1))
			raw = append(raw, more...)
		}
	}
	return raw, len(raw) > limit, err
}

// session finds the session of a request. One that began encrypted must not be used
// otherwise (XEP-0124 section 19.1): then the connection ends, not the session.
func (x *exchange) session(sid string) *session {
	s := x.h.find(sid)
	if s != nil && s.info.Secure && !x.client.secure {
		x.closes = true
		return nil
	}
	return s
}

// refuse answers what is no proper request, and ends its session, if any.
func (x *exchange) refuse(b *body, bad *bodyError) {
	s := x.session(b.sid)
	if s == nil {
		x.h.cfg.Log.Debug("request refused", "condition", bad.condition, "err", bad.cause, "remote", x.client.remote)
		x.reply(refusal(bad.condition, b.old), defaultContentType)
		return
	}
	x.reply(s.violate(bad.condition, bad.cause), s.terms.contentType)
}

// create begins a session (XEP-0124 section 7).
func (x *exchange) create(b *body) {
	h := x.h
	if h.isDraining() {
		x.reply(refusal(systemShutdown, b.old), defaultContentType)
		return
	}
	b.pause = number{} // there is nothing to pause yet
	r := newRequest(b, x, time.Now())
	r.creates = true
	s := h.newSession(b, h.sidFor(x.Request), x.client, &h.listener, r.at)
	x.arrive(s, r)
}

func (x *exchange) arrive(s *session, r *request) {
	x.s, x.r = s, r
	s.arrive(r)
}

// done is told how answering went.
func (x *exchange) done(written bool) {
	defer x.h.leave()
	switch {
	case x.r == nil:
	case written:
		x.s.wrote(x.r)
	default:
		x.s.lost(x.r)
		if x.r.creates {
			// The client cannot ask again, as it does not know the session.
			x.s.abandon()
		}
	}
}

// reply answers the request, and does not wait for anything.
func (x *exchange) reply(rep reply, contentType string) {
	fields := append(make([]front.Field, 0, 8),
		front.Field{Name: "Content-Type", Value: contentType},
		front.Field{Name: "Cache-Control", Value: "no-store"},
		front.Field{Name: "X-Content-Type-Options", Value: "nosniff"},
		front.Field{Name: "Vary", Value: "Origin"},
	)
	if x.origin != "" {
		fields = append(fields,
			front.Field{Name: "Access-Control-Allow-Origin", Value: x.origin},
			front.Field{Name: "Access-Control-Allow-Credentials", Value: "true"})
	}
	body := rep.body
	if x.gzip {
		if packed, ok := x.h.pack(body); ok {
			body = packed
			fields = append(fields, front.Field{Name: "Content-Encoding", Value: "gzip"})
		}
	}
	if x.closes {
		fields = append(fields, front.Field{Name: "Connection", Value: "close"})
	}
	x.Reply(rep.status, fields, body)
}
