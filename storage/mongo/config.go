package mongo

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// Config says where the product keeps users and projects, and where rollcall keeps what
// is its own. Names of fields are paths with dots, as in queries.
type Config struct {
	// URI is a connection string, mongodb:// or mongodb+srv://, perhaps with a
	// password.
	URI string
	// Database may be empty when URI names one.
	Database string
	Users    Users
	Projects Projects
	Own      Own

	// Timeout of each operation. 0: 2 s.
	Timeout time.Duration
	// ServerSelection is how long an operation looks for a server. 0: 2 s.
	ServerSelection time.Duration
	// Pool is the most connections to each server. 0: 64.
	Pool int

	Cache Cache
	Watch Watch
	// CreateIndexes allows to create indexes on the fields that queries ask for, above
	// all the members of projects, where there is none. It is all that is ever
	// written to the product's collections.
	CreateIndexes bool

	Log     *slog.Logger          // nil for none
	Metrics prometheus.Registerer // nil for none
}

// Users says where users are. A user is found by ID or, when Login is set, by
// Login; that value is the local part of the user's JID. Members of projects are
// always named by ID.
type Users struct {
	Database   string // "": Config.Database
	Collection string // "": "users"
	ID         string // "": "_id"
	IDType     IDType // "": IDAuto
	Login      string // "": users log in with ID
	Name       string // "": users have no names
	Password   string // "": "password"
	Scheme     Scheme // "": SchemeAuto
	// AllowPlain lets passwords be kept as they are (SchemePlain).
	AllowPlain bool
	// Hash says what a password field leaves out.
	Hash HashFields
	// Mechanisms are the SCRAM mechanisms for which every user has keys. None are
	// offered but these.
	Mechanisms []string
	// Blocked is a field whose value, unless false, 0, null or "", says that the user
	// may not log in; "" for none.
	Blocked string
	// UpdatedAt is a date that the product sets whenever it changes a user, indexed;
	// "" for none.
	UpdatedAt string
	// Filter is what else a document must be like to be a user.
	Filter bson.D
}

// Projects says where projects are.
type Projects struct {
	Database   string // "": Config.Database
	Collection string // "": "projects"
	ID         string // "": "_id"
	IDType     IDType // "": IDAuto
	Name       string // "": projects have no names
	Members    string // "": "members"; an array of users' ids or, with Member, of documents
	Member     string // the user's id in each document of Members
	// MemberType is the type of the ids in Members. "": IDAuto.
	MemberType IDType
	// UpdatedAt is a date that the product sets whenever it changes a project,
	// indexed; "" for none.
	UpdatedAt string
	// Filter is what else a document must be like to be a project, such as
	// {archived: {$ne: true}}.
	Filter bson.D
}

// IDType is the type of ids in documents.
type IDType string

// The types of ids. ObjectIDs are written as 24 hexadecimal digits, integers in
// decimal, strings with what a JID's local part cannot hold escaped (XEP-0106).
const (
	IDAuto     IDType = "auto" // any of those; a query asks for all that a local part may stand for
	IDObjectID IDType = "objectid"
	IDString   IDType = "string"
	IDInteger  IDType = "integer"
)

// Scheme is how passwords are kept.
type Scheme string

// The schemes.
const (
	// SchemeAuto goes by what the field looks like: text with the prefix of a hash or
	// of SCRAM keys, or a document with SCRAM keys. Anything else lets nobody in.
	SchemeAuto     Scheme = "auto"
	SchemeBcrypt   Scheme = "bcrypt"
	SchemeArgon2id Scheme = "argon2id"
	SchemePBKDF2   Scheme = "pbkdf2"
	SchemeScrypt   Scheme = "scrypt"
	SchemeSCRAM    Scheme = "scram"
	// SchemePlain needs Users.AllowPlain.
	SchemePlain Scheme = "plain"
)

// HashFields are for SchemePBKDF2 and SchemeScrypt when the password field holds the
// hash alone, and Salt names the field with its salt.
type HashFields struct {
	Salt string // "": the password field tells everything itself
	// Digest is that of PBKDF2: "sha1", "sha256" or "sha512". "": "sha256".
	Digest string
	// IterationsField names the field with the iterations of PBKDF2; Iterations is
	// for users without it.
	IterationsField string
	Iterations      int
	// N, R and P are the parameters of scrypt. 0: 16384, 8 and 1.
	N, R, P int
	// Encoding of hash and salt where they are text. "": EncodingHex.
	Encoding Encoding
}

// Encoding is how hash and salt are written in text.
type Encoding string

// The encodings. Those that end in text encode the hash alone: the salt is the bytes of
// its text.
const (
	EncodingHex        Encoding = "hex"
	EncodingBase64     Encoding = "base64"
	EncodingHexText    Encoding = "hex-text"
	EncodingBase64Text Encoding = "base64-text"
)

