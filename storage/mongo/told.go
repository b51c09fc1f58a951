package mongo

import (
	"cmp"
	"slices"

	"rollcall/storage"
)

// told is the directory as watchers know it. Whatever source says how a document looks
// now, the difference to this is the change, so that no change is told twice. It keeps
// digests instead of names and passwords: about 190 bytes for a user and 16 for a
// membership.
type told struct {
	users    map[string]*userRow    // by the id's key
	projects map[string]*projectRow // by the id's key
}

// userRow is a user's document, or somebody without one whom projects name.
type userRow struct {
	key, local string // the id's key; the local part of the JID, if there
	raw        uint64 // digest of the document as it was read
	about      uint64 // digest of what matters
	sweep      uint32 // the last one that saw the document
	there      bool   // the user has a document and is not blocked
	document   bool
	projects   []*projectRow // ordered by key
}

type projectRow struct {
	key       string
	raw, name uint64 // digests
	sweep     uint32
	members   []*userRow // ordered by key
}

// userState is how a user's document looks now.
type userState struct {
	key, local string
	about, raw uint64
	there      bool
}

// projectState is how a project's document looks now.
type projectState struct {
	key       string
	name, raw uint64
	members   []string // keys, in any order, perhaps some twice
}

// outcome is what a state changed.
type outcome struct {
	changes []storage.Change
	// users and projects are those whose cache entries have become wrong; users by
	// their local parts.
	users, projects []string
	// strangers are keys of members seen for the first time whose documents were not.
	strangers []string
}

func (o *outcome) member(kind storage.ChangeKind, u *userRow, p *projectRow) {
	o.changes = append(o.changes, storage.Change{Kind: kind, User: u.local, Project: p.key})
	o.users, o.projects = append(o.users, u.local), append(o.projects, p.key)
}

func newTold() *told {
	return &told{users: make(map[string]*userRow), projects: make(map[string]*projectRow)}
}

// user takes a state of a user that was read in the sweep of that number.
func (t *told) user(s userState, sweep uint32, o *outcome) {
	u := t.users[s.key]
	if u == nil {
		u = &userRow{key: s.key}
		t.users[s.key] = u
	}
	u.document, u.raw, u.sweep = true, s.raw, sweep
	if u.there && (!s.there || u.local != s.local) {
		t.leave(u, o)
	}
	switch {
	case !s.there:
		u.local = s.local
	case !u.there:
		u.local, u.there = s.local, true
		o.users = append(o.users, u.local)
		for _, p := range u.projects {
			o.member(storage.MemberAdded, u, p)
		}
	case u.about != s.about:
		o.changes = append(o.changes, storage.Change{Kind: storage.UserChanged, User: u.local})
		for _, p := range u.projects {
			o.projects = append(o.projects, p.key)
		}
	}
	u.about = s.about
}

// leave makes a user nobody.
func (t *told) leave(u *userRow, o *outcome) {
	for _, p := range u.projects {
		o.member(storage.MemberRemoved, u, p)
	}
	o.users = append(o.users, u.local)
	o.changes = append(o.changes, storage.Change{Kind: storage.UserRemoved, User: u.local})
	u.there = false
}

// userGone says that a user has no document.
func (t *told) userGone(key string, o *outcome) {
	u := t.users[key]
	if u == nil {
		return
	}
	if u.there {
		t.leave(u, o)
	}
	u.document, u.local, u.raw, u.about = false, "", 0, 0
	t.forget(u)
}

// forget drops somebody without a document whom no project names.
func (t *told) forget(u *userRow) {
	if !u.document && len(u.projects) == 0 {
		delete(t.users, u.key)
	}
}

// project takes a state of a project.
func (t *told) project(s projectState, sweep uint32, o *outcome) {
	p := t.projects[s.key]
	if p == nil {
		p = &projectRow{key: s.key, name: s.name}
		t.projects[s.key] = p
		o.projects = append(o.projects, p.key) // it may be known as unknown
	}
	p.raw, p.sweep = s.raw, sweep
	t.members(p, s.members, o)
	if p.name == s.name {
		return
	}
	p.name = s.name
	o.changes = append(o.changes, storage.Change{Kind: storage.ProjectChanged, Project: p.key})
	o.projects = append(o.projects, p.key)
	for _, u := range p.members {
		if u.there {
			o.users = append(o.users, u.local)
		}
	}
}

// members makes the project's members those named.
func (t *told) members(p *projectRow, keys []string, o *outcome) {
	slices.Sort(keys)
	keys = slices.Compact(keys)
	if slices.EqualFunc(p.members, keys, func(u *userRow, key string) bool { return u.key == key }) {
		return
	}
	before := p.members
	p.members = make([]*userRow, 0, len(keys))
	var added []*userRow
	for _, key := range keys {
		for len(before) > 0 && before[0].key < key {
			t.part(before[0], p, o)
			before = before[1:]
		}
		if len(before) > 0 && before[0].key == key {
			p.members = append(p.members, before[0])
			before = before[1:]
			continue
		}
		u := t.users[key]
		if u == nil {
			u = &userRow{key: key}
			t.users[key] = u
			o.strangers = append(o.strangers, key)
		}
		p.members = append(p.members, u)
		added = append(added, u)
	}
	for _, u := range before {
		t.part(u, p, o)
	}
	for _, u := range added {
		at, _ := slices.BinarySearchFunc(u.projects, p.key, compareProject)
		u.projects = slices.Insert(u.projects, at, p)
		if u.there {
			o.member(storage.MemberAdded, u, p)
		}
	}
}

func compareProject(p *projectRow, key string) int { return cmp.Compare(p.key, key) }

// part ends a membership on the user's side.
func (t *told) part(u *userRow, p *projectRow, o *outcome) {
	if at, ok := slices.BinarySearchFunc(u.projects, p.key, compareProject); ok {
		u.projects = slices.Delete(u.projects, at, at+1)
	}
	if u.there {
		o.member(storage.MemberRemoved, u, p)
	}
	t.forget(u)
}

// projectGone says that a project has no document.
func (t *told) projectGone(key string, o *outcome) {
	p := t.projects[key]
	if p == nil {
		return
	}
	t.members(p, nil, o)
	delete(t.projects, key)
	o.projects = append(o.projects, key)
	o.changes = append(o.changes, storage.Change{Kind: storage.ProjectRemoved, Project: key})
}

// unseen are the keys of rows that a sweep did not see.
func (t *told) unseen(sweep uint32) (users, projects []string) {
	for key, u := range t.users {
		if u.document && u.sweep != sweep {
			users = append(users, key)
		}
	}
	for key, p := range t.projects {
		if p.sweep != sweep {
			projects = append(projects, key)
		}
	}
	slices.Sort(users)
	slices.Sort(projects)
	return users, projects
}
