// Package storage is the door between rollcall and what it keeps: records,
// sentinel errors and one small interface per need. Back ends live in the
// folders below it; each passes the suites of storagetest.
//
// Every method takes a context first and returns when it ends. A back end that
// cannot be reached returns an error that wraps ErrUnavailable, so that callers
// can answer "try again" instead of "no". All methods are safe for concurrent
// use.
package storage

import (
	"context"
	"errors"
	"time"
)

var (
	// ErrNotFound says that the user or project named does not exist.
	ErrNotFound = errors.New("storage: not found")
	// ErrExists says that a record of that id exists already.
	ErrExists = errors.New("storage: exists already")
	// ErrInvalid says that a record breaks the rules of its type; the error
	// wrapping it says which.
	ErrInvalid = errors.New("storage: invalid record")
	// ErrBlocked says that a user exists and may not log in. The credentials come
	// with it, so that only who knows the password is told (RFC 6120 section 6.5.2,
	// account-disabled). Other calls answer as if there were no such user.
	ErrBlocked = errors.New("storage: blocked")
	// ErrUnavailable says that the store cannot be reached now; the same call
	// may succeed later.
	ErrUnavailable = errors.New("storage: unavailable")
)

// MaxName is the longest name of a user or project in bytes: names go out with
// every roster.
const MaxName = 2048

// User is a person who can log in.
type User struct {
	// ID is the JID local part, in the form RFC 7622 section 3.3 prescribes.
	ID string
	// Name is shown to others; it may be empty, and has at most MaxName bytes.
	Name string
}

// Project is what makes people see each other: its members are each other's
// contacts.
type Project struct {
	// ID is the local part of the project's own JID, in the form RFC 7622
	// section 3.3 prescribes.
	ID string
	// Name is shown to members; it may be empty, and has at most MaxName bytes.
	Name string
}

// SCRAMKeys are what RFC 5802 section 3 lets a server keep instead of a
// password, for one hash function.
type SCRAMKeys struct {
	// Mechanism is "SCRAM-SHA-1", "SCRAM-SHA-256" or "SCRAM-SHA-512".
	Mechanism  string
	Salt       []byte
	Iterations int
	StoredKey  []byte
	ServerKey  []byte
}

// Credentials are what a store keeps to check a user's password. At least one
// field is set.
type Credentials struct {
	// SCRAM holds keys per mechanism, in no particular order.
	SCRAM []SCRAMKeys
	// Hash is a password hash that says itself how it was made: see auth.Hashed for
	// the schemes.
	Hash string
	// Plain is the password itself. Only stores that were told to allow it have it.
	Plain string
}

// Users finds users and what their passwords are checked against.
type Users interface {
	// User returns the user of that id, or ErrNotFound.
	User(ctx context.Context, id string) (User, error)
	// Credentials returns what to check the user's password against, or
	// ErrNotFound. With ErrBlocked it returns both.
	Credentials(ctx context.Context, id string) (Credentials, error)
	// Mechanisms lists the SCRAM mechanisms that every user's credentials can
	// serve, so that nothing else is advertised. PLAIN always works. The list never
	// changes.
	Mechanisms() []string
}

// Projects finds projects and who belongs to them.
type Projects interface {
	// Project returns the project of that id, or ErrNotFound.
	Project(ctx context.Context, id string) (Project, error)
	// ProjectsOf lists the projects the user belongs to, ordered by id. An
	// unknown user belongs to none.
	ProjectsOf(ctx context.Context, userID string) ([]Project, error)
	// Members lists the members of a project, ordered by id, or ErrNotFound.
	Members(ctx context.Context, projectID string) ([]User, error)
}

// ChangeKind says what a Change is about.
type ChangeKind int

// The kinds of change.
const (
	// MemberAdded says that User now belongs to Project.
	MemberAdded ChangeKind = iota + 1
	// MemberRemoved says that User no longer belongs to Project.
	MemberRemoved
	// UserRemoved says that User is gone. MemberRemoved for each of the user's
	// projects comes before it.
	UserRemoved
	// UserChanged says that User has another name or password.
	UserChanged
	// ProjectRemoved says that Project is gone. MemberRemoved for each of its
	// members comes before it.
	ProjectRemoved
	// ProjectChanged says that Project has another name.
	ProjectChanged
)

// Change is one committed change of users, projects or memberships.
type Change struct {
	Kind    ChangeKind
	User    string // user id; empty for ProjectRemoved and ProjectChanged
	Project string // project id; empty for UserRemoved and UserChanged
}

