package mongo_test

import (
	"context"
	"encoding/base64"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"rollcall/internal/jid"
	"rollcall/internal/mongofake"
	"rollcall/internal/mongotest"
	"rollcall/storage"
	"rollcall/storage/mongo"
	"rollcall/storage/storagetest"
)

// product plays the product: it changes users and projects in a model, which knows the
// rules, and writes what came of it to MongoDB with the plain driver. Then it
// asks the store under test to look.
type product struct {
	*mongo.Store
	model  *model
	db     database
	layout layout
}

// layout is how the product's documents look.
type layout struct {
	config func(*mongo.Config)
	user   func(u storage.User, c storage.Credentials) bson.D
	member func(id string) any
}

var _ storagetest.DirectoryStore = (*product)(nil)

func connect(t testing.TB, uri string) *driver.Client {
	t.Helper()
	client, err := driver.Connect(options.Client().ApplyURI(uri).SetTimeout(10 * time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Disconnect(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return client
}

// open opens a store that the end of the test closes.
func open(t testing.TB, c mongo.Config) *mongo.Store {
	t.Helper()
	s, err := mongo.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// database is where the product writes.
type database interface {
	// put writes a document, whose first field is its _id.
	put(ctx context.Context, collection string, doc bson.D) error
	remove(ctx context.Context, collection string, id any) error
}

// real is a database behind the driver.
type real struct{ *driver.Database }

func (d real) put(ctx context.Context, collection string, doc bson.D) error {
	_, err := d.Collection(collection).ReplaceOne(ctx, bson.D{doc[0]}, doc, options.Replace().SetUpsert(true))
	return err
}

func (d real) remove(ctx context.Context, collection string, id any) error {
	_, err := d.Collection(collection).DeleteOne(ctx, bson.D{{Key: "_id", Value: id}})
	return err
}

// fake is what the wire fake has.
type fake struct{ *mongofake.Fake }

func (f fake) put(_ context.Context, collection string, doc bson.D) error {
	f.Collection(collection).Insert(doc)
	return nil
}

func (f fake) remove(_ context.Context, collection string, id any) error {
	f.Collection(collection).Delete(id)
	return nil
}

// newName is a database of its own.
func newName() string { return "t" + bson.NewObjectID().Hex() }

func newProduct(t *testing.T, uri, name string, db database, l layout) *product {
	t.Helper()
	c := mongo.Config{
		URI: uri, Database: name,
		Users:    mongo.Users{Name: "name", Scheme: mongo.SchemeSCRAM, Mechanisms: []string{"SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512"}},
		Projects: mongo.Projects{Name: "name"},
		Watch:    mongo.Watch{Interval: time.Hour},
		Timeout:  10 * time.Second, // a busy machine is not what these tests are about
		Log:      slog.New(slog.NewTextHandler(testWriter{t}, nil)),
	}
	if l.config != nil {
		l.config(&c)
	}
	return &product{Store: open(t, c), model: newModel(), db: db, layout: l}
}

// testWriter lets a log go where the test's goes, as long as the test lasts.
type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	if w.t.Context().Err() == nil {
		w.t.Log(strings.TrimSpace(string(p)))
	}
	return len(p), nil
}

// change changes the model, then what it is about in MongoDB, and looks there. Once it has
// begun it is done, whatever becomes of ctx.
func (p *product) change(ctx context.Context, users, projects []string, f func(*model) error) error {
	release, err := p.model.hold(ctx)
	defer release()
	if err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	refused := f(p.model)
	for _, id := range users {
		if err := p.writeUser(ctx, id); err != nil {
			return err
		}
	}
	for _, id := range projects {
		if err := p.writeProject(ctx, id); err != nil {
			return err
		}
	}
	if refused != nil {
		return refused
	}
	return p.Refresh(ctx)
}

func (p *product) writeUser(ctx context.Context, id string) error {
	if _, ok := jid.Unescape(id); !ok {
		return nil // the model refused it
	}
	u, there := p.model.users[id]
	if !there {
		doc := p.layout.user(storage.User{ID: id}, storage.Credentials{})
		return p.db.remove(ctx, "users", doc[0].Value)
	}
	return p.db.put(ctx, "users", p.layout.user(u.User, *u.Credentials))
}

func (p *product) writeProject(ctx context.Context, id string) error {
	if _, ok := jid.Unescape(id); !ok {
		return nil
	}
	pr, there := p.model.projects[id]
	if !there {
		return p.db.remove(ctx, "projects", stored(id))
	}
	list := bson.A{}
	for _, u := range slices.Sorted(maps.Keys(pr.members)) {
		list = append(list, p.layout.member(u))
	}
	return p.db.put(ctx, "projects", bson.D{{Key: "_id", Value: stored(id)}, {Key: "name", Value: pr.Name}, {Key: "members", Value: list}})
}

// stored is the string that a local part stands for.
func stored(id string) string {
	name, ok := jid.Unescape(id)
	if !ok {
		panic("the model let an id pass that is none: " + id)
	}
	return name
}

// AddUser implements storage.Admin, like what follows.
func (p *product) AddUser(ctx context.Context, u storage.UserRecord) error {
	return p.change(ctx, []string{u.ID}, nil, func(m *model) error { return m.addUser(u) })
}

func (p *product) SetCredentials(ctx context.Context, id string, c storage.Credentials) error {
	return p.change(ctx, []string{id}, nil, func(m *model) error { return m.setCredentials(id, c) })
}

func (p *product) RemoveUser(ctx context.Context, id string) error {
	return p.change(ctx, []string{id}, p.model.projectsOf(id), func(m *model) error { return m.removeUser(id) })
}

func (p *product) Users(ctx context.Context) ([]storage.User, error) {
	release, err := p.model.hold(ctx)
	defer release()
	return p.model.allUsers(), err
}

func (p *product) AddProject(ctx context.Context, pr storage.Project) error {
	return p.change(ctx, nil, []string{pr.ID}, func(m *model) error { return m.addProject(pr) })
}

func (p *product) RemoveProject(ctx context.Context, id string) error {
	return p.change(ctx, nil, []string{id}, func(m *model) error { return m.removeProject(id) })
}

func (p *product) Projects(ctx context.Context) ([]storage.Project, error) {
	release, err := p.model.hold(ctx)
	defer release()
	return p.model.allProjects(), err
}

func (p *product) Join(ctx context.Context, project, user string) error {
	return p.change(ctx, nil, []string{project}, func(m *model) error { return m.join(project, user) })
}

func (p *product) Leave(ctx context.Context, project, user string) error {
	return p.change(ctx, nil, []string{project}, func(m *model) error { return m.leave(project, user) })
}

func (p *product) Import(ctx context.Context, records []storage.Record) error {
	var users, projects []string
	for _, r := range records {
		if r.User != nil {
			users = append(users, r.User.ID)
		}
		if r.Project != nil {
			projects = append(projects, r.Project.ID)
		}
	}
	return p.change(ctx, users, projects, func(m *model) error { return m.imported(records) })
}

// keysDocument is SCRAM keys as in MongoDB's own users.
func keysDocument(c storage.Credentials) bson.D {
	d := bson.D{}
	for _, k := range slices.SortedFunc(slices.Values(c.SCRAM), func(a, b storage.SCRAMKeys) int { return strings.Compare(a.Mechanism, b.Mechanism) }) {
		d = append(d, bson.E{Key: k.Mechanism, Value: bson.D{
			{Key: "iterationCount", Value: k.Iterations},
			{Key: "salt", Value: base64.StdEncoding.EncodeToString(k.Salt)},
			{Key: "storedKey", Value: base64.StdEncoding.EncodeToString(k.StoredKey)},
			{Key: "serverKey", Value: base64.StdEncoding.EncodeToString(k.ServerKey)},
		}})
	}
	return d
}

// plain is the layout with ids that are strings.
func plain() layout {
	return layout{
		user: func(u storage.User, c storage.Credentials) bson.D {
			return bson.D{{Key: "_id", Value: stored(u.ID)}, {Key: "name", Value: u.Name}, {Key: "password", Value: keysDocument(c)}}
		},
		member: func(id string) any { return stored(id) },
	}
}

// logins is the layout of users who log in with a name, and of members that are
// documents with ids that the names know nothing of.
func logins() layout {
	return layout{
		config: func(c *mongo.Config) {
			c.Users.Login, c.Projects.Member = "account.login", "uid"
		},
		user: func(u storage.User, c storage.Credentials) bson.D {
			return bson.D{
				{Key: "_id", Value: "ID-" + u.ID}, {Key: "account", Value: bson.D{{Key: "login", Value: stored(u.ID)}}},
				{Key: "name", Value: u.Name}, {Key: "password", Value: keysDocument(c)},
			}
		},
		member: func(id string) any {
			return bson.D{{Key: "uid", Value: "ID-" + id}, {Key: "role", Value: "writer"}}
		},
	}
}

// TestConformance runs against FerretDB, whose changes are found by comparing.
func TestConformance(t *testing.T) {
	t.Parallel()
	server := mongotest.Start(t)
	client := connect(t, server.URI)
	storagetest.Directory(t, func(t *testing.T) storagetest.DirectoryStore {
		name := newName()
		return newProduct(t, server.URI, name, real{client.Database(name)}, plain())
	})
}

// TestConformanceWithStreams runs against the wire fake, where change streams tell of
// the same changes as comparing does: none may be told twice.
func TestConformanceWithStreams(t *testing.T) {
	t.Parallel()
	storagetest.Directory(t, func(t *testing.T) storagetest.DirectoryStore {
		f := mongofake.New(t)
		return newProduct(t, f.URI, newName(), fake{f}, logins())
	})
}
