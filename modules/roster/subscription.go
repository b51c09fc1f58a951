package roster

import (
	"context"
	"errors"

	"mellium.im/xmpp/stanza"

	"rollcall/internal/jid"
	"rollcall/server"
	"rollcall/storage"
)

// maxRequest bounds what is kept of a request that waits for an answer, in bytes; a
// larger one loses its content (RFC 6121 section 3.1.3 warns of those).
const maxRequest = 8 << 10

// maxRequests bounds what is kept of all requests that wait for one user: they are told
// at each login. Those that do not fit lose their content.
const maxRequests = 64 << 10

// requests is what the requests among some items take, in bytes.
func requests(list []*item) (size int) {
	for _, i := range list {
		size += len(i.Request)
	}
	return size
}

// subscription takes what users say about subscriptions (RFC 6121 section 3). People who
// share a project have each other's presence already, and nothing they say changes that.
func (m *Module) subscription(ctx context.Context, e *server.Subscription) {
	from := e.From.JID().Bare()
	if from == e.To {
		e.Answered = e.Type != "subscribe"
		return
	}
	together, err := m.together(ctx, from, e.To)
	switch {
	case err != nil:
		m.failed(e.Type, err, "user", from.String())
		if m.o.Rosters == nil {
			return // the core denies the request; a client asks again
		}
		m.sorry(e, err)
	case together && e.Type == "subscribe":
		e.Batch.Send(e.From, server.AppendPresenceType(nil, e.To, from, "subscribed"))
	case together:
	case m.o.Rosters == nil:
		e.Answered = e.Type != "subscribe"
		return
	default:
		if err := m.between(ctx, e, from); err != nil {
			m.doubt(err, from, e.To)
			m.sorry(e, err)
		}
	}
	e.Answered = true
}

// between takes what somebody says to somebody else with whom they share no project.
func (m *Module) between(ctx context.Context, e *server.Subscription, from jid.JID) error {
	el := stanzaOf(e).Append(nil, from, e.To)
	if len(el) > maxRequest {
		el = server.AppendPresenceType(nil, from, e.To, e.Type)
	}
	switch e.Type {
	case "subscribe":
		had, err := m.subscribe(ctx, e.Batch, relation{watcher: from, watched: e.To}, el)
		if had && err == nil {
			e.Batch.Send(e.From, server.AppendPresenceType(nil, e.To, from, "subscribed"))
		}
		return err
	case "unsubscribe":
		_, err := m.unsubscribe(ctx, e.Batch, relation{watcher: from, watched: e.To}, el)
		return err
	case "subscribed":
		return m.approve(ctx, e.Batch, relation{watcher: e.To, watched: from}, el)
	default:
		return m.revoke(ctx, e.Batch, relation{watcher: e.To, watched: from}, el)
	}
}

func stanzaOf(e *server.Subscription) *server.Stanza {
	return &server.Stanza{
		Batch: e.Batch, Session: e.From, Kind: server.PresenceStanza, Type: e.Type,
		From: e.From.JID(), To: e.To, Element: e.Element,
	}
}

// sorry says that nothing was done.
func (m *Module) sorry(e *server.Subscription, err error) {
	about := stanza.Error{}
	if !errors.As(m.explain(e.Type, err, e.From.JID()), &about) {
		about = server.Error(stanza.InternalServerError, "")
	}
	stanzaOf(e).Reply(about)
}

// explain is the error for a client whose roster could not be read or changed.
func (m *Module) explain(call string, err error, who jid.JID) error {
	switch {
	case errors.Is(err, storage.ErrUnavailable):
		m.failed(call, err, "user", who.Local())
		e := server.Error(stanza.InternalServerError, "try again later")
		e.Type = stanza.Wait
		return e
	case errors.Is(err, storage.ErrFull):
		return server.Error(stanza.ResourceConstraint, "there is no room for another contact")
	}
	return err
}

// together reports whether two different users share a project.
func (m *Module) together(ctx context.Context, a, b jid.JID) (bool, error) {
	if a == b || a.Domain() != b.Domain() {
		return false, nil
	}
	if with, ok := m.cache.with(m.key(a), b); ok {
		return with, nil
	}
	mine, err := m.o.Projects.ProjectsOf(ctx, a.Local())
	if err != nil {
		return false, err
	}
	theirs, err := m.o.Projects.ProjectsOf(ctx, b.Local())
	if err != nil {
		return false, err
	}
	for _, p := range mine {
		for _, q := range theirs {
			if p.ID == q.ID {
				return true, nil
			}
		}
	}
	return false, nil
}
