package conf

import (
	"fmt"
	"os"
	"strings"
)

// Environment variables that may hold secrets. Each goes before the file that the
// configuration names.
const (
	PrebindKeyVariable       = "ROLLCALL_PREBIND_KEY"
	RedisPasswordVariable    = "ROLLCALL_REDIS_PASSWORD"
	SentinelPasswordVariable = "ROLLCALL_REDIS_SENTINEL_PASSWORD"
	MongoURIVariable         = "ROLLCALL_MONGO_URI"
)

// maxSecret is the longest secret in bytes.
const maxSecret = 4096

// secret is one that may stand in a variable or in a file.
type secret struct {
	variable string
	path     string // of the option that names the file
	what     string // the file is meant to be
	name     string // of the file; may be empty
	// problem says what is wrong with a secret, without showing it.
	problem func(string) string
}

// RedisPassword is the password for Redis, or "" for none. variable is the value of
// RedisPasswordVariable.
func (c *Config) RedisPassword(variable string) (string, error) {
	return c.redisPassword().read(variable)
}

// SentinelPassword is the password for the Sentinels, or "" for none. variable is the
// value of SentinelPasswordVariable.
func (c *Config) SentinelPassword(variable string) (string, error) {
	return c.sentinelPassword().read(variable)
}

// MongoURI is where MongoDB is, with the credentials. variable is the value of
// MongoURIVariable.
func (c *Config) MongoURI(variable string) (string, error) {
	uri, err := c.mongoURI().read(variable)
	if err == nil && uri == "" {
		uri = c.Storage.Mongo.URI
	}
	return uri, err
}

func (c *Config) redisPassword() secret {
	return secret{RedisPasswordVariable, "storage.redis.password_file", "a file with a password", c.Storage.Redis.PasswordFile, passwordProblem}
}

func (c *Config) sentinelPassword() secret {
	return secret{SentinelPasswordVariable, "storage.redis.sentinel_password_file", "a file with a password", c.Storage.Redis.SentinelPasswordFile, passwordProblem}
}

func (c *Config) mongoURI() secret {
	return secret{MongoURIVariable, "storage.mongo.uri_file", "a file with an address", c.Storage.Mongo.URIFile, mongoURIProblem}
}

// read returns "" when there is neither a variable nor a file.
func (s secret) read(variable string) (string, error) {
	text, from := variable, s.variable
	if variable == "" {
		if s.name == "" {
			return "", nil
		}
		data, err := os.ReadFile(s.name)
		if err != nil {
			return "", fmt.Errorf("%s: %w", s.path, err)
		}
		text, from = string(data), s.path
	}
	text = strings.TrimSpace(text)
	if problem := s.problem(text); problem != "" {
		return "", fmt.Errorf("%s: %s", from, problem)
	}
	return text, nil
}

// check notes a file that cannot be used. The path is resolved.
func (s secret) check(r *report) {
	if s.name == "" || r.bad[s.path] {
		return
	}
	data, ok := r.readable(s.path, s.name, s.what)
	if !ok {
		return
	}
	if problem := s.problem(strings.TrimSpace(string(data))); problem != "" {
		r.add(s.path, "%s: %s", quote(s.name), problem)
	}
}

func passwordProblem(password string) string {
	switch {
	case password == "":
		return "there is no password in it"
	case len(password) > maxSecret:
		return fmt.Sprintf("the password is longer than %d bytes", maxSecret)
	case strings.ContainsAny(password, "\r\n"):
		return "there is more than one line in it"
	}
	return ""
}
