package bosh

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"net/http"

	"mellium.im/xmpp/stanza"

	"rollcall/internal/auth"
	"rollcall/internal/jid"
	"rollcall/internal/ns"
	"rollcall/internal/xmlscan"
	"rollcall/server"
)

// login is who wants a session, and how they prove it.
type login struct {
	local, domain string
	password      string
	trusted       bool // instead of the password: somebody vouched for them
	resource      string
	sid           string // if it is free
}

// Why a login came to nothing.
var (
	errShuttingDown = &refused{http.StatusServiceUnavailable, "The server is shutting down"}
	errNoStore      = &refused{http.StatusServiceUnavailable, "Users cannot be looked up now"}
	errNoSuchUser   = &refused{http.StatusNotFound, "There is no such user"}
	errResource     = &refused{http.StatusBadRequest, "The resource cannot be part of an address"}
	errConflict     = &refused{http.StatusConflict, "The resource is in use"}
	errDefect       = &refused{http.StatusInternalServerError, "Internal server error"}
	errTooManyHere  = &refused{http.StatusConflict, "The user has too many sessions"}
)

// openFor opens a session as its client would, within the process, up to where a
// resource is bound, and leaves it with the rid of its first request expected. Errors
// are of the kind *refused, or defects.
func (h *Handler) openFor(l login, c client) (*session, error) {
	if _, err := jid.New("", l.domain, l.resource); err != nil && l.resource != "" {
		if _, err := jid.New("", l.domain, ""); err == nil {
			return nil, errResource
		}
	}
	// PLAIN does not leave the process.
	listener := &server.Listener{PlainWithoutTLS: true}
	s := h.newSession(&body{rid: firstRID()}, l.sid, c, listener)
	turn := s.core.Begin()
	defer turn.End()
	if err := s.logIn(turn, l); err != nil {
		reason := server.ReasonLost
		if errors.Is(err, errUnauthorized) || errors.Is(err, errNoSuchUser) {
			reason = server.ReasonAuth
		}
		turn.Close(server.Close{Reason: reason, Cause: err})
		return nil, err
	}
	s.handOver()
	return s, nil
}

// firstRID makes an unguessable rid that leaves room for all that follow (XEP-0124
// section 14.1).
func firstRID() int64 {
	var b [4]byte
	rand.Read(b[:]) // never fails, says its documentation
	return 1 + int64(binary.BigEndian.Uint32(b[:]))
}

// nextRID is the rid of the request to be processed next.
func (s *session) nextRID() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.win.next
}

// logIn does what a client does from the first header on.
func (s *session) logIn(turn *server.Turn, l login) error {
	header := server.StreamHeader{To: l.domain, Version: "1.0"}
	if turn.Open(header) == server.Done {
		return s.closedWhile(l)
	}
	s.takeOutput()
	outcome, err := s.prove(turn, l)
	switch {
	case err != nil:
		return err
	case outcome != server.Restart:
		if condition := failureCondition(s.takeOutput()); condition != "" {
			return l.failed(condition)
		}
		return s.closedWhile(l)
	}
	if turn.Open(header) == server.Done {
		return s.closedWhile(l)
	}
	s.takeOutput()
	return s.bind(turn, l)
}

// prove gives the core the password, or the word of who vouched.
func (s *session) prove(turn *server.Turn, l login) (server.Outcome, error) {
	if l.trusted {
		account, err := jid.New(l.local, l.domain, "")
		if err != nil {
			return server.Done, errNoSuchUser
		}
		return turn.Authenticated(account), nil
	}
	message := base64.StdEncoding.EncodeToString([]byte("\x00" + l.local + "\x00" + l.password))
	outcome, err := s.say(turn, "<auth xmlns='"+ns.SASL+"' mechanism='PLAIN'>"+message+"</auth>")
	if err != nil {
		return server.Done, errUnauthorized // longer than any password
	}
	return outcome, nil
}

// bind asks for the resource, and takes the answer out of what is pending. Stanzas of
// others that came meanwhile stay there.
func (s *session) bind(turn *server.Turn, l login) error {
	id := rand.Text()
	ask := "<bind xmlns='" + ns.Bind + "'/>"
	if l.resource != "" {
		ask = "<bind xmlns='" + ns.Bind + "'><resource>" + string(xmlscan.AppendText(nil, l.resource)) + "</resource></bind>"
	}
	outcome, err := s.say(turn, "<iq xmlns='"+ns.Client+"' type='set' id='"+id+"'>"+ask+"</iq>")
	switch {
	case err != nil:
		return errResource
	case outcome == server.Done:
		return s.closedWhile(l)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	others := s.h.newOutput()
	condition := ""
	for el := range xmlscan.Children(s.pending.bytes(), ns.Client) {
		if string(el.Local) != "iq" || string(el.Attr("id")) != id {
			others.b = append(others.b, el.Raw...)
			continue
		}
		condition = errorCondition(el)
	}
	s.h.putOutput(s.pending)
	s.pending = others
	switch {
	case s.core.JID().IsFull():
		return nil
	case condition == string(stanza.Conflict):
		return errConflict
	case condition == string(stanza.ResourceConstraint):
		return errTooManyHere
	}
	return errResource
}

// say gives the session elements as if the client had sent them.
func (s *session) say(turn *server.Turn, elements string) (outcome server.Outcome, err error) {
	b := &body{inner: []byte(elements)}
	err = b.each(func() xmlscan.Limits {
		return xmlscan.Limits{Bytes: turn.MaxElement(), Depth: s.h.cfg.Limits.Depth, Attrs: s.h.cfg.Limits.Attributes}
	}, func(el *xmlscan.Element) bool {
		outcome = turn.Element(el)
		return outcome == server.More
	})
	return outcome, err
}

// takeOutput takes what the core sent. Before a resource is bound nobody else sends
// anything.
func (s *session) takeOutput() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.pending.bytes()
	s.pending = nil
	return out
}

// handOver makes the session known, as one that was created by its client.
func (s *session) handOver() {
	s.mu.Lock()
	s.created, s.authed, s.active, s.opening = true, true, s.h.now(), nil
	s.mu.Unlock()
	s.h.add(s)
}

// closedWhile is what to say when the core closed the session during login.
func (s *session) closedWhile(l login) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.end != nil {
		switch s.end.condition {
		case systemShutdown:
			return errShuttingDown
		case internalServerError:
			return errDefect
		}
	}
	return l.failed(auth.NotAuthorized)
}

// failed is what to say about a SASL condition.
func (l *login) failed(condition string) error {
	switch {
	case condition == auth.TemporaryAuthFailure:
		return errNoStore
	case l.trusted:
		return errNoSuchUser
	}
	return errUnauthorized
}

// failureCondition is the condition of a SASL failure.
func failureCondition(output []byte) string {
	for el := range xmlscan.Children(output, ns.Client) {
		if string(el.Local) == "failure" {
			for condition := range xmlscan.Children(el.Inner, ns.SASL) {
				return string(condition.Local)
			}
		}
	}
	return ""
}

// errorCondition is the condition of a stanza error, "" if it is none.
func errorCondition(el xmlscan.Child) string {
	for e := range xmlscan.Children(el.Inner, ns.Client) {
		if string(e.Local) == "error" {
			for condition := range xmlscan.Children(e.Inner, ns.Client) {
				return string(condition.Local)
			}
		}
	}
	return ""
}
