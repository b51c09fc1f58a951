package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"

	"rollcall/conf"
	"rollcall/storage"
	"rollcall/storage/memory"
	"rollcall/storage/mongo"
	"rollcall/storage/redis"
	"rollcall/storage/sqlite"
)

// storesTime bounds how long the stores may take to answer when a server starts.
const storesTime = 10 * time.Second

// directoryTime bounds how long reading a directory may take that does answer.
const directoryTime = 5 * time.Minute

// closeTime is what the end of the sessions leaves for that of the stores.
const closeTime = time.Second

// stores are what a server keeps things in, as the configuration chooses.
type stores struct {
	directory directory
	watcher   storage.Watcher
	presence  storage.Presence
	bus       storage.Bus // nil when the server is alone
	// What users own is kept where users are.
	spool     storage.Spool
	rosters   storage.Rosters
	documents storage.Documents
	owners    storage.Owners

	sqlite *sqlite.Store // nil unless users are there
	mongo  *mongo.Store  // nil unless users are there
	redis  *redis.Store  // nil unless presence is there
}

// open opens all stores. What was opened is closed by close, also after an error.
func (s *stores) open(ctx context.Context, o Options, metrics prometheus.Registerer) error {
	if err := s.openUsers(ctx, o, metrics); err != nil {
		return err
	}
	return s.openPresence(ctx, o, metrics)
}

func (s *stores) openUsers(ctx context.Context, o Options, metrics prometheus.Registerer) error {
	if o.Config.Storage.Users == conf.UsersMongo {
		return s.openMongo(ctx, o, metrics)
	}
	ctx, cancel := context.WithTimeout(ctx, storesTime)
	defer cancel()
	var err error
	if s.sqlite, err = OpenStore(ctx, o.Config, o.Log); err != nil {
		return err
	}
	s.directory, s.watcher = s.sqlite, s.sqlite
	s.spool, s.rosters, s.documents, s.owners = s.sqlite, s.sqlite, s.sqlite, s.sqlite
	return nil
}

func (s *stores) openMongo(ctx context.Context, o Options, metrics prometheus.Registerer) error {
	c, err := mongoConfig(o)
	if err != nil {
		return err
	}
	at := conf.MongoServers(c.URI)
	if err := reachMongo(ctx, c.URI, c.ServerSelection); err != nil {
		return fmt.Errorf("mongodb at %s: %w", at, err)
	}
	c.Log, c.Metrics = o.Log, metrics
	ctx, cancel := context.WithTimeout(ctx, directoryTime)
	defer cancel()
	if s.mongo, err = mongo.Open(ctx, c); err != nil {
		return fmt.Errorf("mongodb at %s: %w", at, err)
	}
	s.directory, s.watcher = s.mongo, s.mongo
	s.spool, s.rosters, s.documents, s.owners = s.mongo, s.mongo, s.mongo, s.mongo
	return nil
}

// reachMongo finds out within storesTime whether MongoDB answers, since reading a large
// directory may take longer than anybody should wait for a server that is not there.
func reachMongo(ctx context.Context, uri string, selection time.Duration) (err error) {
	ctx, cancel := context.WithTimeout(ctx, storesTime)
	defer cancel()
	client, err := driver.Connect(options.Client().ApplyURI(uri).SetServerSelectionTimeout(selection))
	if err != nil {
		return errors.New("the address cannot be used") // the driver's words may show the password
	}
	defer func() { err = errors.Join(err, client.Disconnect(context.WithoutCancel(ctx))) }()
	for {
		if err = client.Ping(ctx, readpref.Primary()); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", storage.ErrUnavailable, err)
		case <-time.After(time.Second / 4):
		}
	}
}

func (s *stores) openPresence(ctx context.Context, o Options, metrics prometheus.Registerer) error {
	if o.Config.Storage.Presence == conf.PresenceMemory {
		s.presence = memory.NewPresence()
		return nil
	}
	c, err := redisConfig(o)
	if err != nil {
		return err
	}
	c.Log, c.Metrics = o.Log, metrics
	ctx, cancel := context.WithTimeout(ctx, storesTime)
	defer cancel()
	store, err := redis.Open(ctx, c)
	switch {
	case errors.Is(err, redis.ErrName):
		return fmt.Errorf("redis at %s: %w: node %q; give each server a cluster.node of its own", strings.Join(c.Addresses, ", "), err, c.Node)
	case err != nil:
		return fmt.Errorf("redis at %s: %w", strings.Join(c.Addresses, ", "), err)
	}
	s.redis, s.presence, s.bus = store, store, store
	return nil
}

// close closes what is open, those last that others need to see this server go.
func (s *stores) close(ctx context.Context, log *slog.Logger) error {
	var errs []error
	if s.mongo != nil {
		errs = append(errs, s.mongo.Close(ctx))
	}
	if s.sqlite != nil {
		errs = append(errs, s.sqlite.Close())
	}
	if s.redis != nil {
		err := s.redis.Close(ctx)
		if errors.Is(err, storage.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
			// The others find out.
			log.Warn("redis could not be told that this server ends", "err", err)
			err = nil
		}
		errs = append(errs, err)
	}
	*s = stores{}
	return errors.Join(errs...)
}

