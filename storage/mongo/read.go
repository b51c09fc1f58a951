package mongo

import (
	"context"
	"fmt"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"rollcall/storage"
)

// chunk is how many ids one query asks for.
const chunk = 500

// reader asks the product's collections, and understands their documents. Its errors
// are the driver's.
type reader struct {
	c               Config // with defaults
	users, projects *driver.Collection
	userPaths       userPaths
	projectPaths    projectPaths
	// userIDs, logins, projectIDs and memberIDs are how their fields' values are read.
	// The ids of users who log in with another name need not be local parts.
	userIDs, logins, projectIDs, memberIDs ids

	passwords passwords
	digests   digester
	flaws     *flaws
}

type userPaths struct{ id, login, name, blocked, updated path }

type projectPaths struct{ id, name, member, updated path }

func newReader(client *driver.Client, c Config, f *flaws) *reader {
	u, p := c.Users, c.Projects
	return &reader{
		c:            c,
		users:        client.Database(u.Database).Collection(u.Collection),
		projects:     client.Database(p.Database).Collection(p.Collection),
		userPaths:    userPaths{newPath(u.ID), newPath(u.Login), newPath(u.Name), newPath(u.Blocked), newPath(u.UpdatedAt)},
		projectPaths: projectPaths{newPath(p.ID), newPath(p.Name), newPath(p.member()), newPath(p.UpdatedAt)},
		userIDs:      ids{u.IDType, u.Login != ""},
		logins:       ids{t: IDAuto},
		projectIDs:   ids{t: p.IDType},
		memberIDs:    ids{p.MemberType, u.Login != ""},
		passwords:    newPasswords(u),
		digests:      newDigester(),
		flaws:        f,
	}
}

// only is the projection on fields; "" stands for none.
func only(fields ...string) bson.D {
	d := bson.D{}
	for _, f := range fields {
		if f != "" {
			d = append(d, bson.E{Key: f, Value: 1})
		}
	}
	if !slices.Contains(fields, "_id") {
		d = append(d, bson.E{Key: "_id", Value: 0})
	}
	return d
}

func (r *reader) userNames() bson.D {
	u := r.c.Users
	return only(u.ID, u.Login, u.Name, u.Blocked)
}

func (r *reader) userAll() bson.D {
	u := r.c.Users
	return only(u.ID, u.Login, u.Name, u.Blocked, u.Password, u.Hash.Salt, u.Hash.IterationsField)
}

func (r *reader) projectNames() bson.D { return only(r.c.Projects.ID, r.c.Projects.Name) }

func (r *reader) projectAll() bson.D {
	p := r.c.Projects
	return only(p.ID, p.Name, p.member())
}

// among is the condition that a field has one of the values.
func among(field string, values []any) bson.D {
	if len(values) == 1 {
		return bson.D{{Key: field, Value: values[0]}}
	}
	return bson.D{{Key: field, Value: bson.D{{Key: "$in", Value: values}}}}
}

// find calls f for every document that is found, until it returns false.
func find(ctx context.Context, c *driver.Collection, filter, fields bson.D, limit int64, f func(bson.Raw) bool) error {
	o := options.Find().SetProjection(fields).SetBatchSize(1000)
	if limit > 0 {
		o.SetLimit(limit)
	}
	cursor, err := c.Find(ctx, filter, o)
	if err != nil {
		return err
	}
	return drain(ctx, cursor, f)
}

// drain calls f for every document of a cursor, until it returns false.
func drain(ctx context.Context, cursor *driver.Cursor, f func(bson.Raw) bool) error {
	more := true
	for more && cursor.Next(ctx) {
		more = f(cursor.Current)
	}
	if err := cursor.Err(); err != nil {
		// The cursor is gone, or the server drops it in ten minutes.
		_ = cursor.Close(context.WithoutCancel(ctx))
		return err
	}
	return cursor.Close(ctx)
}

// user is a user's document.
type user struct {
	key, local, name string
	// there says that it is a user who may log in.
	there   bool
	blocked bool
	doc     bson.Raw
}

// userOf understands a user's document; ok says that it has an id.
func (r *reader) userOf(doc bson.Raw) (u user, ok bool) {
	id := r.userPaths.id.in(doc)
	u.key, ok = r.userIDs.key(id)
	if !ok {
		r.flaws.note("user", show(id), "the id is of no use")
		return u, false
	}
	u.local, u.there = u.key, true
	if r.userPaths.login != nil {
		login := r.userPaths.login.in(doc)
		if u.local, u.there = r.logins.key(login); !u.there {
			r.flaws.note("user", u.key, "the login name has no local part")
			u.local = ""
		}
	}
	u.name = text(r.userPaths.name.in(doc))
	u.blocked = says(r.userPaths.blocked.in(doc))
	u.there = u.there && !u.blocked
	u.doc = doc
	return u, true
}

