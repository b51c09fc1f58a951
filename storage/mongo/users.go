package mongo

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"

	"rollcall/storage"
)

func notFound(what, id string) error { return fmt.Errorf("%w: %s %q", storage.ErrNotFound, what, id) }

// User implements storage.Users. It is not cached.
func (s *Store) User(ctx context.Context, id string) (storage.User, error) {
	var u user
	err := s.do(ctx, "user", s.logins, func(ctx context.Context) (err error) {
		u, _, err = s.reader.userByLocal(ctx, id, s.reader.userNames())
		return err
	})
	switch {
	case err != nil:
		return storage.User{}, err
	case !u.there:
		return storage.User{}, notFound("user", id)
	}
	return storage.User{ID: u.local, Name: u.name}, nil
}

// Credentials implements storage.Users. It is not cached: passwords stay where they
// are, and who was blocked a moment ago is.
func (s *Store) Credentials(ctx context.Context, id string) (storage.Credentials, error) {
	var u user
	found := false
	err := s.do(ctx, "credentials", s.logins, func(ctx context.Context) (err error) {
		u, found, err = s.reader.userByLocal(ctx, id, s.reader.userAll())
		return err
	})
	switch {
	case err != nil:
		return storage.Credentials{}, err
	case !found:
		return storage.Credentials{}, notFound("user", id)
	}
	c, err := s.reader.passwords.of(u.doc)
	if err != nil {
		s.reader.flaws.note("password", id, err.Error())
		return storage.Credentials{}, fmt.Errorf("%w: a password for user %q: %w", storage.ErrNotFound, id, err)
	}
	for _, m := range s.c.Users.Mechanisms {
		if !slices.ContainsFunc(c.SCRAM, func(k storage.SCRAMKeys) bool { return k.Mechanism == m }) {
			s.reader.flaws.note("password", id, "no keys for "+m+", which is offered to everybody")
		}
	}
	if u.blocked {
		return c, fmt.Errorf("%w: user %q", storage.ErrBlocked, id)
	}
	return c, nil
}

// Mechanisms implements storage.Users: those that the configuration vouches for.
func (s *Store) Mechanisms() []string { return slices.Clone(s.c.Users.Mechanisms) }

// ProjectsOf implements storage.Projects. What it returns may be as old as
// Cache.Age, and older while MongoDB does not answer, but never older than a change
// that was told.
func (s *Store) ProjectsOf(ctx context.Context, userID string) ([]storage.Project, error) {
	all, err := s.of.get(ctx, userID)
	return slices.Clone(all), err
}

func (s *Store) loadProjectsOf(ctx context.Context, local string) (all []storage.Project, err error) {
	err = s.do(ctx, "projects-of", s.ofTurns, func(ctx context.Context) error {
		u, _, err := s.reader.userByLocal(ctx, local, s.reader.userNames())
		if err != nil || !u.there {
			return err
		}
		all, err = s.reader.projectsWith(ctx, u.key)
		return err
	})
	slices.SortFunc(all, func(a, b storage.Project) int { return strings.Compare(a.ID, b.ID) })
	return slices.CompactFunc(all, func(a, b storage.Project) bool { return a.ID == b.ID }), err
}

// pairCost is what an id with a name takes besides their bytes.
const pairCost = 32

func projectsSize(all []storage.Project) (n int64) {
	for _, p := range all {
		n += int64(len(p.ID)+len(p.Name)) + pairCost
	}
	return n
}

// membership is a project with its members.
type membership struct {
	found   bool
	project storage.Project
	members []storage.User // ordered by id
}

func (m membership) size() int64 {
	n := int64(len(m.project.ID) + len(m.project.Name))
	for _, u := range m.members {
		n += int64(len(u.ID)+len(u.Name)) + pairCost
	}
	return n
}

// Project implements storage.Projects; it may be as old as ProjectsOf's.
func (s *Store) Project(ctx context.Context, id string) (storage.Project, error) {
	m, err := s.membership(ctx, id)
	return m.project, err
}

// Members implements storage.Projects; they may be as old as ProjectsOf's.
func (s *Store) Members(ctx context.Context, projectID string) ([]storage.User, error) {
	m, err := s.membership(ctx, projectID)
	return slices.Clone(m.members), err
}

func (s *Store) membership(ctx context.Context, id string) (membership, error) {
	m, err := s.members.get(ctx, id)
	if err == nil && !m.found {
		err = notFound("project", id)
	}
	return m, err
}

func (s *Store) loadMembership(ctx context.Context, id string) (m membership, err error) {
	var keys []string
	err = s.do(ctx, "project", s.memberTurn, func(ctx context.Context) error {
		return s.reader.projectsByKeys(ctx, []string{id}, func(p project, _ bson.Raw) {
			m.found, m.project = true, storage.Project{ID: p.key, Name: p.name}
			keys = p.members
		})
	})
	if err != nil || !m.found {
		return m, err
	}
	slices.Sort(keys)
	// Each chunk is an operation of its own: a large project may take longer than one.
	for part := range slices.Chunk(slices.Compact(keys), chunk) {
		err := s.do(ctx, "members", s.memberTurn, func(ctx context.Context) error {
			return s.reader.usersByKeys(ctx, part, s.reader.userNames(), func(u user) {
				if u.there {
					m.members = append(m.members, storage.User{ID: u.local, Name: u.name})
				}
			})
		})
		if err != nil {
			return membership{}, err
		}
	}
	slices.SortFunc(m.members, func(a, b storage.User) int { return strings.Compare(a.ID, b.ID) })
	m.members = slices.CompactFunc(m.members, func(a, b storage.User) bool { return a.ID == b.ID })
	return m, nil
}
