package projects_test

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"rollcall/conf"
	"rollcall/internal/jid"
	"rollcall/internal/servertest"
	"rollcall/internal/xmlscan"
	"rollcall/modules/projects"
	"rollcall/modules/roster"
	"rollcall/server"
	"rollcall/storage"
	"rollcall/storage/memory"
)

// grid is a directory of groups of people who have each of their projects in common
// with all others of the group. Like a store's, its strings are made for each call.
type grid struct{ group, projects int }

func (g grid) user(i int) string { return fmt.Sprintf("5f1e0c%018x", i) }

// place is a user's number.
func (g grid) place(user string) (int, error) {
	n, err := strconv.ParseUint(user[6:], 16, 32)
	return int(n), err
}

func (g grid) project(i int) string { return fmt.Sprintf("6a2d1b%018x", i) }

func (g grid) Project(_ context.Context, id string) (storage.Project, error) {
	return storage.Project{ID: id, Name: "Project " + id}, nil
}

func (g grid) ProjectsOf(ctx context.Context, user string) ([]storage.Project, error) {
	i, err := g.place(user)
	if err != nil {
		return nil, err
	}
	list := make([]storage.Project, g.projects)
	for p := range list {
		list[p], _ = g.Project(ctx, g.project(i/g.group*g.projects+p)) // never fails
	}
	return list, nil
}

func (g grid) Members(ctx context.Context, project string) ([]storage.User, error) {
	p, err := g.place(project)
	if err != nil {
		return nil, err
	}
	list := make([]storage.User, g.group)
	for i := range list {
		list[i], _ = g.User(ctx, g.user(p/g.projects*g.group+i)) // never fails
	}
	return list, nil
}

func (g grid) User(_ context.Context, id string) (storage.User, error) {
	return storage.User{ID: id, Name: "Somebody " + id[len(id)-6:]}, nil
}

// crowd is a server with the people of a grid.
type crowd struct {
	grid
	*servertest.Server
	tb testing.TB
}

func newCrowd(tb testing.TB, people, group, perPerson int) *crowd {
	return newCrowdWith(tb, people, group, perPerson, nil)
}

func newCrowdWith(tb testing.TB, people, group, perPerson int, session *conf.Session) *crowd {
	tb.Helper()
	c := &crowd{grid: grid{group: group, projects: perPerson}, tb: tb}
	dir := servertest.NewDirectory()
	for i := range people {
		dir.AddUser(c.user(i), "")
	}
	c.Server = servertest.New(tb, servertest.Options{
		Directory: dir, Log: slog.New(slog.DiscardHandler), Patience: 5 * time.Minute, Session: session,
		Modules: []server.Module{
			roster.New(roster.Options{Projects: c.grid, Users: c.grid}),
			projects.New(projects.Options{ServiceHost: "wtmuc.@HOST@", LegacyShows: true, Directory: c.grid, Presence: memory.NewPresence()}),
		},
	})
	return c
}

// wire is a connection that forgets what it is given. Whatever was queued when it is
// flushed is one write, as it is at a real connection that is idle.
type wire struct {
	queued atomic.Bool
	stats  *stats
}

// stats are those of all connections together; nil counts nothing.
type stats struct{ stanzas, writes, flushes atomic.Int64 }

func (*wire) Info() server.Info        { return server.Info{Kind: "test", Secure: true} }
func (*wire) Open(server.StreamHeader) {}
func (*wire) Close(server.Close)       {}

func (w *wire) Write([]byte) error {
	if w.stats != nil {
		w.stats.stanzas.Add(1)
		w.queued.Store(true)
	}
	return nil
}

func (w *wire) Flush() {
	if w.stats == nil {
		return
	}
	w.stats.flushes.Add(1)
	if w.queued.Swap(false) {
		w.stats.writes.Add(1)
	}
}

// login returns the bound session of a person.
func (c *crowd) login(i int, st *stats) *server.Session {
	c.tb.Helper()
	who, err := jid.New(c.user(i), servertest.Host, "")
	if err != nil {
		c.tb.Fatal(err)
	}
	s := c.NewSession(&wire{stats: st}, new(server.Listener))
	t := s.Begin()
	defer t.End()
	open := server.StreamHeader{To: servertest.Host, Version: "1.0"}
	t.Open(open)
	if t.Authenticated(who) != server.Restart {
		c.tb.Fatal("not authenticated")
	}
	t.Open(open)
	t.Element(read(c.tb, "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>web</resource></bind></iq>"))
	if !s.JID().IsFull() {
		c.tb.Fatal("no resource was bound")
	}
	return s
}

// bound logs the people numbered from first to before last in.
func (c *crowd) bound(first, last int) []*server.Session {
	c.tb.Helper()
	list := make([]*server.Session, 0, last-first)
	for i := first; i < last; i++ {
		list = append(list, c.login(i, nil))
	}
	return list
}

// available brings the people numbered from first to before last online.
func (c *crowd) available(first, last int, st *stats) []*server.Session {
	return c.online(first, last, "<presence/>", st)
}

const rosterGet = "<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>"

// interested brings people online who asked for their rosters.
func (c *crowd) interested(first, last int) {
	c.tb.Helper()
	get := read(c.tb, rosterGet)
	for _, s := range c.available(first, last, nil) {
		utter(s, get)
	}
}

// hidden brings people online whom nobody sees: they see others.
func (c *crowd) hidden(first, last int) []*server.Session {
	return c.online(first, last, "<presence><show>offline</show></presence>", nil)
}

func (c *crowd) online(first, last int, presence string, st *stats) []*server.Session {
	c.tb.Helper()
	present := read(c.tb, presence)
	list := make([]*server.Session, 0, last-first)
	for i := first; i < last; i++ {
		s := c.login(i, st)
		utter(s, present)
		list = append(list, s)
	}
	return list
}

func utter(s *server.Session, el *xmlscan.Element) {
	t := s.Begin()
	defer t.End()
	t.Element(el)
}

func leave(s *server.Session) {
	t := s.Begin()
	defer t.End()
	t.Hangup()
}

// read is an element as a transport brings it.
func read(tb testing.TB, text string) *xmlscan.Element {
	tb.Helper()
	var el xmlscan.Element
	sc := xmlscan.New(xmlscan.Limits{Bytes: 1 << 16, Depth: 10, Attrs: 10})
	sc.Scope([]xmlscan.Attr{{Name: []byte("xmlns"), Value: []byte("jabber:client"), Quote: '\''}})
	if _, err := sc.Next([]byte(text), &el); err != nil {
		tb.Fatal(err)
	}
	return &el
}
