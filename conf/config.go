// Package conf is the configuration of rollcall: its tree, its defaults, strict
// loading from YAML, and validation that reports every problem at once with its
// place in the file. The file rollcall.yml in this folder explains each option to
// an operator; the comments here say what the code may rely on.
//
// A Config that Parse, Load or Default returned is valid: consumers do not check
// its values again.
package conf

import (
	"path/filepath"
	"strings"
	"time"
)

// Config is the whole tree. The yaml tags are the keys of the file, the enum tags
// the values that a key may have.
type Config struct {
	Hosts            []string         `yaml:"hosts"`    // virtual hosts, canonical domains (RFC 7622), at least one
	DataDir          string           `yaml:"data_dir"` // Load makes it relative to the file's folder
	Log              Log              `yaml:"log"`
	TLS              TLS              `yaml:"tls"`
	Listen           Listen           `yaml:"listen"`
	Auth             Auth             `yaml:"auth"`
	Limits           Limits           `yaml:"limits"`
	Session          Session          `yaml:"session"`
	StreamManagement StreamManagement `yaml:"stream_management"`
	BOSH             BOSH             `yaml:"bosh"`
	WebSocket        WebSocket        `yaml:"websocket"`
	Storage          Storage          `yaml:"storage"`
	Cluster          Cluster          `yaml:"cluster"`
	Modules          Modules          `yaml:"modules"`
	Memory           Memory           `yaml:"memory"`
}

// Log says what is logged and how.
type Log struct {
	Level  LogLevel  `yaml:"level" enum:"debug info warn error"`
	Format LogFormat `yaml:"format" enum:"text json"`
}

// TLS is the one TLS configuration of all listeners.
type TLS struct {
	// Certificates may be empty: a self-signed one is then made in DataDir.
	Certificates []Certificate `yaml:"certificates"`
	MinVersion   TLSVersion    `yaml:"min_version" enum:"1.2 1.3"`
}