// ErrProduct says that users and projects are not rollcall's to change.
var ErrProduct = errors.New("users and projects belong to your product, which keeps them in MongoDB (storage.users: mongo): " +
	"change them there; servers that run notice, and at once when `rollcall project changed ID` tells them")

// OpenStore opens the embedded store of users and projects, or returns ErrProduct.
func OpenStore(ctx context.Context, c *conf.Config, log *slog.Logger) (*sqlite.Store, error) {
	if c.Storage.Users != conf.UsersSQLite {
		return nil, ErrProduct
	}
	return sqlite.Open(ctx, sqlite.Options{
		Path:           c.SQLitePath(),
		PlainPasswords: c.Storage.SQLite.Passwords == conf.PasswordsPlain,
		Log:            log,
	})
}

// redisConfig is what storage/redis is opened with, but for the log and the metrics.
func redisConfig(o Options) (redis.Config, error) {
	c := o.Config
	r := c.Storage.Redis
	out := redis.Config{
		Addresses: r.Addresses, MasterName: r.MasterName,
		Username: r.Username, SentinelUsername: r.SentinelUsername, Database: r.Database,
		Timeout: r.Timeout, Lease: r.Lease, Reconcile: r.Reconcile,
		Keys: redis.Keys{OnlineUsers: r.Keys.OnlineUsers, Presence: r.Keys.Presence, Prefix: r.Keys.Prefix},
	}
	host, err := os.Hostname()
	if err != nil {
		return out, err
	}
	var errs [4]error
	out.Node, errs[0] = c.NodeName(host)
	out.Password, errs[1] = c.RedisPassword(o.getenv(conf.RedisPasswordVariable))
	out.SentinelPassword, errs[2] = c.SentinelPassword(o.getenv(conf.SentinelPasswordVariable))
	out.TLS, errs[3] = redisTLS(r.TLS)
	return out, errors.Join(errs[:]...)
}

// redisTLS is nil for connections in the clear.
func redisTLS(c conf.RedisTLS) (*tls.Config, error) {
	if !c.Enabled {
		return nil, nil
	}
	out := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("storage.redis.tls.ca_file: %w", err)
		}
		out.RootCAs = x509.NewCertPool()
		if !out.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("storage.redis.tls.ca_file: no certificate in %s", c.CAFile)
		}
	}
	if c.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("storage.redis.tls.cert_file: %w", err)
		}
		out.Certificates = []tls.Certificate{pair}
	}
	return out, nil
}

// mongoConfig is what storage/mongo is opened with, but for the log and the metrics.
func mongoConfig(o Options) (mongo.Config, error) {
	m := o.Config.Storage.Mongo
	uri, err := o.Config.MongoURI(o.getenv(conf.MongoURIVariable))
	if err != nil {
		return mongo.Config{}, err
	}
	u, p := m.Users, m.Projects
	c := mongo.Config{
		URI: uri, Database: m.Database,
		Users: mongo.Users{
			Database: u.Database, Collection: u.Collection, ID: u.ID, IDType: mongo.IDType(u.IDType), Login: u.Login,
			Name: u.Name, Password: u.Password, Scheme: mongo.Scheme(u.Scheme), AllowPlain: u.AllowPlain,
			Hash: mongo.HashFields{
				Salt: u.Hash.Salt, Digest: u.Hash.Digest, IterationsField: u.Hash.IterationsField, Iterations: u.Hash.Iterations,
				N: u.Hash.N, R: u.Hash.R, P: u.Hash.P, Encoding: mongo.Encoding(u.Hash.Encoding),
			},
			Mechanisms: u.Mechanisms, Blocked: u.Blocked, UpdatedAt: u.UpdatedAt, Filter: bson.D(u.Filter),
		},
		Projects: mongo.Projects{
			Database: p.Database, Collection: p.Collection, ID: p.ID, IDType: mongo.IDType(p.IDType), Name: p.Name,
			Members: p.Members, Member: p.Member, MemberType: mongo.IDType(p.MemberType),
			UpdatedAt: p.UpdatedAt, Filter: bson.D(p.Filter),
		},
		Own:     mongo.Own{Database: m.Own.Database, Prefix: m.Own.Prefix},
		Timeout: m.Timeout, ServerSelection: m.ServerSelection, Pool: m.Pool, CreateIndexes: m.CreateIndexes,
		Cache: mongo.Cache{Age: m.Cache.Age, Projects: m.Cache.Projects, Users: m.Cache.Users, Bytes: int64(m.Cache.Bytes)},
		Watch: mongo.Watch{Mode: mongo.WatchMode(m.Watch.Mode), Interval: m.Watch.Interval, Sweep: m.Watch.Sweep},
	}
	return c, c.Validate()
}

// Check looks at what the configuration alone does not show, and at no store: the
// secrets in variables of the environment, and what MongoDB's driver says.
func Check(c *conf.Config, getenv func(string) string) error {
	o := Options{Config: c, Getenv: getenv}
	var errs []error
	if c.Storage.Users == conf.UsersMongo {
		_, err := mongoConfig(o)
		errs = append(errs, err)
	}
	if c.Storage.Presence == conf.PresenceRedis {
		_, err := redisConfig(o)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
