package conf

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

func checkMongo(c *Config, r *report) {
	const path = "storage.mongo"
	m := &c.Storage.Mongo
	used := c.Storage.Users == UsersMongo
	checkMongoURI(m, used, r)
	checkDatabase(r, path+".database", m.Database)
	checkDatabase(r, path+".users.database", m.Users.Database)
	checkDatabase(r, path+".projects.database", m.Projects.Database)
	own := m.Users.Database != "" && m.Projects.Database != ""
	if used && m.Database == "" && !own && m.URIFile == "" && mongoDatabase(m.URI) == "" {
		r.add(path+".database", "missing: name the database with the users and projects")
	}
	between(r, path+".timeout", m.Timeout, 100*time.Millisecond, 10*time.Second)
	between(r, path+".server_selection", m.ServerSelection, 100*time.Millisecond, 10*time.Second)
	between(r, path+".pool", m.Pool, 1, 1000)
	checkMongoUsers(&m.Users, r)
	checkMongoProjects(&m.Projects, r)
	checkMongoOwn(m, r)
	between(r, path+".cache.age", m.Cache.Age, time.Second, time.Hour)
	between(r, path+".cache.projects", m.Cache.Projects, 100, 10_000_000)
	between(r, path+".cache.users", m.Cache.Users, 100, 10_000_000)
	between(r, path+".cache.bytes", m.Cache.Bytes, MiB, 64*GiB)
	between(r, path+".watch.interval", m.Watch.Interval, time.Second, time.Hour)
	between(r, path+".watch.sweep", m.Watch.Sweep, 10*time.Second, 24*time.Hour)
	if m.Watch.Sweep < m.Watch.Interval && !r.bad[path+".watch.interval"] {
		r.add(path+".watch.sweep", "%s is shorter than storage.mongo.watch.interval, %s", show(m.Watch.Sweep), show(m.Watch.Interval))
	}
}

func checkMongoURI(m *Mongo, used bool, r *report) {
	const path = "storage.mongo.uri"
	switch {
	case m.URI == "" && m.URIFile == "" && used:
		r.add(path, "empty: write it as in mongodb://db.example.org:27017, or name a uri_file")
	case m.URI == "":
	case mongoURIProblem(m.URI) != "":
		r.add(path, "%s", mongoURIProblem(m.URI))
	case mongoPassword(m.URI):
		r.add(path, "there is a password in it, which does not belong into this file: write the address into a file of its own and name that as uri_file, or put it into the environment variable %s", MongoURIVariable)
	}
}

func checkMongoUsers(u *MongoUsers, r *report) {
	const path = "storage.mongo.users"
	checkCollection(r, path+".collection", u.Collection)
	checkFields(r, path, []field{
		{"id", u.ID, true}, {"login", u.Login, false}, {"name", u.Name, false}, {"password", u.Password, true},
		{"hash.salt", u.Hash.Salt, false}, {"hash.iterations_field", u.Hash.IterationsField, false},
		{"blocked", u.Blocked, false}, {"updated_at", u.UpdatedAt, false},
	})
	checkFilter(r, path, u.Filter, u.ID, u.Login)
	if u.Scheme == SchemePlain && !u.AllowPlain {
		r.add(path+".scheme", "plain means that whoever reads the database can log in as anybody: keep hashes there, or say allow_plain: true")
	}
	known := []string{"SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512"}
	for i, name := range u.Mechanisms {
		if !slices.Contains(known, name) {
			r.add(fmt.Sprintf("%s.mechanisms[%d]", path, i), "%s is not known: write %s", quote(name), alternatives(known))
		}
	}
	if len(u.Mechanisms) > 0 && u.Scheme != SchemeSCRAM && !r.bad[path+".scheme"] {
		r.add(path+".mechanisms", "only with scheme: scram can it be said that every user has keys for them")
	}
	checkMongoHash(&u.Hash, u.Scheme, r)
}

func checkMongoHash(h *MongoHash, scheme MongoScheme, r *report) {
	const path = "storage.mongo.users.hash"
	between(r, path+".iterations", h.Iterations, 0, 5_000_000)
	between(r, path+".n", h.N, 2, 1<<20)
	between(r, path+".r", h.R, 1, 64)
	between(r, path+".p", h.P, 1, 64)
	if h.N&(h.N-1) != 0 {
		r.add(path+".n", "%d is not a power of two", h.N)
	}
	// What a login may cost the server; internal/auth refuses more.
	if memory := 128 * h.N * h.R; (memory > 256<<20 || memory*h.P > 512<<20) && !r.bad[path+".n"] && !r.bad[path+".r"] && !r.bad[path+".p"] {
		r.add(path+".n", "scrypt with n %d, r %d and p %d costs more for a login than is permitted: 128 n r up to 256 MiB, and p times that up to 512 MiB", h.N, h.R, h.P)
	}
	if h.Salt == "" {
		return
	}
	if scheme != SchemePBKDF2 && scheme != SchemeScrypt && !r.bad["storage.mongo.users.scheme"] {
		r.add(path+".salt", "has no effect where scheme is %s: remove it, or write pbkdf2 or scrypt", scheme)
	}
	if scheme == SchemePBKDF2 && h.Iterations == 0 && h.IterationsField == "" {
		r.add(path+".iterations", "missing: how often was a password hashed? Write the number, or name the iterations_field")
	}
}

func checkMongoProjects(p *MongoProjects, r *report) {
	const path = "storage.mongo.projects"
	checkCollection(r, path+".collection", p.Collection)
	checkFields(r, path, []field{
		{"id", p.ID, true}, {"name", p.Name, false}, {"members", p.Members, true}, {"updated_at", p.UpdatedAt, false},
	})
	if problem := fieldProblem(p.Member); p.Member != "" && problem != "" {
		r.add(path+".member", "%s", problem)
	}
	checkFilter(r, path, p.Filter, p.ID, p.Members, p.Members+"."+p.Member)
}

