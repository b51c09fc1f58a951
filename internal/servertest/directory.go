package servertest

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"rollcall/storage"
)

// Password is every user's password.
const Password = "secret"

// Directory keeps users and projects in memory. Its methods that change
// something return the Directory itself, so that calls can be chained; once they
// return, the server has heard of the change. They must not be called from
// within a handler.
type Directory struct {
	telling sync.Mutex // keeps changes in order until they are told

	mu       sync.Mutex
	users    map[string]storage.User
	projects map[string]*project
	watchers map[int]func(storage.Change)
	next     int
	failure  error
	reads    int
}

type project struct {
	storage.Project
	members map[string]struct{}
}

var (
	_ storage.Users    = (*Directory)(nil)
	_ storage.Projects = (*Directory)(nil)
	_ storage.Watcher  = (*Directory)(nil)
)

// NewDirectory returns an empty directory.
func NewDirectory() *Directory {
	return &Directory{
		users:    make(map[string]storage.User),
		projects: make(map[string]*project),
		watchers: make(map[int]func(storage.Change)),
	}
}

// AddUser adds a user, or gives one another name.
func (d *Directory) AddUser(id, name string) *Directory {
	return d.change(func() []storage.Change {
		old, had := d.users[id]
		d.users[id] = storage.User{ID: id, Name: name}
		if had && old.Name != name {
			return []storage.Change{{Kind: storage.UserChanged, User: id}}
		}
		return nil
	})
}

// AddProject adds a project, or gives one another name, and adds members.
func (d *Directory) AddProject(id, name string, members ...string) *Directory {
	return d.change(func() (told []storage.Change) {
		p, had := d.projects[id]
		if !had {
			p = &project{members: make(map[string]struct{})}
			d.projects[id] = p
		} else if p.Name != name {
			told = append(told, storage.Change{Kind: storage.ProjectChanged, Project: id})
		}
		p.Project = storage.Project{ID: id, Name: name}
		for _, u := range members {
			told = append(told, d.join(p, u)...)
		}
		return told
	})
}

// Join makes a user a member. What is not there yet is added, without a name.
func (d *Directory) Join(projectID, userID string) *Directory {
	return d.change(func() []storage.Change {
		p := d.projects[projectID]
		if p == nil {
			p = &project{Project: storage.Project{ID: projectID}, members: make(map[string]struct{})}
			d.projects[projectID] = p
		}
		return d.join(p, userID)
	})
}

func (d *Directory) join(p *project, userID string) []storage.Change {
	if _, ok := d.users[userID]; !ok {
		d.users[userID] = storage.User{ID: userID}
	}
	if _, had := p.members[userID]; had {
		return nil
	}
	p.members[userID] = struct{}{}
	return []storage.Change{{Kind: storage.MemberAdded, User: userID, Project: p.ID}}
}

// Leave ends memberships in one transaction.
func (d *Directory) Leave(projectID string, userIDs ...string) *Directory {
	return d.change(func() (told []storage.Change) {
		p := d.projects[projectID]
		if p == nil {
			return nil
		}
		for _, u := range userIDs {
			told = append(told, leave(p, u)...)
		}
		return told
	})
}

func leave(p *project, userID string) []storage.Change {
	if _, had := p.members[userID]; !had {
		return nil
	}
	delete(p.members, userID)
	return []storage.Change{{Kind: storage.MemberRemoved, User: userID, Project: p.ID}}
}

// RemoveUser removes a user and the user's memberships.
func (d *Directory) RemoveUser(id string) *Directory {
	return d.change(func() (told []storage.Change) {
		for _, projectID := range slices.Sorted(maps.Keys(d.projects)) {
			told = append(told, leave(d.projects[projectID], id)...)
		}
		delete(d.users, id)
		return append(told, storage.Change{Kind: storage.UserRemoved, User: id})
	})
}

