package conf

import (
	"time"
)

// Mongo is the product's own store of users and projects. Nothing is written to its
// collections but, if permitted, indexes; what users own in rollcall is in collections of
// rollcall's own beside them. Fields are paths with dots.
type Mongo struct {
	URI string `yaml:"uri"` // without a password; see Config.MongoURI
	// URIFile may be empty. Load makes it relative to the configuration file's folder.
	URIFile         string        `yaml:"uri_file"`
	Database        string        `yaml:"database"` // empty for the one that the URI names
	Timeout         time.Duration `yaml:"timeout"`  // of each operation
	ServerSelection time.Duration `yaml:"server_selection"`
	Pool            int           `yaml:"pool"` // most connections to each server
	CreateIndexes   bool          `yaml:"create_indexes"`
	Users           MongoUsers    `yaml:"users"`
	Projects        MongoProjects `yaml:"projects"`
	Own             MongoOwn      `yaml:"own"`
	Cache           MongoCache    `yaml:"cache"`
	Watch           MongoWatch    `yaml:"watch"`
}

// MongoUsers says where users are.
type MongoUsers struct {
	Database   string      `yaml:"database"` // empty for Mongo.Database
	Collection string      `yaml:"collection"`
	ID         string      `yaml:"id"`
	IDType     MongoIDType `yaml:"id_type" enum:"auto objectid string integer"`
	Login      string      `yaml:"login"` // empty: users log in with ID
	Name       string      `yaml:"name"`  // empty: users have no names
	Password   string      `yaml:"password"`
	Scheme     MongoScheme `yaml:"scheme" enum:"auto bcrypt argon2id pbkdf2 scrypt scram plain"`
	AllowPlain bool        `yaml:"allow_plain"`
	Hash       MongoHash   `yaml:"hash"`
	Mechanisms []string    `yaml:"mechanisms"` // of SCRAM; only with SchemeSCRAM
	Blocked    string      `yaml:"blocked"`    // empty for none
	UpdatedAt  string      `yaml:"updated_at"` // empty for none
	Filter     Document    `yaml:"filter"`
}

// MongoHash is for hashes that do not say themselves how they were made: those of
// SchemePBKDF2 and SchemeScrypt with a salt in a field of its own.
type MongoHash struct {
	Salt            string        `yaml:"salt"` // empty: the password field says everything
	Digest          string        `yaml:"digest" enum:"sha1 sha256 sha512"`
	IterationsField string        `yaml:"iterations_field"` // empty for none
	Iterations      int           `yaml:"iterations"`       // of users without that field
	N               int           `yaml:"n"`                // N, R and P are scrypt's
	R               int           `yaml:"r"`
	P               int           `yaml:"p"`
	Encoding        MongoEncoding `yaml:"encoding" enum:"hex base64 hex-text base64-text"`
}

// MongoProjects says where projects are.
type MongoProjects struct {
	Database   string      `yaml:"database"` // empty for Mongo.Database
	Collection string      `yaml:"collection"`
	ID         string      `yaml:"id"`
	IDType     MongoIDType `yaml:"id_type" enum:"auto objectid string integer"`
	Name       string      `yaml:"name"`    // empty: projects have no names
	Members    string      `yaml:"members"` // an array of ids or, with Member, of documents
	Member     string      `yaml:"member"`  // in each document of Members
	MemberType MongoIDType `yaml:"member_type" enum:"auto objectid string integer"`
	UpdatedAt  string      `yaml:"updated_at"` // empty for none
	Filter     Document    `yaml:"filter"`
}

// MongoOwn says where rollcall keeps what users own.
type MongoOwn struct {
	Database string `yaml:"database"` // empty for Mongo.Database, or that of the users
	Prefix   string `yaml:"prefix"`   // of the collections' names; no other collection there begins with it
}

// MongoCache bounds what is remembered of MongoDB.
type MongoCache struct {
	Age      time.Duration `yaml:"age"`      // after which an entry is read again
	Projects int           `yaml:"projects"` // with their members
	Users    int           `yaml:"users"`    // with their projects
	Bytes    Size          `yaml:"bytes"`    // of both, about
}

// MongoWatch says how changes that the product makes are noticed.
type MongoWatch struct {
	Mode     MongoWatchMode `yaml:"mode" enum:"auto stream poll none"`
	Interval time.Duration  `yaml:"interval"` // of polling
	Sweep    time.Duration  `yaml:"sweep"`    // of comparing everything; not shorter than Interval
}

// MongoIDType is the type of ids in documents.
type MongoIDType string

// IDAuto is any type of id.
const IDAuto MongoIDType = "auto"

// MongoEncoding is how hashes and salts are written.
type MongoEncoding string

// EncodingHex is hexadecimal digits.
const EncodingHex MongoEncoding = "hex"

// MongoScheme is how passwords are kept.
type MongoScheme string

// The schemes that the checks know; auto goes by what a hash looks like.
const (
	SchemeAuto   MongoScheme = "auto"
	SchemePBKDF2 MongoScheme = "pbkdf2"
	SchemeScrypt MongoScheme = "scrypt"
	SchemeSCRAM  MongoScheme = "scram"
	SchemePlain  MongoScheme = "plain"
)

// MongoWatchMode is how changes are noticed.
type MongoWatchMode string

// The modes.
const (
	WatchAuto   MongoWatchMode = "auto"   // stream where the server can, else poll
	WatchStream MongoWatchMode = "stream" // change streams
	WatchPoll   MongoWatchMode = "poll"
	WatchNone   MongoWatchMode = "none" // only what is told
)

func defaultMongo() Mongo {
	return Mongo{
		URI: "mongodb://127.0.0.1:27017", Timeout: 2 * time.Second, ServerSelection: 2 * time.Second, Pool: 32,
		Users: MongoUsers{
			Collection: "users", ID: "_id", IDType: IDAuto, Name: "name", Password: "password", Scheme: SchemeAuto,
			Hash:       MongoHash{Digest: "sha256", N: 16384, R: 8, P: 1, Encoding: EncodingHex},
			Mechanisms: []string{}, Filter: Document{},
		},
		Projects: MongoProjects{
			Collection: "projects", ID: "_id", IDType: IDAuto, Name: "name", Members: "members", MemberType: IDAuto,
			Filter: Document{},
		},
		Own:   MongoOwn{Prefix: "rollcall_"},
		Cache: MongoCache{Age: time.Minute, Projects: 10_000, Users: 100_000, Bytes: 256 * MiB},
		Watch: MongoWatch{Mode: WatchAuto, Interval: 5 * time.Second, Sweep: 5 * time.Minute},
	}
}
