// Package tsung runs Debian's tsung, with the scenarios that it ships and those of
// deploy/tsung, against a real server with the bench profile.
package tsung

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/beevik/etree"
)

// Where Debian's package has what is read here.
const (
	examples = "/usr/share/doc/tsung/examples"
	dtd      = "/usr/share/tsung/tsung-1.0.dtd"
)

// Change is what a run changes in a scenario. The zero value changes nothing.
type Change struct {
	// Streams and HTTP are where the server listens for TCP, and for BOSH and WebSocket.
	Streams, HTTP Place
	// Type is the transport, where another one than the scenario's is meant; Path that
	// of WebSocket.
	Type, Path string
	// Load says who arrives when: the attributes of the one <arrivalphase> and its
	// <users>.
	Load Load
	// Files replaces the paths that the scenario has for the ids of its file servers.
	Files map[string]string
	// Thinking divides all pauses; 0 and 1 leave them.
	Thinking float64
	// Edit, where set, changes what else there is.
	Edit func(root *etree.Element) error
}

// Place is where a server listens.
type Place struct {
	Host string
	Port int
}

// Load is how many users arrive, and when. What is zero stays as it is.
type Load struct {
	Seconds      int     // for which users arrive
	Interarrival float64 // seconds between two, on average
	Most         int     // users altogether
}

// Stock reads a scenario that tsung ships, compressed or not.
func Stock(name string) ([]byte, error) {
	path := filepath.Join(examples, name)
	data, err := os.ReadFile(path)
	if !errors.Is(err, os.ErrNotExist) {
		return data, err
	}
	f, err := os.Open(path + ".gz")
	if err != nil {
		return nil, fmt.Errorf("a scenario of Debian's tsung (make setup installs it): %w", err)
	}
	// It was only read.
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("%s.gz: %w", path, err)
	}
	return io.ReadAll(z)
}

// Apply changes a scenario.
func (c Change) Apply(scenario []byte) ([]byte, error) {
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(scenario); err != nil {
		return nil, err
	}
	root := doc.SelectElement("tsung")
	if root == nil {
		return nil, errors.New("no <tsung>")
	}
	for _, token := range doc.Child {
		// One of the scenarios looks for the grammar in its author's home.
		if d, ok := token.(*etree.Directive); ok && strings.HasPrefix(d.Data, "DOCTYPE") {
			d.Data = fmt.Sprintf("DOCTYPE tsung SYSTEM %q []", dtd)
		}
	}
	c.servers(root)
	if err := errors.Join(c.Load.apply(root), c.files(root), c.pauses(root)); err != nil {
		return nil, err
	}
	if c.Edit != nil {
		if err := c.Edit(root); err != nil {
			return nil, err
		}
	}
	var out bytes.Buffer
	_, err := doc.WriteTo(&out)
	return out.Bytes(), err
}

func (c Change) servers(root *etree.Element) {
	for _, s := range root.FindElements("./servers/server") {
		set(s, "type", c.Type)
		place := c.HTTP
		if kind := s.SelectAttrValue("type", ""); kind == "tcp" || kind == "ssl" {
			place = c.Streams
		}
		set(s, "host", place.Host)
		set(s, "port", strconv.Itoa(place.Port))
	}
	if c.Path != "" {
		option := root.FindElement("./options").CreateElement("option")
		option.CreateAttr("name", "websocket_path")
		option.CreateAttr("value", c.Path)
	}
}

// set sets an attribute to what is not empty.
func set(e *etree.Element, name, value string) {
	if value != "" {
		e.CreateAttr(name, value)
	}
}

func (l Load) apply(root *etree.Element) error {
	if l == (Load{}) {
		return nil
	}
	phases := root.FindElements("./load/arrivalphase")
	if len(phases) != 1 {
		return fmt.Errorf("%d phases of arrival", len(phases))
	}
	users := phases[0].SelectElement("users")
	if users == nil {
		return errors.New("a phase of arrival without users")
	}
	if l.Seconds != 0 {
		set(phases[0], "duration", strconv.Itoa(l.Seconds))
		set(phases[0], "unit", "second")
	}
	if l.Interarrival != 0 {
		users.RemoveAttr("arrivalrate")
		set(users, "interarrival", strconv.FormatFloat(l.Interarrival, 'f', -1, 64))
		set(users, "unit", "second")
	}
	if l.Most != 0 {
		set(users, "maxnumber", strconv.Itoa(l.Most))
	}
	return nil
}

func (c Change) files(root *etree.Element) error {
	for _, o := range root.FindElements("./options/option[@name='file_server']") {
		path, ok := c.Files[o.SelectAttrValue("id", "")]
		if !ok {
			return fmt.Errorf("nothing for the file %s", o.SelectAttrValue("id", ""))
		}
		set(o, "value", path)
	}
	return nil
}

func (c Change) pauses(root *etree.Element) error {
	if c.Thinking == 0 || c.Thinking == 1 {
		return nil
	}
	for _, t := range root.FindElements("//thinktime[@value]") {
		seconds, err := strconv.ParseFloat(strings.TrimSpace(t.SelectAttrValue("value", "")), 64)
		if err != nil {
			return fmt.Errorf("thinktime: %w", err)
		}
		set(t, "value", strconv.FormatFloat(seconds/c.Thinking, 'f', 3, 64))
	}
	return nil
}
