package mongo_test

import (
	"context"
	"encoding/base64"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"rollcall/internal/jid"
	"rollcall/internal/mongotest"
	"rollcall/storage"
	"rollcall/storage/mongo"
	"rollcall/storage/sqlite"
	"rollcall/storage/storagetest"
)

// product plays the product: it changes users and projects in an embedded store, which
// knows the rules, and writes what came of it to MongoDB with the plain driver. Where
// told is set it says so to the store under test, as the product may.
type product struct {
	*mongo.Store
	model  *sqlite.Store
	db     *driver.Database
	layout layout
	told   bool

	mu      sync.Mutex
	written map[string]string // what stands in MongoDB, by collection and id
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

func newProduct(t *testing.T, client *driver.Client, uri string, l layout) *product {
	t.Helper()
	model, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(t.TempDir(), "model.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := model.Close(); err != nil {
			t.Error(err)
		}
	})
	name := "t" + bson.NewObjectID().Hex()
	c := mongo.Config{
		URI: uri, Database: name,
		Users:    mongo.Users{Name: "name", Scheme: mongo.SchemeSCRAM, Mechanisms: []string{"SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512"}},
		Projects: mongo.Projects{Name: "name"},
		Watch:    mongo.Watch{Interval: time.Hour},
		Log:      slog.New(slog.NewTextHandler(testWriter{t}, nil)),
	}
	if l.config != nil {
		l.config(&c)
	}
	return &product{Store: open(t, c), model: model, db: client.Database(name), layout: l, told: true, written: make(map[string]string)}
}

// testWriter lets a log go where the test's goes, as long as the test lasts.
type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	if w.t.Context().Err() == nil {
		w.t.Log(strings.TrimSpace(string(p)))
	}
	return len(p), nil
}

// change changes the model, then MongoDB.
func (p *product) change(ctx context.Context, f func() error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	err := f()
	if err != nil {
		return err
	}
	if err := p.write(ctx); err != nil {
		return err
	}
	if !p.told {
		return nil
	}
	return p.Refresh(ctx)
}

// write writes what is different.
func (p *product) write(ctx context.Context) error {
	docs := make(map[string]bson.D)
	users, err := p.model.Users(ctx)
	if err != nil {
		return err
	}
	for _, u := range users {
		c, err := p.model.Credentials(ctx, u.ID)
		if err != nil {
			return err
		}
		docs["users/"+u.ID] = p.layout.user(u, c)
	}
	projects, err := p.model.Projects(ctx)
	if err != nil {
		return err
	}
	for _, pr := range projects {
		members, err := p.model.Members(ctx, pr.ID)
		if err != nil {
			return err
		}
		list := bson.A{}
		for _, u := range members {
			list = append(list, p.layout.member(u.ID))
		}
		docs["projects/"+pr.ID] = bson.D{{Key: "_id", Value: stored(pr.ID)}, {Key: "name", Value: pr.Name}, {Key: "members", Value: list}}
	}
	return p.replace(ctx, docs)
}

func (p *product) replace(ctx context.Context, docs map[string]bson.D) error {
	for at, doc := range docs {
		text, err := bson.MarshalExtJSON(doc, true, false)
		if err != nil {
			return err
		}
		if p.written[at] == string(text) {
			continue
		}
		collection, _, _ := strings.Cut(at, "/")
		if _, err := p.db.Collection(collection).ReplaceOne(ctx, bson.D{doc[0]}, doc, options.Replace().SetUpsert(true)); err != nil {
			return err
		}
		p.written[at] = string(text)
	}
	for at := range p.written {
		if _, still := docs[at]; still {
			continue
		}
		collection, id, _ := strings.Cut(at, "/")
		if collection == "users" {
			doc := p.layout.user(storage.User{ID: id}, storage.Credentials{})
			if _, err := p.db.Collection(collection).DeleteOne(ctx, bson.D{doc[0]}); err != nil {
				return err
			}
		} else if _, err := p.db.Collection(collection).DeleteOne(ctx, bson.D{{Key: "_id", Value: stored(id)}}); err != nil {
			return err
		}
		delete(p.written, at)
	}
	return nil
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
	return p.change(ctx, func() error { return p.model.AddUser(ctx, u) })
}

func (p *product) SetCredentials(ctx context.Context, id string, c storage.Credentials) error {
	return p.change(ctx, func() error { return p.model.SetCredentials(ctx, id, c) })
}

func (p *product) RemoveUser(ctx context.Context, id string) error {
	return p.change(ctx, func() error { return p.model.RemoveUser(ctx, id) })
}

func (p *product) Users(ctx context.Context) ([]storage.User, error) { return p.model.Users(ctx) }

func (p *product) AddProject(ctx context.Context, pr storage.Project) error {
	return p.change(ctx, func() error { return p.model.AddProject(ctx, pr) })
}

func (p *product) RemoveProject(ctx context.Context, id string) error {
	return p.change(ctx, func() error { return p.model.RemoveProject(ctx, id) })
}

func (p *product) Projects(ctx context.Context) ([]storage.Project, error) {
	return p.model.Projects(ctx)
}

func (p *product) Join(ctx context.Context, project, user string) error {
	return p.change(ctx, func() error { return p.model.Join(ctx, project, user) })
}

func (p *product) Leave(ctx context.Context, project, user string) error {
	return p.change(ctx, func() error { return p.model.Leave(ctx, project, user) })
}

func (p *product) Import(ctx context.Context, records []storage.Record) error {
	return p.change(ctx, func() error { return p.model.Import(ctx, records) })
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

func TestConformance(t *testing.T) {
	server := mongotest.Start(t)
	client := connect(t, server.URI)
	for name, l := range map[string]layout{"strings": plain(), "logins": logins()} {
		t.Run(name, func(t *testing.T) {
			storagetest.Directory(t, func(t *testing.T) storagetest.DirectoryStore {
				return newProduct(t, client, server.URI, l)
			})
		})
	}
}
