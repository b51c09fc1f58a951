package conf

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.yaml.in/yaml/v4"
)

// Document is part of a MongoDB query. In the file it is written as keys and values:
// text, true or false, null, numbers, lists and further keys with values mean what they
// look like, and what YAML has no form for is written as in MongoDB's Extended JSON, as
// in {$oid: 507f1f77bcf86cd799439011} or {$date: 2026-01-01T00:00:00Z}.
type Document bson.D

// document fills a Document.
func (d *decoder) document(n *yaml.Node, path string, v reflect.Value) {
	if isNull(n) {
		d.add(path, "no value: write {} for none, or remove the key for the default")
		return
	}
	if n.Kind != yaml.MappingNode || n.ShortTag() != "!!map" {
		d.add(path, "%s where keys with values are expected", describe(n))
		return
	}
	var text bytes.Buffer
	if err := d.extendedJSON(&text, n); err != nil {
		d.add(path, "%v", err)
		return
	}
	if text.Len() > maxFile {
		d.add(path, "too large")
		return
	}
	var doc bson.D
	if err := bson.UnmarshalExtJSON(text.Bytes(), false, &doc); err != nil {
		d.add(path, "MongoDB cannot read this: %s", clipTo(200, err.Error()))
		return
	}
	v.Set(reflect.ValueOf(Document(doc)))
}

var errExpands = errors.New("it expands to too many values")

// extendedJSON writes n as MongoDB's Extended JSON.
func (d *decoder) extendedJSON(out *bytes.Buffer, n *yaml.Node) error {
	if d.left--; d.left < 0 || out.Len() > maxFile {
		return errExpands
	}
	n = target(n)
	switch n.Kind {
	case yaml.MappingNode:
		return d.extendedObject(out, n)
	case yaml.SequenceNode:
		out.WriteByte('[')
		for i, item := range n.Content {
			if i > 0 {
				out.WriteByte(',')
			}
			if err := d.extendedJSON(out, item); err != nil {
				return err
			}
		}
		out.WriteByte(']')
		return nil
	}
	return extendedScalar(out, n)
}

func (d *decoder) extendedObject(out *bytes.Buffer, n *yaml.Node) error {
	seen := map[string]bool{}
	out.WriteByte('{')
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := target(n.Content[i])
		switch {
		case key.Kind != yaml.ScalarNode || key.Value == "<<":
			return fmt.Errorf("a key is a plain word, not %s", describe(key))
		case seen[key.Value]:
			return fmt.Errorf("the key %s stands there twice", quote(key.Value))
		case key.Value == "" || strings.ContainsRune(key.Value, 0):
			return fmt.Errorf("%s is no name of a field", quote(key.Value))
		}
		seen[key.Value] = true
		if i > 0 {
			out.WriteByte(',')
		}
		if err := writeText(out, key.Value); err != nil {
			return err
		}
		out.WriteByte(':')
		if err := d.extendedJSON(out, n.Content[i+1]); err != nil {
			return err
		}
	}
	out.WriteByte('}')
	return nil
}

func extendedScalar(out *bytes.Buffer, n *yaml.Node) error {
	switch n.ShortTag() {
	case "!!null":
		out.WriteString("null")
	case "!!bool":
		out.WriteString(strings.ToLower(n.Value))
	case "!!int":
		i, err := strconv.ParseInt(n.Value, 0, 64)
		if err != nil {
			return fmt.Errorf("%s is not a whole number that MongoDB has", quote(n.Value))
		}
		out.WriteString(strconv.FormatInt(i, 10))
	case "!!float":
		f, err := strconv.ParseFloat(n.Value, 64)
		if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
			return fmt.Errorf("%s is not a number", quote(n.Value))
		}
		// As a double also where nothing follows the point.
		fmt.Fprintf(out, `{"$numberDouble":"%s"}`, strconv.FormatFloat(f, 'g', -1, 64))
	case "!!str", "!!timestamp":
		return writeText(out, n.Value)
	default:
		return fmt.Errorf("%s cannot be part of a query", describe(n))
	}
	return nil
}

func writeText(out *bytes.Buffer, s string) error {
	text, err := json.Marshal(s)
	out.Write(text)
	return err
}
