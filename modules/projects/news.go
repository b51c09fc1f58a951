package projects

import (
	"errors"
	"fmt"
	"slices"

	"rollcall/internal/jid"
	"rollcall/internal/packed"
	"rollcall/server"
	"rollcall/storage"
)

// What nodes tell each other, each after the name of the virtual host.
const (
	kindNews   = iota + 1 // news
	kindAsk               // question: who of the node is in projects?
	kindBegin             // the turn of a question: changes are told from here on
	kindAnswer            // answer: all of them were told
	kindForget            // projects that nobody of the node is in any more
	kindHello             // the node may have missed questions
	kindProbe             // asks for what is shown of one user
	kindProbed            // news that answer it
)

var errUnread = errors.New("not what this version writes")

// news are what a node says of one user: all that is shown of the user's connections
// to it.
type news struct {
	user     string
	hidden   bool // a connection just turned invisible
	guessed  bool // the store did not say what the status is
	unsure   bool // and lacks something of the connections
	status   storage.Show
	rev      uint64
	projects []string
	conns    []heard // in the order of their last presence
	gone     []heard // what connections said at their end; not all need to be here
}

// heard is what a connection said.
type heard struct {
	id       string
	presence *server.Presence
}

func appendList(dst []byte, list []string) []byte {
	dst = packed.AppendUint(dst, uint64(len(list)))
	for _, s := range list {
		dst = packed.AppendString(dst, s)
	}
	return dst
}

func readList(r *packed.Reader) []string {
	list := make([]string, 0, min(r.Len(), r.Left()))
	for range cap(list) {
		list = append(list, r.String())
	}
	return list
}

func appendHeard(dst []byte, list []heard) []byte {
	dst = packed.AppendUint(dst, uint64(len(list)))
	for _, h := range list {
		dst = packed.AppendString(dst, h.id)
		dst = h.presence.AppendPacked(dst)
	}
	return dst
}

// readHeard reads what the connections of one user said.
func readHeard(r *packed.Reader, user jid.JID, available bool) ([]heard, error) {
	var list []heard
	for range r.Len() {
		h := heard{id: r.String()}
		var err error
		if h.presence, err = server.UnpackPresence(r); err != nil {
			return nil, err
		}
		switch pr := h.presence; {
		case pr.JID.Bare() != user || !pr.JID.IsFull() || pr.Available != available:
			return nil, fmt.Errorf("%w: a presence of %s among those of %s", errUnread, pr.JID, user)
		case slices.ContainsFunc(list, func(o heard) bool { return o.id == h.id }):
			return nil, fmt.Errorf("%w: a connection twice", errUnread)
		}
		list = append(list, h)
	}
	return list, r.Err()
}

func (n *news) append(dst []byte) []byte {
	dst = packed.AppendString(dst, n.user)
	dst = packed.AppendBool(dst, n.hidden)
	dst = packed.AppendBool(dst, n.guessed)
	dst = packed.AppendBool(dst, n.unsure)
	dst = packed.AppendUint(dst, uint64(n.status))
	dst = packed.AppendUint(dst, n.rev)
	dst = appendList(dst, n.projects)
	dst = appendHeard(dst, n.conns)
	return appendHeard(dst, n.gone)
}

// readNews reads news of a user of one virtual host.
func readNews(r *packed.Reader, host string) (user jid.JID, n *news, err error) {
	n = &news{user: r.String(), hidden: r.Bool(), guessed: r.Bool(), unsure: r.Bool()}
	status := r.Uint()
	n.rev = r.Uint()
	n.projects = readList(r)
	if err = r.Err(); err != nil {
		return user, nil, err
	}
	if status > uint64(storage.Leave) {
		return user, nil, fmt.Errorf("%w: status %d", errUnread, status)
	}
	n.status = storage.Show(status)
	if !slices.IsSorted(n.projects) {
		return user, nil, fmt.Errorf("%w: projects out of order", errUnread)
	}
	if user, err = jid.New(n.user, host, ""); err != nil {
		return user, nil, err
	}
	if n.conns, err = readHeard(r, user, true); err != nil {
		return user, nil, err
	}
	n.gone, err = readHeard(r, user, false)
	return user, n, err
}

// question asks for the news of everybody in projects. The parts of a long one have
// one number and a turn each.
type question struct {
	number, turn uint64
	projects     []string // sorted
	first        uint64   // the turn of the first part; for the asker
}

func (q *question) append(dst []byte) []byte {
	return appendList(packed.AppendUint(packed.AppendUint(dst, q.number), q.turn), q.projects)
}

func readQuestion(r *packed.Reader) (*question, error) {
	q := &question{number: r.Uint(), turn: r.Uint(), projects: readList(r)}
	if r.Err() == nil && !slices.IsSorted(q.projects) {
		return nil, fmt.Errorf("%w: projects out of order", errUnread)
	}
	return q, r.Err()
}

// answer ends the news that were asked for.
type answer struct {
	turn  uint64
	rev   uint64   // the highest that the node knows
	count uint64   // how many of the question's projects were answered, from the first
	here  []string // those of them that somebody of the node is in
}

func (a *answer) append(dst []byte) []byte {
	dst = packed.AppendUint(packed.AppendUint(dst, a.turn), a.rev)
	return appendList(packed.AppendUint(dst, a.count), a.here)
}

func readAnswer(r *packed.Reader) (*answer, error) {
	a := &answer{turn: r.Uint(), rev: r.Uint(), count: r.Uint(), here: readList(r)}
	return a, r.Err()
}