// userByLocal finds the user of a local part, also a blocked one.
func (r *reader) userByLocal(ctx context.Context, local string, fields bson.D) (u user, ok bool, err error) {
	field, values := r.c.Users.ID, r.userIDs.values(local)
	if r.c.Users.Login != "" {
		field, values = r.c.Users.Login, r.logins.values(local)
	}
	if len(values) == 0 {
		return u, false, nil
	}
	found := 0
	err = find(ctx, r.users, append(among(field, values), r.c.Users.Filter...), fields, 2, func(doc bson.Raw) bool {
		if next, good := r.userOf(slices.Clone(doc)); good && next.local == local {
			u = next
			found++
		}
		return true
	})
	if found > 1 {
		r.flaws.note("user", local, "several documents are that user: nobody is")
	}
	if found != 1 || err != nil {
		return user{}, false, err
	}
	return u, true, nil
}

// usersByKeys calls f for the users who have these ids.
func (r *reader) usersByKeys(ctx context.Context, keys []string, fields bson.D, f func(user)) error {
	wanted := func(doc bson.Raw) bool {
		if u, ok := r.userOf(doc); ok {
			f(u)
		}
		return true
	}
	for part := range slices.Chunk(keys, chunk) {
		values := r.userIDs.all(part)
		if len(values) == 0 {
			continue
		}
		if err := find(ctx, r.users, append(among(r.c.Users.ID, values), r.c.Users.Filter...), fields, 0, wanted); err != nil {
			return err
		}
	}
	return nil
}

// project is a project's document.
type project struct {
	key, name string
	members   []string // keys of users, in any order, perhaps some twice
}

// projectOf understands a project's document; ok says that it has an id.
func (r *reader) projectOf(doc bson.Raw) (p project, ok bool) {
	id := r.projectPaths.id.in(doc)
	p.key, ok = r.projectIDs.key(id)
	if !ok {
		r.flaws.note("project", show(id), "the id has no local part")
		return p, false
	}
	p.name = text(r.projectPaths.name.in(doc))
	r.projectPaths.member.each(doc, func(v bson.RawValue) {
		key, ok := r.memberIDs.key(v)
		if !ok {
			r.flaws.note("member", show(v), "the id has no local part")
			return
		}
		p.members = append(p.members, key)
	})
	return p, true
}

// projectsByKeys calls f for the projects that have these ids.
func (r *reader) projectsByKeys(ctx context.Context, keys []string, f func(project, bson.Raw)) error {
	for part := range slices.Chunk(keys, chunk) {
		values := r.projectIDs.all(part)
		if len(values) == 0 {
			continue
		}
		err := find(ctx, r.projects, append(among(r.c.Projects.ID, values), r.c.Projects.Filter...), r.projectAll(), 0, func(doc bson.Raw) bool {
			if p, ok := r.projectOf(doc); ok {
				f(p, doc)
			}
			return true
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// projectsWith lists the projects that name a user, without members.
func (r *reader) projectsWith(ctx context.Context, key string) (all []storage.Project, err error) {
	values := r.memberIDs.values(key)
	if len(values) == 0 {
		return nil, nil
	}
	err = find(ctx, r.projects, append(among(r.c.Projects.member(), values), r.c.Projects.Filter...), r.projectNames(), 0, func(doc bson.Raw) bool {
		if p, ok := r.projectOf(doc); ok {
			all = append(all, storage.Project{ID: p.key, Name: p.name})
		}
		return true
	})
	return all, err
}

// userState is how a user's document looks to watchers.
func (r *reader) userState(u user) userState {
	about := []bson.RawValue{}
	for _, p := range r.passwords.fields() {
		about = append(about, p.in(u.doc))
	}
	return userState{
		key: u.key, local: u.local, there: u.there,
		about: r.digests.values(u.name, about...), raw: r.digests.bytes(u.doc),
	}
}

func (r *reader) projectState(p project, doc bson.Raw) projectState {
	return projectState{key: p.key, name: r.digests.values(p.name), raw: r.digests.bytes(doc), members: p.members}
}

// show is a value for the log.
func show(v bson.RawValue) string {
	const most = 100
	if v.Type == 0 {
		return "none"
	}
	s := v.String()
	return fmt.Sprintf("%.*s", most, s)
}
