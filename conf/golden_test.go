package conf

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"flag"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write what is found into testdata")

// A file in testdata is a configuration, a line of ten dashes, and either "ok" or
// the problems that Load finds. The folder of the configuration holds a matching
// good.crt and good.key, another key other.key, broken.crt and broken.key, for
// prebinding prebind.key, short.key, words.key and empty.key, and mongo.uri.
const separator = "----------\n"

func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 35 {
		t.Fatalf("only %d files", len(files))
	}
	dir := t.TempDir()
	writeKeys(t, dir)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			input, want, _ := strings.Cut(string(text), separator)
			got := loadGolden(t, dir, input)
			if *update {
				if err := os.WriteFile(file, []byte(input+separator+got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != want {
				t.Errorf("got\n%swant\n%s", got, want)
			}
		})
	}
}

func loadGolden(t *testing.T, dir, input string) string {
	t.Helper()
	path := filepath.Join(dir, "rollcall.yml")
	writeFile(t, path, []byte(input))
	c, err := Load(path)
	if err == nil {
		if c == nil {
			t.Fatal("no configuration and no error")
		}
		return "ok\n"
	}
	var ps Problems
	if !errors.As(err, &ps) || len(ps) == 0 || c != nil {
		t.Fatalf("got %v and %#v", c, err)
	}
	checkPlaces(t, ps, []byte(input))
	text := strings.ReplaceAll(err.Error(), dir+string(filepath.Separator), "")
	return strings.ReplaceAll(text, dir, "DIR") + "\n"
}

// checkPlaces fails if a problem is not on a line of the file.
func checkPlaces(t *testing.T, ps Problems, data []byte) {
	t.Helper()
	lines := max(len(bytes.SplitAfter(data, []byte("\n"))), 1)
	for _, p := range ps {
		if p.Line < 1 || p.Line > lines || p.Column < 1 || p.Text == "" {
			t.Errorf("in %d lines: %#v", lines, p)
		}
	}
}

func writeFile(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func writeKeys(t *testing.T, dir string) {
	t.Helper()
	block := func(name, kind string, der []byte) {
		writeFile(t, filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	for _, name := range []string{"good", "other"} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		block(name+".key", "PRIVATE KEY", der)
		cert := &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "example.org"},
			NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0), DNSNames: []string{"example.org"},
		}
		if der, err = x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key); err != nil {
			t.Fatal(err)
		}
		block(name+".crt", "CERTIFICATE", der)
	}
	for name, key := range map[string]string{
		"prebind.key": prebindKey + "\n", "short.key": "0123456789abcdef\n", "empty.key": "\n",
		"mongo.uri": "mongodb://reader:secret@db.example.org/product\n",
		"words.key": "correct horse battery staple and so on\n",
	} {
		writeFile(t, filepath.Join(dir, name), []byte(key))
	}
	writeFile(t, filepath.Join(dir, "broken.crt"), []byte("not a certificate\n"))
	writeFile(t, filepath.Join(dir, "broken.key"), []byte("not a key\n"))
}

func TestLoadResolves(t *testing.T) {
	dir := t.TempDir()
	writeKeys(t, dir)
	path := filepath.Join(dir, "rollcall.yml")
	key := filepath.Join(dir, "good.key")
	writeFile(t, path, []byte("hosts: [Example.ORG]\ndata_dir: var\ntls: {certificates: [{cert: good.crt, key: "+key+"}]}\n"))
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Hosts = []string{"example.org"}
	want.DataDir = filepath.Join(dir, "var")
	want.TLS.Certificates = []Certificate{{Cert: filepath.Join(dir, "good.crt"), Key: key}}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got %+v\nwant %+v", c, want)
	}
	if got, want := c.SQLitePath(), filepath.Join(dir, "var", "rollcall.db"); got != want {
		t.Errorf("the database is at %s, want %s", got, want)
	}
	c.Storage.SQLite.Path = key
	if c.SQLitePath() != key {
		t.Errorf("an absolute path becomes %s", c.SQLitePath())
	}
}

func TestLoadNoFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := Load(filepath.Join(dir, "missing.yml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	if _, err := Load(dir); err == nil {
		t.Error("a folder was loaded")
	}
}

func TestTooLarge(t *testing.T) {
	path := filepath.Join(t.TempDir(), "big.yml")
	writeFile(t, path, bytes.Repeat([]byte("#"), maxFile))
	if _, err := Load(path); err != nil {
		t.Errorf("1 MiB: %v", err)
	}
	writeFile(t, path, bytes.Repeat([]byte("#"), maxFile+1))
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "larger than 1 MiB") {
		t.Errorf("more than 1 MiB: %v", err)
	}
}

// What aliases expand to is bounded.
func TestExpansion(t *testing.T) {
	var b strings.Builder
	b.WriteString("listen:\n  tcp:\n  - &l {address: 'x', tls: none, a1: &a [x], a2: *a}\n")
	b.WriteString(strings.Repeat("  - *l\n", 100000))
	_, err := Parse("bomb", []byte(b.String()))
	var ps Problems
	if !errors.As(err, &ps) {
		t.Fatal(err)
	}
	if len(ps) > 2*maxValues || !strings.Contains(ps[0].Text, "expands to more than") {
		t.Errorf("%d problems, the first is %s", len(ps), ps[0])
	}
}

func FuzzParse(f *testing.F) {
	f.Add(DefaultYAML())
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		input, _, _ := bytes.Cut(text, []byte(separator))
		f.Add(input)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("fuzz.yml", data)
		if err == nil {
			r := newReport("again", nil)
			if check(c, r); r.err() != nil {
				t.Errorf("what was accepted is not valid: %v", r.err())
			}
			return
		}
		var ps Problems
		if !errors.As(err, &ps) || len(ps) == 0 || c != nil {
			t.Fatalf("got %v and %#v", c, err)
		}
		checkPlaces(t, ps, data)
	})
}