// Certificate is a PEM chain and its private key. Load makes both paths relative
// to the configuration file's folder.
type Certificate struct {
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

// Listen holds all listening addresses.
type Listen struct {
	TCP  []TCPListener  `yaml:"tcp"`
	HTTP []HTTPListener `yaml:"http"`
	// Components may be empty.
	Components []ComponentListener `yaml:"components"`
	Metrics    string              `yaml:"metrics"` // host:port; empty for none
	// Profiles is a loopback host:port; empty for none.
	Profiles string `yaml:"profiles"`
}

// TCPListener accepts XMPP over TCP (RFC 6120).
type TCPListener struct {
	Address         string  `yaml:"address"` // host:port; no host means every address
	TLS             TLSMode `yaml:"tls" enum:"starttls direct none"`
	RequireTLS      bool    `yaml:"require_tls"`       // no SASL before TLS
	PlainWithoutTLS bool    `yaml:"plain_without_tls"` // offer SASL PLAIN on an unencrypted stream
	LegacyAuth      bool    `yaml:"legacy_auth"`       // XEP-0078
	Bench           bool    `yaml:"bench"`             // for load generators
	AllowInsecure   bool    `yaml:"allow_insecure"`
}

// HTTPListener accepts BOSH (XEP-0124), WebSocket (RFC 7395) and what goes with
// them. TLS is TLSDirect or TLSNone.
type HTTPListener struct {
	Address         string  `yaml:"address"`
	TLS             TLSMode `yaml:"tls" enum:"direct none"`
	PlainWithoutTLS bool    `yaml:"plain_without_tls"`
	LegacyAuth      bool    `yaml:"legacy_auth"` // XEP-0078
	AllowInsecure   bool    `yaml:"allow_insecure"`
	BOSH            bool    `yaml:"bosh"`      // at /http-bind
	WebSocket       bool    `yaml:"websocket"` // at /xmpp-websocket
	Bench           bool    `yaml:"bench"`     // for load generators
	Prebind         bool    `yaml:"prebind"`   // POST /prebind
	HostMeta        bool    `yaml:"host_meta"` // XEP-0156
	// PublicURL is the scheme and host that clients use, without a path and in
	// lower case; empty to take it from each request.
	PublicURL string `yaml:"public_url"`
	Demo      bool   `yaml:"demo"`
	// TrustedProxies are IP addresses and CIDR prefixes, in a form that
	// netip.ParseAddr or netip.ParsePrefix accepts; Prefixes parses them.
	TrustedProxies []string `yaml:"trusted_proxies"`
}

// Auth bounds authentication.
type Auth struct {
	SCRAMIterations int `yaml:"scram_iterations"` // at least 4096 (RFC 7677 section 4)
	Attempts        int `yaml:"attempts"`         // failed SASL attempts before the stream is closed

	Anonymous Anonymous `yaml:"anonymous"`
}

// Limits bounds what one client may cost.
type Limits struct {
	LoginTime   time.Duration `yaml:"login_time"`   // from connecting to bound resource
	LoginBytes  Size          `yaml:"login_bytes"`  // bytes before authentication
	StanzaBytes Size          `yaml:"stanza_bytes"` // one top-level element
	Depth       int           `yaml:"depth"`        // nested elements in a stanza
	Attributes  int           `yaml:"attributes"`   // of one element
	OutboxBytes Size          `yaml:"outbox_bytes"` // waiting for a slow reader
	Directed    int           `yaml:"directed"`     // addresses a session remembers having sent directed presence
	Resources   int           `yaml:"resources"`    // connections of one account
}

// Session is the life of bound sessions.
type Session struct {
	ResourceConflict ResourceConflict `yaml:"resource_conflict" enum:"replace refuse rename"`
	ShutdownTime     time.Duration    `yaml:"shutdown_time"`
	Coalesce         time.Duration    `yaml:"coalesce"` // how long presence waits for more amid a storm of it; 0 for not
}

// StreamManagement is XEP-0198 over TCP and WebSocket.
type StreamManagement struct {
	Enabled   bool          `yaml:"enabled"`
	Max       time.Duration `yaml:"max"`        // how long a session waits for its client to resume it; whole seconds, 0 for not
	AwayAfter time.Duration `yaml:"away_after"` // of waiting, until it is shown away; 0 for never
	// Queue and QueueBytes bound what was sent and not acknowledged, and what waits for
	// the client to come back; of the bytes never more than three quarters of
	// Limits.OutboxBytes.
	Queue      int  `yaml:"queue"`
	QueueBytes Size `yaml:"queue_bytes"`
	// Probes are the times that a client has to answer a request for acknowledgement
	// before it is asked again; after the last one it is taken for gone.
	Probes []time.Duration `yaml:"probes"`
	// AckDelay is how long an acknowledgement waits for the receivers to acknowledge
	// first; 0 for not.
	AckDelay time.Duration `yaml:"ack_delay"`
	Detached int           `yaml:"detached"` // sessions of one account that wait for their clients
}

// Storage chooses a back end for each need.
type Storage struct {
	Users    UserStore     `yaml:"users" enum:"sqlite mongo"` // and of projects
	Presence PresenceStore `yaml:"presence" enum:"memory redis"`
	SQLite   SQLite        `yaml:"sqlite"`
	Redis    Redis         `yaml:"redis"`
	Mongo    Mongo         `yaml:"mongo"`
}

// SQLite is the embedded store of users and projects.
type SQLite struct {
	Path      string    `yaml:"path"` // relative to DataDir; see Config.SQLitePath
	Passwords Passwords `yaml:"passwords" enum:"scram plain"`
}

// Modules holds one entry per module.
type Modules struct {
	Projects Projects `yaml:"projects"`
	Roster   Roster   `yaml:"roster"`
	Disco    Module   `yaml:"disco"`
	Ping     Ping     `yaml:"ping"`
	Commands Commands `yaml:"commands"`
	Register Register `yaml:"register"`
	Private  Private  `yaml:"private"`
	VCard    VCard    `yaml:"vcard"`
	Version  Version  `yaml:"version"`
	Time     Module   `yaml:"time"`
	Carbons  Module   `yaml:"carbons"`
	Blocking Blocking `yaml:"blocking"`
	CSI      Module   `yaml:"csi"`
	Caps     Module   `yaml:"caps"`
	Last     Module   `yaml:"last"`
	Offline  Offline  `yaml:"offline"`
	StanzaID Module   `yaml:"stanza_id"`
	Example  Example  `yaml:"example"`
}

// Module is a module that can only be on or off.
type Module struct {
	Enabled bool `yaml:"enabled"`
}

// Projects is modules/projects.
type Projects struct {
	Enabled     bool          `yaml:"enabled"`
	Host        string        `yaml:"host"` // pattern for ServiceHost
	Grace       time.Duration `yaml:"grace"`
	LegacyShows bool          `yaml:"legacy_shows"`
}

// Roster is modules/roster (RFC 6121 sections 2 and 3).
type Roster struct {
	Enabled bool `yaml:"enabled"`
	Items   int  `yaml:"items"` // contacts of a user's own, beside the people of the projects
}

// Ping is modules/ping (XEP-0199).
type Ping struct {
	Enabled  bool          `yaml:"enabled"`
	Interval time.Duration `yaml:"interval"` // of silence before the server pings; 0 for never
	Timeout  time.Duration `yaml:"timeout"`  // shorter than Interval
}

// Version is modules/version (XEP-0092).
type Version struct {
	Enabled bool `yaml:"enabled"`
	ShowOS  bool `yaml:"show_os"`
}

// Blocking is modules/blocking (XEP-0191).
type Blocking struct {
	Enabled  bool `yaml:"enabled"`
	Contacts int  `yaml:"contacts"` // addresses that one user may block
}

// Example is modules/example.
type Example struct {
	Enabled  bool   `yaml:"enabled"`
	Greeting string `yaml:"greeting"`
}

// LogLevel is the least severe level that is logged.
type LogLevel string

// The log levels.
const (
	LogDebug LogLevel = "debug"
	LogInfo  LogLevel = "info"
	LogWarn  LogLevel = "warn"
	LogError LogLevel = "error"
)

// LogFormat is the form of a log line.
type LogFormat string

// The log formats.
const (
	LogText LogFormat = "text"
	LogJSON LogFormat = "json"
)

// TLSVersion is a protocol version that may be demanded of clients.
type TLSVersion string

// The TLS versions; older ones are forbidden by RFC 8996.
const (
	TLS12 TLSVersion = "1.2"
	TLS13 TLSVersion = "1.3"
)

// TLSMode says how TLS starts on a listener.
type TLSMode string

// The TLS modes.
const (
	TLSStartTLS TLSMode = "starttls" // negotiated in the stream (RFC 6120 section 5); TCP only
	TLSDirect   TLSMode = "direct"   // from the first byte (XEP-0368)
	TLSNone     TLSMode = "none"
)

// ResourceConflict says what happens when a client asks for a resource that
// another connection of the account holds (RFC 6120 section 7.7.2.2).
type ResourceConflict string

// The conflict policies.
const (
	ConflictReplace ResourceConflict = "replace" // the older connection is closed
	ConflictRefuse  ResourceConflict = "refuse"  // the newer bind fails
	ConflictRename  ResourceConflict = "rename"  // the newer connection gets another resource
)

// UserStore names the back end of users and projects.
type UserStore string

// The back ends of users and projects.
const (
	UsersSQLite UserStore = "sqlite" // storage/sqlite
	UsersMongo  UserStore = "mongo"  // storage/mongo
)

// PresenceStore names the back end of presence.
type PresenceStore string

// The back ends of presence.
const (
	PresenceMemory PresenceStore = "memory" // storage/memory
	PresenceRedis  PresenceStore = "redis"  // storage/redis
)

// Passwords says what is kept of a password.
type Passwords string

// The kinds of password storage.
const (
	PasswordsSCRAM Passwords = "scram" // StoredKey and ServerKey only (RFC 5802 section 3)
	PasswordsPlain Passwords = "plain" // the text, for tests on one machine
)

// Default is the configuration of an empty file. Each call returns a fresh tree.
func Default() *Config {
	return &Config{
		Hosts:   []string{"localhost"},
		DataDir: "data",
		Log:     Log{Level: LogInfo, Format: LogText},
		TLS:     TLS{Certificates: []Certificate{}, MinVersion: TLS12},
		Listen: Listen{
			TCP: []TCPListener{
				{Address: ":5222", TLS: TLSStartTLS, RequireTLS: true},
				{Address: ":5223", TLS: TLSDirect, RequireTLS: true},
			},
			HTTP: []HTTPListener{
				{
					Address: ":5280", TLS: TLSNone, BOSH: true, WebSocket: true, HostMeta: true,
					TrustedProxies: []string{},
				},
			},
			Components: []ComponentListener{},
			Metrics:    "127.0.0.1:9280",
		},
		Auth: Auth{
			SCRAMIterations: 4096, Attempts: 5, Anonymous: Anonymous{Hosts: []string{}, Sessions: 1000},
		},
		Limits: Limits{
			LoginTime: 10 * time.Second, LoginBytes: 64 * KiB,
			StanzaBytes: 256 * KiB, Depth: 128, Attributes: 128,
			OutboxBytes: MiB, Directed: 1000, Resources: 32,
		},
		Session: Session{ResourceConflict: ConflictReplace, ShutdownTime: 10 * time.Second, Coalesce: 5 * time.Millisecond},
		StreamManagement: StreamManagement{
			Enabled: true, Max: 5 * time.Minute, AwayAfter: 30 * time.Second, Queue: 5000, QueueBytes: 768 * KiB,
			Probes:   []time.Duration{5 * time.Second, 7 * time.Second, 11 * time.Second, 5 * time.Second},
			AckDelay: 250 * time.Millisecond, Detached: 8,
		},
		BOSH: BOSH{
			Wait: 55 * time.Second, Inactivity: 30 * time.Second, MaxPause: 120 * time.Second,
			Hold: 1, Polling: 2 * time.Second, Coalesce: 20 * time.Millisecond, Origins: []string{"*"},
		},
		WebSocket: WebSocket{PingInterval: time.Minute, PingTimeout: 30 * time.Second, Origins: []string{}},
		Storage: Storage{
			Users: UsersSQLite, Presence: PresenceMemory,
			SQLite: SQLite{Path: "rollcall.db", Passwords: PasswordsSCRAM},
			Redis:  defaultRedis(), Mongo: defaultMongo(),
		},
		Modules: Modules{
			Projects: Projects{Enabled: true, Host: "wtmuc.@HOST@", Grace: 5 * time.Second, LegacyShows: true},
			Roster:   Roster{Enabled: true, Items: 1000},
			Disco:    Module{Enabled: true},
			Ping:     Ping{Enabled: true, Interval: time.Minute, Timeout: 30 * time.Second},
			Commands: Commands{Enabled: true, Admins: []string{}},
			Register: Register{PerAddress: 10, Total: 1000},
			Private:  Private{Enabled: true, Documents: 100, Bytes: 256 * KiB},
			VCard:    VCard{Enabled: true, Bytes: 64 * KiB},
			Version:  Version{Enabled: true},
			Time:     Module{Enabled: true},
			Carbons:  Module{Enabled: true},
			Blocking: Blocking{Enabled: true, Contacts: 1000},
			CSI:      Module{Enabled: true},
			Caps:     Module{Enabled: true},
			Last:     Module{Enabled: true},
			Offline:  Offline{Enabled: true, Messages: 1000, Bytes: MiB, Overflow: OverflowDropOldest},
			Example:  Example{Greeting: "Hello from rollcall"},
		},
		Memory: Memory{GCPercent: 50, GiveBack: true},
	}
}

// ServiceHost is the host of a service at a virtual host: the pattern with every
// "@HOST@" replaced.
func ServiceHost(pattern, host string) string {
	return strings.ReplaceAll(pattern, "@HOST@", host)
}

// SQLitePath is the place of the embedded database.
func (c *Config) SQLitePath() string {
	return within(c.DataDir, c.Storage.SQLite.Path)
}

// within is path, taken relative to dir unless it is absolute.
func within(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}