// checkMongoOwn keeps rollcall's own collections and the product's apart.
func checkMongoOwn(m *Mongo, r *report) {
	const path = "storage.mongo.own"
	checkDatabase(r, path+".database", m.Own.Database)
	if m.Own.Prefix == "" {
		r.add(path+".prefix", "missing: say what the names of rollcall's own collections begin with")
		return
	}
	checkCollection(r, path+".prefix", m.Own.Prefix)
	own := cmp.Or(m.Own.Database, m.Database, m.Users.Database)
	for _, of := range []struct{ key, database, collection string }{
		{"users", m.Users.Database, m.Users.Collection}, {"projects", m.Projects.Database, m.Projects.Collection},
	} {
		if cmp.Or(of.database, m.Database) == own && strings.HasPrefix(of.collection, m.Own.Prefix) {
			r.add(path+".prefix", "the collection %s of your product begins with it: choose another one", quote(of.collection))
		}
	}
}

func checkDatabase(r *report, path, name string) {
	odd := func(r rune) bool { return r <= ' ' || strings.ContainsRune(`/\."$*<>:|?`, r) }
	if len(name) > 63 || strings.ContainsFunc(name, odd) {
		r.add(path, "%s cannot be the name of a database", quote(name))
	}
}

func checkCollection(r *report, path, name string) {
	switch {
	case name == "":
		r.add(path, "missing: name a collection")
	case len(name) > 120 || strings.ContainsAny(name, "$\x00") || strings.HasPrefix(name, "system."):
		r.add(path, "%s cannot be the name of a collection", quote(name))
	}
}

// field is an option that names a field.
type field struct {
	key, name string
	needed    bool
}

// checkFields notes what cannot be a field of a document, needed ones that are
// missing, and any that lies within another, as a query cannot ask for both.
func checkFields(r *report, path string, fields []field) {
	for i, f := range fields {
		here := path + "." + f.key
		if f.name == "" {
			if f.needed {
				r.add(here, "missing: name a field")
			}
			continue
		}
		if problem := fieldProblem(f.name); problem != "" {
			r.add(here, "%s", problem)
			continue
		}
		for _, g := range fields[:i] {
			// A second name for the id would be no login name.
			same := f.name == g.name && f.key == "login"
			if same || g.name != "" && (strings.HasPrefix(f.name, g.name+".") || strings.HasPrefix(g.name, f.name+".")) {
				r.addEither(here, path+"."+g.key, quote(f.name))
				break
			}
		}
	}
}

func fieldProblem(name string) string {
	odd := len(name) > 255 || !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl)
	for part := range strings.SplitSeq(name, ".") {
		odd = odd || part == "" || part[0] == '$'
	}
	if odd {
		return fmt.Sprintf("%s cannot be a field: write its name, with dots for one within another, as in profile.name", quote(name))
	}
	return ""
}

// checkFilter notes filters on what queries ask for themselves.
func checkFilter(r *report, path string, filter Document, own ...string) {
	for _, e := range filter {
		if slices.Contains(own, e.Key) {
			r.add(path+".filter", "%s is what the queries ask for themselves: filter by other fields", quote(e.Key))
		}
	}
}

// mongoURIProblem says why uri is not where MongoDB is, without showing it.
func mongoURIProblem(uri string) string {
	const hint = ": write it as in mongodb://db.example.org:27017"
	rest, plain := strings.CutPrefix(uri, "mongodb://")
	if !plain {
		rest, _ = strings.CutPrefix(uri, "mongodb+srv://")
	}
	switch {
	case uri == "":
		return "there is no address in it" + hint
	case len(uri) > maxSecret:
		return "the address is too long" + hint
	case rest == uri:
		return "the address does not begin with mongodb:// or mongodb+srv://" + hint
	case strings.ContainsFunc(uri, func(r rune) bool { return r <= ' ' || unicode.IsControl(r) }):
		return "there is a blank or a control character in the address, which is written as %20 and the like"
	case rest == "" || strings.ContainsAny(rest[:1], "/?@"):
		return "the address names no server" + hint
	}
	return ""
}

// authority is what stands in an address between the scheme and the next / or ?, with
// what follows. Several servers may be named in it, so that it is no URL to net/url; a
// password may contain anything.
func authority(uri string) (servers, rest string) {
	_, uri, _ = strings.Cut(uri, "://")
	begin := strings.LastIndexByte(uri, '@') + 1
	if i := strings.IndexAny(uri[begin:], "/?"); i >= 0 {
		return uri[:begin+i], uri[begin+i:]
	}
	return uri, ""
}

// mongoPassword reports whether an address holds a password.
func mongoPassword(uri string) bool {
	servers, rest := authority(uri)
	at := strings.LastIndexByte(servers, '@')
	return at >= 0 && strings.ContainsRune(servers[:at], ':') || strings.Contains(strings.ToLower(rest), "password=")
}

// MongoServers is what an address shows to others: the servers in it.
func MongoServers(uri string) string {
	servers, _ := authority(uri)
	if at := strings.LastIndexByte(servers, '@'); at >= 0 {
		return servers[at+1:]
	}
	_, servers, _ = strings.Cut(servers, "://")
	return servers
}

// mongoDatabase is the database that an address names, or "".
func mongoDatabase(uri string) string {
	_, rest := authority(uri)
	name, _, _ := strings.Cut(strings.TrimPrefix(rest, "/"), "?")
	return name
}
