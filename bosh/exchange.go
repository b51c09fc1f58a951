package bosh

import (
	"errors"
	"net"
	"net/http"
	"time"

	"rollcall/internal/front"
)

// request is one POST request under way: what it said, and where its answer goes.
type request struct {
	front.Exchange
	*body   // until it is processed; only who has the session's lock looks at it then
	h       *Handler
	s       *session
	next    *request      // whose answer is to be sent after this one's
	origin  string        // that may read the answer
	rid     int64         // of the body
	at      time.Duration // when it came, see Handler.now
	creates bool          // the session
	secure  bool          // nobody on the way can read along
	gzip    bool          // is accepted
	closes  bool          // the connection, with the answer
}

// post reads a request and gives it to its session.
func (r *request) post(in *front.Request) {
	h := r.h
	b := h.newBody()
	tooLong, err := r.read(b, in)
	switch {
	case err != nil:
		// Nothing that could be answered has come.
		r.closes = true
		rep := reply{status: http.StatusBadRequest, body: []byte("The request cannot be read\n")}
		if late, ok := errors.AsType[net.Error](err); ok && late.Timeout() {
			rep = reply{status: http.StatusRequestTimeout, body: []byte("The request did not come in time\n")}
		}
		r.refer(rep, textType)
	case tooLong:
		r.closes = true // the rest is not awaited
		b.sid = peekSID(b.raw, h.cfg.Limits)
		r.refuse(b, in, &bodyError{policyViolation, errTooLong})
	default:
		if r.dispatch(b, in) {
			return
		}
	}
	h.recycle(b)
}

// dispatch gives a body to its session, and reports whether that has it now.
func (r *request) dispatch(b *body, in *front.Request) bool {
	if bad := b.parse(r.h.cfg.Limits); bad != nil {
		r.refuse(b, in, bad)
		return false
	}
	if len(b.sid) == 0 {
		return r.create(b, in)
	}
	s := r.session(b.sid)
	if s == nil {
		r.refer(refusal(itemNotFound, false), defaultContentType)
		return false
	}
	r.arrive(s, b)
	return true
}

var errTooLong = errors.New("bosh: body too long")

// read reads a body. Only clients that are logged in may send much, and who that
// is can be told from the beginning.
func (r *request) read(b *body, in *front.Request) (tooLong bool, err error) {
	limit := r.h.strangersLimit()
	b.raw, err = in.AppendBody(b.raw, limit+1)
	if err == nil && len(b.raw) > limit {
		if s := r.session(peekSID(b.raw, r.h.cfg.Limits)); s != nil {
			limit = s.bodyLimit()
		}
		if len(b.raw) <= limit {
			b.raw, err = in.AppendBody(b.raw, limit+1-len(b.raw))
		}
	}
	return len(b.raw) > limit, err
}

// session finds the session of a request. One that began encrypted must not be used
// otherwise (XEP-0124 section 19.1): then the connection ends, not the session.
func (r *request) session(sid []byte) *session {
	s := r.h.find(sid)
	if s != nil && s.secure && !r.secure {
		r.closes = true
		return nil
	}
	return s
}

// refuse answers what is no proper request, and ends its session, if any.
func (r *request) refuse(b *body, in *front.Request, bad *bodyError) {
	s := r.session(b.sid)
	if s == nil {
		r.h.cfg.Log.Debug("request refused", "condition", bad.condition, "err", bad.cause, "remote", r.h.clientOf(in).remote)
		r.refer(refusal(bad.condition, b.old), defaultContentType)
		return
	}
	r.refer(s.violate(bad.condition, bad.cause), s.terms.contentType)
}

// create begins a session (XEP-0124 section 7), and reports whether it did.
func (r *request) create(b *body, in *front.Request) bool {
	h := r.h
	if h.isDraining() {
		r.refer(refusal(systemShutdown, b.old), defaultContentType)
		return false
	}
	b.pause = number{} // there is nothing to pause yet
	r.creates = true
	r.arrive(h.newSession(b, h.sidFor(in), h.clientOf(in), &h.listener), b)
	return true
}

func (r *request) arrive(s *session, b *body) {
	r.s, r.body, r.rid, r.at = s, b, b.rid, r.h.now()
	s.arrive(r)
}

// Done implements front.Waiter. It may be called in somebody's turn.
func (r *request) Done(written bool) {
	defer r.h.leave()
	switch {
	case r.s == nil:
	case written:
		r.s.wrote(r)
	default:
		r.s.lost(r)
		if r.creates {
			// The client cannot ask again, as it does not know the session.
			go r.s.abandon()
		}
	}
}

// refer answers a request that no session answers.
func (r *request) refer(rep reply, contentType string) {
	r.reply(rep, contentType)
	r.Send()
}

// reply answers the request, as soon as Send is called.
func (r *request) reply(rep reply, contentType string) {
	body := rep.body
	if r.origin == "" && !r.gzip && !r.closes {
		r.Reply(int(rep.status), r.h.heads[contentType], body)
		return
	}
	fields := append(make([]front.Field, 0, 8), r.h.heads[contentType]...)
	if r.origin != "" {
		fields = append(fields,
			front.Field{Name: "Access-Control-Allow-Origin", Value: r.origin},
			front.Field{Name: "Access-Control-Allow-Credentials", Value: "true"})
	}
	if r.gzip {
		if packed, ok := r.h.pack(body); ok {
			body = packed
			fields = append(fields, front.Field{Name: "Content-Encoding", Value: "gzip"})
		}
	}
	if r.closes {
		fields = append(fields, front.Field{Name: "Connection", Value: "close"})
	}
	r.Reply(int(rep.status), fields, body)
}

// textType is that of answers to what is no BOSH.
const textType = "text/plain; charset=utf-8"

// heads are the fields of every reply, for each content type.
func heads() map[string][]front.Field {
	all := make(map[string][]front.Field)
	for _, kind := range []string{defaultContentType, "application/xml; charset=utf-8", textType} {
		all[kind] = []front.Field{
			{Name: "Content-Type", Value: kind},
			{Name: "Cache-Control", Value: "no-store"},
			{Name: "X-Content-Type-Options", Value: "nosniff"},
			{Name: "Vary", Value: "Origin"},
		}
	}
	return all
}