// Cache bounds what is kept of what was read.
type Cache struct {
	Age      time.Duration // after which an entry is read again. 0: 60 s
	Projects int           // with their members. 0: 10,000
	Users    int           // with their projects. 0: 100,000
	Bytes    int64         // of both, about. 0: 256 MiB
}

// Watch says how changes are noticed.
type Watch struct {
	Mode WatchMode // "": WatchAuto
	// Interval is how often changes are looked for by polling. 0: 5 s
	Interval time.Duration
	// Sweep is how often everything is compared although UpdatedAt or a change stream
	// tells what changes: so that a removal or an update without its date is noticed.
	// 0: 5 min
	Sweep time.Duration
}

// WatchMode is how changes are noticed.
type WatchMode string

// The modes.
const (
	WatchAuto   WatchMode = "auto" // change streams where the server has them, polling elsewhere
	WatchStream WatchMode = "stream"
	WatchPoll   WatchMode = "poll"
	WatchNone   WatchMode = "none" // only by Store.Changed and Store.Refresh
)

// withDefaults fills in what is not set.
func (c Config) withDefaults() Config {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.Timeout = cmp.Or(c.Timeout, 2*time.Second)
	c.ServerSelection = cmp.Or(c.ServerSelection, 2*time.Second)
	c.Pool = cmp.Or(c.Pool, 64)
	c.Database = cmp.Or(c.Database, databaseIn(c.URI))
	u, p := &c.Users, &c.Projects
	u.Database, p.Database = cmp.Or(u.Database, c.Database), cmp.Or(p.Database, c.Database)
	u.Collection, p.Collection = cmp.Or(u.Collection, "users"), cmp.Or(p.Collection, "projects")
	u.ID, p.ID = cmp.Or(u.ID, "_id"), cmp.Or(p.ID, "_id")
	u.IDType, p.IDType, p.MemberType = cmp.Or(u.IDType, IDAuto), cmp.Or(p.IDType, IDAuto), cmp.Or(p.MemberType, IDAuto)
	u.Password, u.Scheme = cmp.Or(u.Password, "password"), cmp.Or(u.Scheme, SchemeAuto)
	p.Members = cmp.Or(p.Members, "members")
	c.Own.Database, c.Own.Prefix = cmp.Or(c.Own.Database, c.Database, u.Database), cmp.Or(c.Own.Prefix, "rollcall_")
	h := &u.Hash
	h.Digest, h.Encoding = cmp.Or(h.Digest, "sha256"), cmp.Or(h.Encoding, EncodingHex)
	h.N, h.R, h.P = cmp.Or(h.N, 16384), cmp.Or(h.R, 8), cmp.Or(h.P, 1)
	c.Cache.Age = cmp.Or(c.Cache.Age, time.Minute)
	c.Cache.Projects, c.Cache.Users = cmp.Or(c.Cache.Projects, 10_000), cmp.Or(c.Cache.Users, 100_000)
	c.Cache.Bytes = cmp.Or(c.Cache.Bytes, 256<<20)
	c.Watch.Mode, c.Watch.Interval = cmp.Or(c.Watch.Mode, WatchAuto), cmp.Or(c.Watch.Interval, 5*time.Second)
	c.Watch.Sweep = cmp.Or(c.Watch.Sweep, 5*time.Minute)
	return c
}

// member is the path of a member's id in a project.
func (p Projects) member() string {
	if p.Member == "" {
		return p.Members
	}
	return p.Members + "." + p.Member
}

// problems collects what is wrong.
type problems []error

func (p *problems) check(ok bool, format string, args ...any) {
	if !ok {
		*p = append(*p, fmt.Errorf("mongo: "+format, args...))
	}
}

// Validate says what is wrong, all of it at once. It shows no password.
func (c Config) Validate() error {
	c = c.withDefaults()
	var p problems
	p.check(goodURI(c.URI), "the URI cannot be used")
	u, pr := c.Users, c.Projects
	p.check(u.Database != "" && pr.Database != "", "no database")
	for _, name := range c.Own.Collections() {
		p.check(c.Own.Database != u.Database || name != u.Collection, "users are in %q, which is rollcall's own", name)
		p.check(c.Own.Database != pr.Database || name != pr.Collection, "projects are in %q, which is rollcall's own", name)
	}
	p.check(c.Timeout > 0 && c.ServerSelection > 0 && c.Pool > 0, "time-outs and the pool must be positive")
	p.check(c.Cache.Age > 0 && c.Cache.Projects > 0 && c.Cache.Users > 0 && c.Cache.Bytes > 0, "the bounds of the cache must be positive")
	p.check(c.Watch.Interval > 0 && c.Watch.Sweep > 0, "intervals must be positive")
	modes := []WatchMode{WatchAuto, WatchStream, WatchPoll, WatchNone}
	p.check(slices.Contains(modes, c.Watch.Mode), "no watch mode %q", c.Watch.Mode)
	types := []IDType{IDAuto, IDObjectID, IDString, IDInteger}
	for _, t := range []IDType{u.IDType, pr.IDType, pr.MemberType} {
		p.check(slices.Contains(types, t), "no type of ids %q", t)
	}
	p.check(u.Login == "" || u.Login != u.ID, "login and id of users are the same field")
	p.fields("users", u.ID, u.Login, u.Name, u.Password, u.Blocked, u.UpdatedAt, u.Hash.Salt, u.Hash.IterationsField)
	p.fields("projects", pr.ID, pr.Name, pr.Members, pr.UpdatedAt)
	p.check(pr.Member == "" || goodPath(pr.Member), "%q is no path of a field", pr.Member)
	p.filter("users", u.Filter, u.ID, u.Login)
	p.filter("projects", pr.Filter, pr.ID, pr.Members, pr.member())
	p.passwords(u)
	return errors.Join(p...)
}

