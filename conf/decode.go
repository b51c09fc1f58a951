package conf

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// decoder fills a tree from YAML nodes. A value that does not fit leaves what was
// in the tree. Its depth is that of the Go types, whatever the aliases do.
type decoder struct {
	*report
	left int // values that may still be visited
}

func (d *decoder) tree(root *yaml.Node, c *Config) {
	d.value(root, "", "", reflect.ValueOf(c).Elem())
	if d.left < 0 {
		d.addAt(place{1, 1}, "", "the file expands to more than %d values", maxValues)
	}
}

// value decodes n into v, whose place in the tree is path. The tag is that of the
// struct field.
func (d *decoder) value(n *yaml.Node, path string, tag reflect.StructTag, v reflect.Value) {
	if d.left--; d.left < 0 {
		return
	}
	if _, ok := d.at[path]; !ok || path == "" {
		d.at[path] = place{n.Line, n.Column}
	}
	n = target(n)
	switch {
	case v.Type() == reflect.TypeFor[Document]():
		d.document(n, path, v)
	case v.Kind() == reflect.Struct:
		d.mapping(n, path, v)
	case v.Kind() == reflect.Slice:
		d.sequence(n, path, v)
	default:
		d.scalar(n, path, tag, v)
	}
}

// target follows an alias.
func target(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

func (d *decoder) mapping(n *yaml.Node, path string, v reflect.Value) {
	if isNull(n) {
		return // "log:" with everything below it commented out: the defaults
	}
	if n.Kind != yaml.MappingNode || n.ShortTag() != "!!map" {
		d.add(path, "%s where keys with values are expected", describe(n))
		return
	}
	first := map[string]int{} // key -> line
	for i := 0; i+1 < len(n.Content); i += 2 {
		if d.left--; d.left < 0 {
			return
		}
		key, val := n.Content[i], n.Content[i+1]
		at := place{key.Line, key.Column}
		if key.Kind != yaml.ScalarNode {
			d.addAt(at, path, "a key is a plain word, not %s", describe(target(key)))
			continue
		}
		here := join(path, clip(key.Value))
		field, ok := fieldFor(v.Type(), key.Value)
		switch line, twice := first[key.Value]; {
		case !ok:
			d.addAt(at, here, "unknown key%s", suggest(key.Value, v.Type()))
			continue
		case twice:
			d.addAt(at, here, "this key is already on line %d", line)
			continue
		}
		first[key.Value] = key.Line
		if isNull(val) {
			d.at[here] = at // an empty value has no place of its own
		}
		d.value(val, here, field.Tag, v.FieldByIndex(field.Index))
	}
}

func join(path, key string) string {
	if key == "" {
		key = `""`
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

func fieldFor(t reflect.Type, key string) (reflect.StructField, bool) {
	for i := range t.NumField() {
		if f := t.Field(i); f.Tag.Get("yaml") == key {
			return f, true
		}
	}
	return reflect.StructField{}, false
}

// sequence replaces the list in v.
func (d *decoder) sequence(n *yaml.Node, path string, v reflect.Value) {
	if isNull(n) {
		d.add(path, "no value: write [] for an empty list, or remove the key for the default")
		return
	}
	if n.Kind != yaml.SequenceNode || n.ShortTag() != "!!seq" {
		d.add(path, "%s where a list is expected: put each entry on a line that begins with a dash", describe(n))
		return
	}
	list := reflect.MakeSlice(v.Type(), 0, 0)
	for i, item := range n.Content {
		if d.left < 0 {
			return
		}
		e := reflect.New(v.Type().Elem()).Elem()
		setDefaults(e)
		here := fmt.Sprintf("%s[%d]", path, i)
		d.value(item, here, "", e)
		list = reflect.Append(list, e)
	}
	v.Set(list)
}

// setDefaults gives a new list entry what it has if the file does not say
// otherwise.
func setDefaults(e reflect.Value) {
	switch l := e.Addr().Interface().(type) {
	case *TCPListener:
		*l = TCPListener{TLS: TLSStartTLS, RequireTLS: true}
	case *HTTPListener:
		*l = HTTPListener{TLS: TLSNone, BOSH: true, WebSocket: true, HostMeta: true, TrustedProxies: []string{}}
	}
}

func (d *decoder) scalar(n *yaml.Node, path string, tag reflect.StructTag, v reflect.Value) {
	want := expected(tag, v)
	switch {
	case isNull(n) && strings.HasSuffix(path, "]"):
		d.add(path, "no value: write %s, or remove the entry", want)
		return
	case isNull(n):
		d.add(path, "no value: write %s, or remove the key for the default", want)
		return
	case n.Kind != yaml.ScalarNode:
		d.add(path, "%s where %s is expected", describe(n), want)
		return
	}
	if err := setScalar(n, tag, v); err != "" {
		d.add(path, "%s", err)
	}
}

// setScalar decodes n into v, or says why it cannot.
func setScalar(n *yaml.Node, tag reflect.StructTag, v reflect.Value) string {
	switch v.Interface().(type) {
	case time.Duration:
		return setDuration(n, v)
	case Size:
		size, err := ParseSize(n.Value)
		if err != nil {
			return quote(n.Value) + " is " + err.Error()
		}
		v.SetInt(int64(size))
		return ""
	}
	switch v.Kind() {
	case reflect.Bool:
		if n.ShortTag() != "!!bool" {
			return describe(n) + " where true or false is expected"
		}
		v.SetBool(strings.EqualFold(n.Value, "true"))
	case reflect.Int:
		i, err := strconv.Atoi(n.Value)
		if err != nil || n.ShortTag() != "!!int" {
			return describe(n) + " where a whole number is expected"
		}
		v.SetInt(int64(i))
	default:
		return setText(n, tag, v)
	}
	return ""
}

func setDuration(n *yaml.Node, v reflect.Value) string {
	t, err := time.ParseDuration(n.Value)
	switch _, noUnit := strconv.Atoi(n.Value); {
	case err == nil:
		v.SetInt(int64(t))
		return ""
	case noUnit == nil:
		return fmt.Sprintf("%s has no unit: write it as in %ss, 500ms or 2m", quote(n.Value), clip(n.Value))
	}
	return quote(n.Value) + " is not a duration: write a number and a unit, as in 10s, 500ms or 2m"
}

// setText takes numbers as they are written, so that min_version: 1.2 needs no
// quotes.
func setText(n *yaml.Node, tag reflect.StructTag, v reflect.Value) string {
	switch n.ShortTag() {
	case "!!str", "!!int", "!!float":
	default:
		return describe(n) + " where text is expected: put it in quotes if it is meant as text"
	}
	if enum := tag.Get("enum"); enum != "" {
		if words := strings.Fields(enum); !slices.Contains(words, n.Value) {
			return fmt.Sprintf("%s is not known: write %s", quote(n.Value), alternatives(words))
		}
	}
	v.SetString(n.Value)
	return ""
}

func alternatives(words []string) string {
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

func expected(tag reflect.StructTag, v reflect.Value) string {
	if enum := tag.Get("enum"); enum != "" {
		return alternatives(strings.Fields(enum))
	}
	switch v.Interface().(type) {
	case time.Duration:
		return "a duration such as 10s"
	case Size:
		return "a size such as 256KiB"
	}
	switch v.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "a whole number"
	}
	return `text ("" for none)`
}

// describe says what n is in an operator's words.
func describe(n *yaml.Node) string {
	s := quote(n.Value)
	switch {
	case n.Kind == yaml.MappingNode:
		s = "keys with values"
	case n.Kind == yaml.SequenceNode:
		s = "a list"
	case n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0:
		s += " in quotes"
	}
	if n.Style&yaml.TaggedStyle != 0 {
		s += " with the tag " + clip(n.Tag)
	}
	return s
}

func quote(s string) string { return strconv.Quote(clip(s)) }

// clip keeps a message readable, and its size bounded, whatever the file holds.
func clip(s string) string { return clipTo(60, s) }

func clipTo(most int, s string) string {
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
