package conf

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"
)

// Bounds of what is read. Real files have a few hundred values, four levels deep.
const (
	maxFile   = 1 << 20 // bytes
	maxValues = 20000   // after aliases are followed
	maxDepth  = 64
)

//go:embed rollcall.yml
var defaultYAML []byte

// DefaultYAML is the fully commented file whose values are the defaults.
func DefaultYAML() []byte { return bytes.Clone(defaultYAML) }

// Load reads and checks the file at path, and the certificates, keys and secrets it
// names. Relative paths are taken from the file's folder; in the result they are
// joined with it. The error is a Problems if the file could be read.
func Load(path string) (*Config, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	c, r := parse(path, data)
	c.resolve(filepath.Dir(path))
	checkCertificates(c, r)
	checkRedisCertificates(c, r)
	for _, s := range []secret{c.prebindKey(), c.redisPassword(), c.sentinelPassword(), c.mongoURI()} {
		s.check(r)
	}
	for i := range c.Listen.Components {
		c.componentSecret(i).check(r)
	}
	if err := r.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// Parse reads and checks data without looking at any other file; name stands for
// it in problems. What data does not mention keeps its default, and a list that it
// does mention replaces the default list. The error is a Problems.
func Parse(name string, data []byte) (*Config, error) {
	c, r := parse(name, data)
	if err := r.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// readFile reads at most one byte more than parse accepts.
func readFile(path string) (data []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return io.ReadAll(io.LimitReader(f, maxFile+1))
}

// parse always returns a tree, so that all problems can be found; it is fit for
// use only if there are none.
func parse(name string, data []byte) (*Config, *report) {
	c, r := Default(), newReport(name, data)
	if len(data) > maxFile {
		r.add("", "the file is larger than 1 MiB")
		return c, r
	}
	root := r.document(data)
	if len(r.problems) > 0 {
		return c, r
	}
	if root != nil {
		d := decoder{report: r, left: maxValues}
		d.tree(root, c)
	}
	if !r.bad[""] {
		complete(c, r)
		check(c, r)
	}
	return c, r
}

// document is the root of the only document, nil if there is no value in it.
func (r *report) document(data []byte) *yaml.Node {
	loader, err := yaml.NewLoader(bytes.NewReader(data),
		yaml.WithPlugin(loaderlimits.New(loaderlimits.DepthValue(maxDepth))))
	if err != nil {
		r.add("", "YAML: %v", err)
		return nil
	}
	var doc, second yaml.Node
	if err := loader.Load(&doc); errors.Is(err, io.EOF) {
		return nil
	} else if err != nil {
		r.syntax(err)
		return nil
	}
	switch err := loader.Load(&second); {
	case err == nil:
		r.addAt(place{second.Line, second.Column}, "", "a second document starts here: one file is one document")
	case !errors.Is(err, io.EOF):
		r.syntax(err)
	}
	if len(doc.Content) == 0 {
		return nil
	}
	return doc.Content[0]
}

// syntax notes an error of the YAML parser.
func (r *report) syntax(err error) {
	var le *yaml.LoadError
	if !errors.As(err, &le) {
		r.add("", "YAML: %v", err)
		return
	}
	text := le.Message
	if le.ContextMsg != "" {
		text = le.ContextMsg + ": " + text
	}
	r.addAt(place{le.Mark.Line, le.Mark.Column}, "", "YAML: %s", clipTo(200, text))
}

// resolve makes paths relative to the configuration file's folder.
func (c *Config) resolve(dir string) {
	c.DataDir = within(dir, c.DataDir)
	for i := range c.TLS.Certificates {
		cert := &c.TLS.Certificates[i]
		if cert.Cert != "" {
			cert.Cert = within(dir, cert.Cert)
		}
		if cert.Key != "" {
			cert.Key = within(dir, cert.Key)
		}
	}
	redis := &c.Storage.Redis
	names := []*string{
		&c.BOSH.PrebindKeyFile, &redis.PasswordFile, &redis.SentinelPasswordFile,
		&redis.TLS.CAFile, &redis.TLS.CertFile, &redis.TLS.KeyFile, &c.Storage.Mongo.URIFile,
	}
	for i := range c.Listen.Components {
		names = append(names, &c.Listen.Components[i].SecretFile)
	}
	for _, name := range names {
		if *name != "" {
			*name = within(dir, *name)
		}
	}
}

// complete fills in what a listener leaves out and what depends on its other
// values.
func complete(c *Config, r *report) {
	for i := range c.Listen.TCP {
		l := &c.Listen.TCP[i]
		if path := fmt.Sprintf("listen.tcp[%d].require_tls", i); r.given("listen.tcp") && !r.given(path) {
			l.RequireTLS = l.TLS != TLSNone
		}
	}
}
