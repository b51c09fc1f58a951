package conf

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// What a filter in the file means to MongoDB.
func TestDocument(t *testing.T) {
	id, err := bson.ObjectIDFromHex("507f1f77bcf86cd799439011")
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bson.D{
		"{}":                          {},
		"{archived: {$ne: true}}":     {{Key: "archived", Value: bson.D{{Key: "$ne", Value: true}}}},
		"{b: 1, a: two, c: '3'}":      {{Key: "b", Value: int32(1)}, {Key: "a", Value: "two"}, {Key: "c", Value: "3"}},
		"{a: 8589934592, b: -1}":      {{Key: "a", Value: int64(8589934592)}, {Key: "b", Value: int32(-1)}},
		"{a: 2.0, b: 1e3, c: 0x10}":   {{Key: "a", Value: 2.0}, {Key: "b", Value: 1000.0}, {Key: "c", Value: int32(16)}},
		"{a: null, b: ~, c: yes}":     {{Key: "a", Value: nil}, {Key: "b", Value: nil}, {Key: "c", Value: "yes"}},
		"{a: {$in: [x, [1], {b: c}]}": nil, // a missing brace
		"{a: {$in: [x, [1], {b: c}]}}": {{Key: "a", Value: bson.D{{Key: "$in", Value: bson.A{
			"x", bson.A{int32(1)}, bson.D{{Key: "b", Value: "c"}}}}}}},
		"{a: {$oid: 507f1f77bcf86cd799439011}}": {{Key: "a", Value: id}},
		"{a: {$date: 2026-01-01T00:00:00Z}}":    {{Key: "a", Value: bson.DateTime(1767225600000)}},
		"{a: \"<&\\u2028é\\0\"}":                {{Key: "a", Value: "<&\u2028é\x00"}},
		"{a: &x {b: 1}, c: *x}": {{Key: "a", Value: bson.D{{Key: "b", Value: int32(1)}}},
			{Key: "c", Value: bson.D{{Key: "b", Value: int32(1)}}}},
	} {
		c, err := Parse("filter", []byte("storage: {mongo: {projects: {filter: "+text+"}}}\n"))
		switch {
		case want == nil && err == nil:
			t.Errorf("%s: %v", text, c.Storage.Mongo.Projects.Filter)
		case want != nil && err != nil:
			t.Errorf("%s: %v", text, err)
		case want != nil && !reflect.DeepEqual(bson.D(c.Storage.Mongo.Projects.Filter), want):
			t.Errorf("%s: %#v", text, c.Storage.Mongo.Projects.Filter)
		}
	}
}

func TestSecrets(t *testing.T) {
	dir := t.TempDir()
	writeKeys(t, dir)
	path := filepath.Join(dir, "rollcall.yml")
	writeFile(t, path, []byte(`
storage:
  users: mongo
  redis: {addresses: [a:1], master_name: m, password_file: short.key, sentinel_password_file: words.key,
    tls: {enabled: true, ca_file: good.crt, cert_file: good.crt, key_file: good.key}}
  mongo: {uri_file: mongo.uri}
`))
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	tls := c.Storage.Redis.TLS
	for _, name := range []string{tls.CAFile, tls.CertFile, tls.KeyFile} {
		if filepath.Dir(name) != dir {
			t.Errorf("%s is not in the folder of the file", name)
		}
	}
	gone := Default()
	gone.Storage.Redis.PasswordFile = filepath.Join(dir, "gone")
	gone.Storage.Mongo.URIFile = filepath.Join(dir, "empty.key")
	for _, test := range []struct {
		name           string
		read           func(string) (string, error)
		variable, want string
		problem        string
	}{
		{"redis file", c.RedisPassword, "", "0123456789abcdef", ""},
		{"redis variable", c.RedisPassword, " p w\n", "p w", ""},
		{"redis lines", c.RedisPassword, "kkkk\nl", "", "ROLLCALL_REDIS_PASSWORD: there is more than one line"},
		{"redis long", c.RedisPassword, strings.Repeat("k", 5000), "", "longer than 4096"},
		{"redis none", Default().RedisPassword, "", "", ""},
		{"redis gone", gone.RedisPassword, "", "", "storage.redis.password_file: open "},
		{"sentinel file", c.SentinelPassword, "", "correct horse battery staple and so on", ""},
		{"sentinel variable", c.SentinelPassword, "x", "x", ""},
		{"mongo file", c.MongoURI, "", "mongodb://reader:secret@db.example.org/product", ""},
		{"mongo variable", c.MongoURI, "mongodb+srv://a:b@c", "mongodb+srv://a:b@c", ""},
		{"mongo option", Default().MongoURI, "", "mongodb://127.0.0.1:27017", ""},
		{"mongo bad", c.MongoURI, "kkkk", "", "ROLLCALL_MONGO_URI: the address does not begin"},
		{"mongo blank", c.MongoURI, "mongodb://a:kkkk kkkk@b", "", "a blank or a control character"},
		{"mongo no server", c.MongoURI, "mongodb:///kkkk", "", "names no server"},
		{"mongo empty", gone.MongoURI, "", "", "storage.mongo.uri_file: there is no address"},
	} {
		got, err := test.read(test.variable)
		switch {
		case test.problem == "" && (err != nil || got != test.want):
			t.Errorf("%s: %q, %v", test.name, got, err)
		case test.problem != "" && (err == nil || !strings.Contains(err.Error(), test.problem)):
			t.Errorf("%s: %q, %v", test.name, got, err)
		case err != nil && strings.Contains(err.Error(), "kkkk"):
			t.Errorf("%s: the error shows the secret", test.name)
		}
	}
}

func TestSecretMissing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rollcall.yml")
	writeFile(t, path, []byte("storage: {mongo: {uri_file: mongo.uri}}\n"))
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "storage.mongo.uri_file") {
		t.Errorf("without the file: %v", err)
	}
}

func TestMongoAddress(t *testing.T) {
	for uri, want := range map[string]struct {
		password bool
		database string
	}{
		"mongodb://a":                                   {},
		"mongodb://a,b:1/":                              {},
		"mongodb://a,b:1/c?w=1":                         {database: "c"},
		"mongodb://a:1?x=1":                             {},
		"mongodb://u@a:1/c":                             {database: "c"},
		"mongodb://u:p@a:1/c":                           {password: true, database: "c"},
		"mongodb+srv://u:p/@q@a/c?d":                    {password: true, database: "c"},
		"mongodb://a/c?tlsCertificateKeyFilePassword=p": {password: true, database: "c"},
	} {
		if got := mongoPassword(uri); got != want.password {
			t.Errorf("%s: password %v", uri, got)
		}
		if got := mongoDatabase(uri); got != want.database {
			t.Errorf("%s: database %q", uri, got)
		}
	}
}

func TestNodeName(t *testing.T) {
	long := strings.Repeat("n", MaxNode)
	for _, test := range []struct{ node, host, want, problem string }{
		{"", "web-1.example.org", "web-1.example.org", ""},
		{"one", "web 1", "one", ""},
		{"", long, long, ""},
		{"", long + "n", "", "longer than 64"},
		{"", "", "", "write cluster.node: it is empty"},
		{"", "web|1", "", `write cluster.node: "web|1" may have`},
	} {
		c := Default()
		c.Cluster.Node = test.node
		got, err := c.NodeName(test.host)
		if got != test.want || (err == nil) != (test.problem == "") || err != nil && !strings.Contains(err.Error(), test.problem) {
			t.Errorf("%+v: %q, %v", test, got, err)
		}
	}
}