// Watcher tells what changes, whoever changed it, other processes included.
type Watcher interface {
	// Watch calls f for every change committed after Watch was called, in the
	// order of commits, one at a time, until ctx ends; then it returns nil. A
	// change is told within a second, or within the interval that the back end
	// was told to look at. It returns an error only when watching cannot go on.
	Watch(ctx context.Context, f func(Change)) error
}

// Record is a user or a project with everything that an import sets. Exactly
// one of the two is set.
type Record struct {
	User    *UserRecord
	Project *ProjectRecord
}

// UserRecord is a user with new credentials; nil credentials leave those of an
// existing user as they are.
type UserRecord struct {
	User
	Credentials *Credentials
}

// ProjectRecord is a project with all its members.
type ProjectRecord struct {
	Project
	Members []string // user ids
}

// Admin changes users, projects and memberships. Only the embedded store has
// it: elsewhere they belong to the product.
type Admin interface {
	// AddUser adds a user, or returns ErrExists.
	AddUser(ctx context.Context, u UserRecord) error
	// SetCredentials replaces a user's credentials, or returns ErrNotFound.
	SetCredentials(ctx context.Context, userID string, c Credentials) error
	// RemoveUser removes a user and their memberships, or returns ErrNotFound.
	RemoveUser(ctx context.Context, userID string) error
	// Users lists all users, ordered by id.
	Users(ctx context.Context) ([]User, error)
	// AddProject adds a project without members, or returns ErrExists.
	AddProject(ctx context.Context, p Project) error
	// RemoveProject removes a project and its memberships, or returns
	// ErrNotFound.
	RemoveProject(ctx context.Context, projectID string) error
	// Projects lists all projects, ordered by id.
	Projects(ctx context.Context) ([]Project, error)
	// Join makes the user a member; it returns ErrNotFound when either is
	// unknown, and nil when the user was a member already.
	Join(ctx context.Context, projectID, userID string) error
	// Leave ends a membership; it returns ErrNotFound when there is none.
	Leave(ctx context.Context, projectID, userID string) error
	// Import makes every record hold, all or none: users and projects are
	// added or updated, a project's members become exactly those named.
	// Records that are not named stay as they are. Running it twice changes
	// nothing. A member that is no user is ErrInvalid.
	Import(ctx context.Context, records []Record) error
}

// Show is a connection's or a user's state as the product's web application
// reads it.
type Show int

// The states; the numbers are part of the contract with the web application.
const (
	Offline Show = 0 // not available, or invisible
	Online  Show = 1 // available, no show or chat
	Busy    Show = 2 // dnd
	Leave   Show = 3 // away or xa
)

// ConnState is what one connection last said of itself.
type ConnState struct {
	// Conn identifies the connection within this node; it is never used twice.
	Conn     string
	User     string // user id
	Resource string
	Show     Show // Offline while unavailable or invisible
	Priority int8
	At       time.Time // when the user said so; ties are broken by the order of calls
}

// PresenceChange is what one call to a Presence store did to a user's
// aggregate: the state of the available, visible connection with the highest
// priority, the latest change winning among equals; Offline when there is none.
type PresenceChange struct {
	Old, New Show
	// Rev grows with every call that changed any aggregate; it never shrinks
	// within the life of the store.
	Rev uint64
	// Nodes are the other nodes where members of the user's projects are connected.
	// A store of one process has none.
	Nodes []string
}

// OnlineUser is a member of a project's online set.
type OnlineUser struct {
	ID   string
	Show Show // never Offline
}

// Presence keeps who is online. A user whose aggregate is not Offline is in the
// online set of each project named at the time the user came online, plus those
// joined and minus those left since.
type Presence interface {
	// Set records what a connection says of itself. projects are the ids of the
	// user's projects; they matter only when the user comes online by this call.
	Set(ctx context.Context, c ConnState, projects []string) (PresenceChange, error)
	// Remove forgets a connection. Unknown connections change nothing.
	Remove(ctx context.Context, user, conn string) (PresenceChange, error)
	// Join and Leave change one project's online set for a user who is online;
	// for others they do nothing.
	Join(ctx context.Context, user, project string) error
	Leave(ctx context.Context, user, project string) error
	// Status returns the aggregates of the users named, in their order.
	Status(ctx context.Context, users []string) ([]Show, error)
	// OnlineIn returns a project's online set ordered by user id, and the
	// store's revision at that moment.
	OnlineIn(ctx context.Context, project string) ([]OnlineUser, uint64, error)
}