func (p *problems) passwords(u Users) {
	schemes := []Scheme{SchemeAuto, SchemeBcrypt, SchemeArgon2id, SchemePBKDF2, SchemeScrypt, SchemeSCRAM, SchemePlain}
	p.check(slices.Contains(schemes, u.Scheme), "no password scheme %q", u.Scheme)
	p.check(u.Scheme != SchemePlain || u.AllowPlain, "plain passwords are not allowed")
	for _, m := range u.Mechanisms {
		p.check(slices.Contains(scramMechanisms(), m), "no SCRAM mechanism %q", m)
	}
	p.check(len(u.Mechanisms) == 0 || u.Scheme == SchemeSCRAM, "mechanisms need the scheme %q", SchemeSCRAM)
	h := u.Hash
	p.check(h.Salt == "" || u.Scheme == SchemePBKDF2 || u.Scheme == SchemeScrypt, "a salt of its own goes with %q and %q only", SchemePBKDF2, SchemeScrypt)
	p.check(slices.Contains([]string{"sha1", "sha256", "sha512"}, h.Digest), "no digest %q", h.Digest)
	encodings := []Encoding{EncodingHex, EncodingBase64, EncodingHexText, EncodingBase64Text}
	p.check(slices.Contains(encodings, h.Encoding), "no encoding %q", h.Encoding)
	if h.Salt != "" && u.Scheme == SchemePBKDF2 {
		p.check(h.IterationsField != "" || h.Iterations > 0, "pbkdf2 needs iterations")
	}
	p.check(h.Iterations >= 0 && h.N > 1 && h.N&(h.N-1) == 0 && h.R > 0 && h.P > 0, "parameters of a hash make no sense")
}

// fields checks paths: a query may not ask for a field and a part of it.
func (p *problems) fields(of string, paths ...string) {
	paths = slices.DeleteFunc(slices.Clone(paths), func(s string) bool { return s == "" })
	for i, a := range paths {
		p.check(goodPath(a), "%q is no path of a field of %s", a, of)
		for _, b := range paths[i+1:] {
			p.check(!within(a, b) && !within(b, a), "fields %q and %q of %s are one within the other", a, b, of)
		}
	}
}

// filter checks that a filter leaves alone what queries ask for themselves.
func (p *problems) filter(of string, filter bson.D, own ...string) {
	for _, e := range filter {
		p.check(!slices.Contains(own, e.Key), "the filter of %s is about %q", of, e.Key)
	}
	if filter == nil {
		return
	}
	if _, err := bson.Marshal(filter); err != nil {
		p.check(false, "the filter of %s: %v", of, err)
	}
}

// within reports whether path names a strict part of whole.
func within(path, whole string) bool { return strings.HasPrefix(path, whole+".") }

func goodPath(path string) bool {
	for part := range strings.SplitSeq(path, ".") {
		if part == "" || part[0] == '$' || strings.ContainsRune(part, 0) {
			return false
		}
	}
	return true
}

// goodURI leaves what needs a look into the DNS to Open. Why a URI is bad stays
// unsaid: the driver's words may show the password.
func goodURI(uri string) bool {
	if rest, ok := strings.CutPrefix(uri, "mongodb+srv://"); ok {
		return rest != ""
	}
	return strings.HasPrefix(uri, "mongodb://") && options.Client().ApplyURI(uri).Validate() == nil
}

// databaseIn is the database that a URI names, if it does.
func databaseIn(uri string) string {
	_, rest, _ := strings.Cut(uri, "://")
	_, path, _ := strings.Cut(rest[strings.LastIndexByte(rest, '@')+1:], "/")
	path, _, _ = strings.Cut(path, "?")
	name, err := url.PathUnescape(path)
	if err != nil {
		return ""
	}
	return name
}

func scramMechanisms() []string { return []string{"SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512"} }
