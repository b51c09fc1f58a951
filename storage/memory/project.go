package memory

import (
	"slices"
	"strings"
	"sync"
)

type projectShard struct {
	mu     sync.RWMutex
	online map[string]*project
}

// project is an online set with someone in it. Empty ones are dropped.
type project struct {
	id    string
	home  *projectShard
	users []*user // ordered by id; guarded by home.mu
}

// enter puts the user into the online sets named. The caller holds the user's
// shard.
func (p *Presence) enter(u *user, projects []string) {
	if u.projects == nil && len(projects) == 1 {
		u.projects = u.only[:0]
	}
	u.projects = slices.Grow(u.projects, len(projects))
	for _, id := range projects {
		if pr, added := p.projects[p.shard(id)].add(id, u); added {
			u.projects = append(u.projects, pr)
		}
	}
}

// add puts the user into the online set of that id. It reports false when the
// user was in it.
func (s *projectShard) add(id string, u *user) (*project, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	pr := s.online[id]
	if pr == nil {
		pr = &project{id: id, home: s}
		s.online[pr.id] = pr
	}
	i, found := slices.BinarySearchFunc(pr.users, u.id, byID)
	if !found {
		pr.users = slices.Insert(pr.users, i, u)
	}
	return pr, !found
}

// remove takes the user out of the set.
func (pr *project) remove(u *user) {
	pr.home.mu.Lock()
	defer pr.home.mu.Unlock()
	i, found := slices.BinarySearchFunc(pr.users, u.id, byID)
	if !found {
		return
	}
	pr.users = slices.Delete(pr.users, i, i+1)
	switch n := len(pr.users); {
	case n == 0:
		delete(pr.home.online, pr.id)
	case n >= 16 && n < cap(pr.users)/4:
		// A large project that emptied gives its room back.
		pr.users = slices.Clone(pr.users)
	}
}

func byID(u *user, id string) int { return strings.Compare(u.id, id) }
