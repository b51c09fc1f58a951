package mongo

import (
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func TestValidate(t *testing.T) {
	good := func() Config {
		return Config{URI: "mongodb://user:s3cret@127.0.0.1:27017,127.0.0.2/product?replicaSet=a"}
	}
	if err := good().Validate(); err != nil {
		t.Fatal(err)
	}
	if c := good().withDefaults(); c.Database != "product" || c.Users.Database != "product" || c.Timeout != 2*time.Second || c.Cache.Age != time.Minute {
		t.Errorf("defaults: %+v", c)
	}
	tests := map[string]func(*Config){
		"the URI":             func(c *Config) { c.URI = "http://s3cret@x/y" },
		"the URI cannot":      func(c *Config) { c.URI = "mongodb://user:s3cret@x:port/y" },
		"no database":         func(c *Config) { c.URI = "mongodb://user:s3cret@x/" },
		"time-outs":           func(c *Config) { c.Timeout = -1 },
		"the bounds":          func(c *Config) { c.Cache.Projects = -1 },
		"intervals":           func(c *Config) { c.Watch.Interval = -1 },
		`watch mode "soon"`:   func(c *Config) { c.Watch.Mode = "soon" },
		`type of ids "uuid"`:  func(c *Config) { c.Users.IDType = "uuid" },
		"same field":          func(c *Config) { c.Users.Login = "_id" },
		`"a" and "a.b"`:       func(c *Config) { c.Users.Login, c.Users.Name = "a", "a.b" },
		`"$x" is no path`:     func(c *Config) { c.Users.Name = "$x" },
		`"a..b" is no path`:   func(c *Config) { c.Projects.Member = "a..b" },
		`is about "_id"`:      func(c *Config) { c.Users.Filter = bson.D{{Key: "_id", Value: 1}} },
		`is about "members"`:  func(c *Config) { c.Projects.Filter = bson.D{{Key: "members", Value: 1}} },
		"filter of projects:": func(c *Config) { c.Projects.Filter = bson.D{{Key: "x", Value: make(chan int)}} },
		`scheme "md5"`:        func(c *Config) { c.Users.Scheme = "md5" },
		"not allowed":         func(c *Config) { c.Users.Scheme = SchemePlain },
		`mechanism "PLAIN"`:   func(c *Config) { c.Users.Scheme, c.Users.Mechanisms = SchemeSCRAM, []string{"PLAIN"} },
		"need the scheme":     func(c *Config) { c.Users.Mechanisms = []string{"SCRAM-SHA-1"} },
		"a salt of its own":   func(c *Config) { c.Users.Hash.Salt = "salt" },
		"needs iterations":    func(c *Config) { c.Users.Scheme, c.Users.Hash.Salt = SchemePBKDF2, "salt" },
		"make no sense":       func(c *Config) { c.Users.Hash.N = 1000 },
		`encoding "rot13"`:    func(c *Config) { c.Users.Hash.Encoding = "rot13" },
		`no digest "md5"`:     func(c *Config) { c.Users.Hash.Digest = "md5" },
	}
	for want, spoil := range tests {
		c := good()
		spoil(&c)
		err := c.Validate()
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("want %q: %v", want, err)
		}
		if _, err := Open(t.Context(), c); err == nil {
			t.Errorf("%q: opened", want)
		}
	}
	both := good()
	both.Timeout, both.Watch.Mode = -1, "soon"
	if err := both.Validate(); err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("want both problems: %v", err)
	}
}

func TestDatabaseIn(t *testing.T) {
	for uri, want := range map[string]string{
		"mongodb://h/db": "db", "mongodb://u:p%2F@h:1,g:2/db?x=/y": "db", "mongodb://h": "", "mongodb://h/": "",
		"mongodb://h/?x=y": "", "mongodb+srv://u:p@h/a%20b": "a b", "mongodb://h/%zz": "", "": "",
	} {
		if got := databaseIn(uri); got != want {
			t.Errorf("%s names %q, want %q", uri, got, want)
		}
	}
}
