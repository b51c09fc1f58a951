package mongo_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"rollcall/internal/jid"
	"rollcall/storage"
)

// model is what the product knows of its users and projects, in memory. It has the rules
// of storage.Admin.
type model struct {
	mu       sync.Mutex
	users    map[string]storage.UserRecord
	projects map[string]modelProject
}

type modelProject struct {
	storage.Project
	members map[string]bool
}

func newModel() *model {
	return &model{users: make(map[string]storage.UserRecord), projects: make(map[string]modelProject)}
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", storage.ErrInvalid, fmt.Sprintf(format, args...))
}

func checkRecord(id, name string) error {
	if j, err := jid.New(id, "host.invalid", ""); err != nil || id == "" || j.Local() != id {
		return invalid("id %q", id)
	}
	if len(name) > storage.MaxName {
		return invalid("name of %d bytes", len(name))
	}
	return nil
}

// checkCredentials wants keys for every mechanism that the store under test offers.
func checkCredentials(c *storage.Credentials) error {
	if c == nil {
		return invalid("no credentials")
	}
	for _, m := range []string{"SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		if !slices.ContainsFunc(c.SCRAM, func(k storage.SCRAMKeys) bool { return k.Mechanism == m }) {
			return invalid("no keys for %s", m)
		}
	}
	return nil
}

// copied keeps nothing of the caller's.
func copied(c storage.Credentials) *storage.Credentials {
	c.SCRAM = slices.Clone(c.SCRAM)
	for i, k := range c.SCRAM {
		c.SCRAM[i].Salt, c.SCRAM[i].StoredKey, c.SCRAM[i].ServerKey = bytes.Clone(k.Salt), bytes.Clone(k.StoredKey), bytes.Clone(k.ServerKey)
	}
	return &c
}

// hold locks the model, unless ctx has ended.
func (m *model) hold(ctx context.Context) (release func(), err error) {
	m.mu.Lock()
	return m.mu.Unlock, ctx.Err()
}

func (m *model) addUser(u storage.UserRecord) error {
	if err := checkRecord(u.ID, u.Name); err != nil {
		return err
	}
	if err := checkCredentials(u.Credentials); err != nil {
		return err
	}
	if _, there := m.users[u.ID]; there {
		return storage.ErrExists
	}
	m.users[u.ID] = storage.UserRecord{User: u.User, Credentials: copied(*u.Credentials)}
	return nil
}

func (m *model) setCredentials(id string, c storage.Credentials) error {
	if err := checkCredentials(&c); err != nil {
		return err
	}
	u, there := m.users[id]
	if !there {
		return storage.ErrNotFound
	}
	u.Credentials = copied(c)
	m.users[id] = u
	return nil
}

func (m *model) removeUser(id string) error {
	if _, there := m.users[id]; !there {
		return storage.ErrNotFound
	}
	delete(m.users, id)
	for _, p := range m.projects {
		delete(p.members, id)
	}
	return nil
}

func (m *model) addProject(p storage.Project) error {
	if err := checkRecord(p.ID, p.Name); err != nil {
		return err
	}
	if _, there := m.projects[p.ID]; there {
		return storage.ErrExists
	}
	m.projects[p.ID] = modelProject{p, make(map[string]bool)}
	return nil
}

func (m *model) removeProject(id string) error {
	if _, there := m.projects[id]; !there {
		return storage.ErrNotFound
	}
	delete(m.projects, id)
	return nil
}

func (m *model) join(project, user string) error {
	p, there := m.projects[project]
	if _, known := m.users[user]; !there || !known {
		return storage.ErrNotFound
	}
	p.members[user] = true
	return nil
}

func (m *model) leave(project, user string) error {
	if !m.projects[project].members[user] {
		return storage.ErrNotFound
	}
	delete(m.projects[project].members, user)
	return nil
}

// imported changes a copy of everything, so that all of it holds or none.
func (m *model) imported(records []storage.Record) error {
	next := newModel()
	maps.Copy(next.users, m.users)
	for id, p := range m.projects {
		next.projects[id] = modelProject{p.Project, maps.Clone(p.members)}
	}
	named := make(map[string]bool)
	for _, r := range records {
		if (r.User == nil) == (r.Project == nil) {
			return invalid("not either a user or a project")
		}
		if r.Project != nil {
			continue
		}
		if err := next.putUser(*r.User); err != nil {
			return err
		}
		if named[r.User.ID] {
			return invalid("user %q is there twice", r.User.ID)
		}
		named[r.User.ID] = true
	}
	clear(named)
	for _, r := range records {
		if r.Project == nil {
			continue
		}
		if err := next.putProject(*r.Project); err != nil {
			return err
		}
		if named[r.Project.ID] {
			return invalid("project %q is there twice", r.Project.ID)
		}
		named[r.Project.ID] = true
	}
	m.users, m.projects = next.users, next.projects
	return nil
}

func (m *model) putUser(u storage.UserRecord) error {
	old, there := m.users[u.ID]
	if !there {
		return m.addUser(u)
	}
	old.Name = u.Name
	m.users[u.ID] = old
	if u.Credentials == nil {
		return nil
	}
	return m.setCredentials(u.ID, *u.Credentials)
}

func (m *model) putProject(p storage.ProjectRecord) error {
	if err := checkRecord(p.ID, p.Name); err != nil {
		return err
	}
	members := make(map[string]bool)
	for _, id := range p.Members {
		if _, there := m.users[id]; !there {
			return invalid("member %q is no user", id)
		}
		members[id] = true
	}
	m.projects[p.ID] = modelProject{p.Project, members}
	return nil
}

func (m *model) projectsOf(user string) (ids []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, p := range m.projects {
		if p.members[user] {
			ids = append(ids, id)
		}
	}
	return ids
}

func (m *model) allUsers() (all []storage.User) {
	for _, u := range m.users {
		all = append(all, u.User)
	}
	slices.SortFunc(all, func(a, b storage.User) int { return strings.Compare(a.ID, b.ID) })
	return all
}

func (m *model) allProjects() (all []storage.Project) {
	for _, p := range m.projects {
		all = append(all, p.Project)
	}
	slices.SortFunc(all, func(a, b storage.Project) int { return strings.Compare(a.ID, b.ID) })
	return all
}