// RemoveProject removes a project and its memberships.
func (d *Directory) RemoveProject(id string) *Directory {
	return d.change(func() (told []storage.Change) {
		p := d.projects[id]
		if p == nil {
			return nil
		}
		for _, u := range slices.Sorted(maps.Keys(p.members)) {
			told = append(told, leave(p, u)...)
		}
		delete(d.projects, id)
		return append(told, storage.Change{Kind: storage.ProjectRemoved, Project: id})
	})
}

// Fail makes every read return err; nil ends that.
func (d *Directory) Fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failure = err
}

// Reads is how many reads there were so far.
func (d *Directory) Reads() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.reads
}

// Tell tells a change that did not happen, for tests of what comes late or
// twice.
func (d *Directory) Tell(changes ...storage.Change) {
	d.change(func() []storage.Change { return changes })
}

// change commits what f does and tells the changes that f returns.
func (d *Directory) change(f func() []storage.Change) *Directory {
	d.telling.Lock()
	defer d.telling.Unlock()
	d.mu.Lock()
	changes := f()
	watchers := slices.Collect(maps.Values(d.watchers))
	d.mu.Unlock()
	for _, c := range changes {
		for _, tell := range watchers {
			tell(c)
		}
	}
	return d
}

// Watch implements storage.Watcher.
func (d *Directory) Watch(ctx context.Context, f func(storage.Change)) error {
	stop := d.watch(f)
	defer stop()
	<-ctx.Done()
	return nil
}

func (d *Directory) watch(f func(storage.Change)) (stop func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	id := d.next
	d.next++
	d.watchers[id] = f
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.watchers, id)
	}
}

// read starts a read; the caller unlocks d.mu.
func (d *Directory) read(ctx context.Context) error {
	d.mu.Lock()
	d.reads++
	if d.failure != nil {
		return d.failure
	}
	return ctx.Err()
}

// User implements storage.Users.
func (d *Directory) User(ctx context.Context, id string) (storage.User, error) {
	err := d.read(ctx)
	defer d.mu.Unlock()
	if err != nil {
		return storage.User{}, err
	}
	u, ok := d.users[id]
	if !ok {
		return storage.User{}, storage.ErrNotFound
	}
	return u, nil
}

// UserExists says whether there is such a user.
func (d *Directory) UserExists(ctx context.Context, id string) (bool, error) {
	_, err := d.User(ctx, id)
	if errors.Is(err, storage.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Credentials implements storage.Users.
func (d *Directory) Credentials(ctx context.Context, id string) (storage.Credentials, error) {
	if _, err := d.User(ctx, id); err != nil {
		return storage.Credentials{}, err
	}
	return storage.Credentials{Plain: Password}, nil
}

// Mechanisms implements storage.Users: there are no SCRAM keys.
func (d *Directory) Mechanisms() []string { return nil }

// Project implements storage.Projects.
func (d *Directory) Project(ctx context.Context, id string) (storage.Project, error) {
	err := d.read(ctx)
	defer d.mu.Unlock()
	if err != nil {
		return storage.Project{}, err
	}
	p, ok := d.projects[id]
	if !ok {
		return storage.Project{}, storage.ErrNotFound
	}
	return p.Project, nil
}

// ProjectsOf implements storage.Projects.
func (d *Directory) ProjectsOf(ctx context.Context, userID string) ([]storage.Project, error) {
	err := d.read(ctx)
	defer d.mu.Unlock()
	if err != nil {
		return nil, err
	}
	var list []storage.Project
	for _, id := range slices.Sorted(maps.Keys(d.projects)) {
		if _, ok := d.projects[id].members[userID]; ok {
			list = append(list, d.projects[id].Project)
		}
	}
	return list, nil
}

// Members implements storage.Projects.
func (d *Directory) Members(ctx context.Context, projectID string) ([]storage.User, error) {
	err := d.read(ctx)
	defer d.mu.Unlock()
	if err != nil {
		return nil, err
	}
	p, ok := d.projects[projectID]
	if !ok {
		return nil, storage.ErrNotFound
	}
	var list []storage.User
	for _, id := range slices.Sorted(maps.Keys(p.members)) {
		list = append(list, d.users[id])
	}
	return list, nil
}
