package mongofake

import (
	"fmt"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Collection is a collection of the product, in whatever database a client looks for it.
// Every change of it is an event of change streams. Its methods panic when a document
// cannot be one: the test is wrong.
type Collection struct {
	f       *Fake
	name    string
	docs    []bson.Raw
	places  map[string]int // in docs, by keyOf(_id)
	indexes []bson.Raw
	// byValue finds documents by the values of one path, for the paths that were asked
	// for; it is thrown away when a document changes.
	byValue map[string]map[string][]bson.Raw
}

// Collection is the one of that name; it is made when there is none.
func (f *Fake) Collection(name string) *Collection {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.collection(name)
}

func (f *Fake) collection(name string) *Collection {
	c := f.collections[name]
	if c == nil {
		c = &Collection{f: f, name: name, places: map[string]int{}}
		f.collections[name] = c
	}
	return c
}

func document(v any) bson.Raw {
	raw, err := bson.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("mongofake: %v", err))
	}
	return raw
}

// at is the place of the document with that _id; -1 if there is none.
func (c *Collection) at(id bson.RawValue) int {
	if i, ok := c.places[keyOf(id)]; ok {
		return i
	}
	return -1
}

// value is v as it stands in a document.
func value(v any) bson.RawValue { return document(bson.D{{Key: "v", Value: v}}).Lookup("v") }

// Insert adds documents, or puts them in the place of those with the same _id. One
// without an _id gets an ObjectID.
func (c *Collection) Insert(documents ...any) {
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	for _, d := range documents {
		raw := document(d)
		id, err := raw.LookupErr("_id")
		if err != nil {
			id = value(bson.NewObjectID())
			var fields bson.D
			if err := bson.Unmarshal(raw, &fields); err != nil {
				panic(fmt.Sprintf("mongofake: %v", err))
			}
			raw = document(append(bson.D{{Key: "_id", Value: id}}, fields...))
		}
		op := "insert"
		if i := c.at(id); i >= 0 {
			op = "replace"
			c.docs[i] = raw
		} else {
			c.places[keyOf(id)] = len(c.docs)
			c.docs = append(c.docs, raw)
		}
		c.changed(event{op: op, collection: c.name, id: id, full: raw})
	}
}

// Set changes fields of the document with that _id; nothing happens if there is none.
func (c *Collection) Set(id any, fields bson.D) {
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	i := c.at(value(id))
	if i < 0 {
		return
	}
	var d bson.D
	if err := bson.Unmarshal(c.docs[i], &d); err != nil {
		panic(fmt.Sprintf("mongofake: %v", err))
	}
	for _, field := range fields {
		if at := slices.IndexFunc(d, func(e bson.E) bool { return e.Key == field.Key }); at >= 0 {
			d[at] = field
		} else {
			d = append(d, field)
		}
	}
	c.docs[i] = document(d)
	c.changed(event{op: "update", collection: c.name, id: value(id), full: c.docs[i], updated: document(fields)})
}

// Delete removes the documents with those values of _id.
func (c *Collection) Delete(ids ...any) {
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	for _, id := range ids {
		c.remove(value(id))
	}
}

// remove removes a document, if it is there; mu is held.
func (c *Collection) remove(id bson.RawValue) {
	i := c.at(id)
	if i < 0 {
		return
	}
	c.docs = slices.Delete(c.docs, i, i+1)
	delete(c.places, keyOf(id))
	for k, place := range c.places {
		if place > i {
			c.places[k]--
		}
	}
	c.changed(event{op: "delete", collection: c.name, id: id})
}

// Drop removes the collection's documents and indexes; change streams of it end.
func (c *Collection) Drop() {
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	c.docs, c.indexes = nil, nil
	clear(c.places)
	c.changed(event{op: "drop", collection: c.name})
	c.changed(event{op: "invalidate", collection: c.name})
}

func (c *Collection) changed(e event) {
	c.byValue = nil
	c.f.happen(e)
}

// find is the documents that pass a filter, in order.
func (c *Collection) find(filter, order bson.Raw) ([]bson.Raw, error) {
	candidates := c.candidates(filter)
	var found []bson.Raw
	for _, d := range candidates {
		ok, err := match(d, filter)
		if err != nil {
			return nil, err
		}
		if ok {
			found = append(found, d)
		}
	}
	return found, sortBy(found, order)
}

// candidates narrows the documents down by the first condition that is an equality.
func (c *Collection) candidates(filter bson.Raw) []bson.Raw {
	conditions, err := filter.Elements()
	if err != nil {
		return c.docs
	}
	for _, condition := range conditions {
		wanted := []bson.RawValue{condition.Value()}
		if strings.HasPrefix(condition.Key(), "$") {
			continue
		}
		if o, is := operators(condition.Value()); is {
			if len(o) != 1 || o[0].Key() != "$in" {
				continue
			}
			if wanted, err = values(o[0].Value()); err != nil {
				continue
			}
		}
		if slices.ContainsFunc(wanted, func(v bson.RawValue) bool { return v.Type == bson.TypeNull }) {
			continue // equals what is missing
		}
		return c.among(condition.Key(), wanted)
	}
	return c.docs
}

// among is the documents that have one of the values at a path, in the order of the values,
// each once.
func (c *Collection) among(path string, wanted []bson.RawValue) []bson.Raw {
	index, ok := c.byValue[path]
	if !ok {
		index = map[string][]bson.Raw{}
		for _, d := range c.docs {
			seen := map[string]bool{}
			for _, v := range lookup(d, strings.Split(path, "."), true) {
				if k := keyOf(v); !seen[k] {
					seen[k] = true
					index[k] = append(index[k], d)
				}
			}
		}
		if c.byValue == nil {
			c.byValue = map[string]map[string][]bson.Raw{}
		}
		c.byValue[path] = index
	}
	if len(wanted) == 1 {
		return index[keyOf(wanted[0])]
	}
	var found []bson.Raw
	once := map[*byte]bool{}
	for _, v := range wanted {
		for _, d := range index[keyOf(v)] {
			if !once[&d[0]] {
				once[&d[0]] = true
				found = append(found, d)
			}
		}
	}
	return found
}

// keyOf is the same for values that are equal.
func keyOf(v bson.RawValue) string {
	if n, ok := number(v); ok {
		return fmt.Sprintf("n%g", n)
	}
	return string(rune(class(v))) + string(v.Value)
}

// sortBy orders documents by the fields of order, 1 ascending and -1 descending.
func sortBy(docs []bson.Raw, order bson.Raw) error {
	if order == nil {
		return nil
	}
	fields, err := order.Elements()
	if err != nil {
		return badValue("%v", err)
	}
	first := func(d bson.Raw, path string) bson.RawValue {
		if found := lookup(d, strings.Split(path, "."), false); len(found) > 0 {
			return found[0]
		}
		return bson.RawValue{Type: bson.TypeNull}
	}
	slices.SortStableFunc(docs, func(a, b bson.Raw) int {
		for _, f := range fields {
			c := compare(first(a, f.Key()), first(b, f.Key()))
			if n, _ := number(f.Value()); n < 0 {
				c = -c
			}
			if c != 0 {
				return c
			}
		}
		return 0
	})
	return nil
}

// project keeps or leaves out fields. The _id is kept unless left out.
func project(doc, projection bson.Raw) (bson.Raw, error) {
	fields, err := projection.Elements()
	if err != nil {
		return nil, badValue("%v", err)
	}
	keep, including, id := map[string]bool{}, false, true
	for _, f := range fields {
		if f.Value().Type == bson.TypeEmbeddedDocument || strings.Contains(f.Key(), "$") {
			return nil, badValue("projection of %s is more than there is here", f.Key())
		}
		if f.Key() == "_id" {
			id = truth(f.Value())
			continue
		}
		keep[f.Key()] = true
		including = including || truth(f.Value())
	}
	if len(keep) == 0 {
		including = id && len(fields) > 0 // {_id: 1} is the _id alone
	}
	if !id && !including {
		keep["_id"] = true
	}
	if id && including {
		keep["_id"] = true
	}
	return document(trim(doc, "", keep, including)), nil
}

// trim is project within the document at a prefix.
func trim(doc bson.Raw, prefix string, keep map[string]bool, including bool) bson.D {
	out := bson.D{}
	fields, err := doc.Elements()
	if err != nil {
		return out // it was a document before
	}
	for _, f := range fields {
		path := prefix + f.Key()
		if keep[path] {
			if including {
				out = append(out, bson.E{Key: f.Key(), Value: f.Value()})
			}
			continue
		}
		if v := trimValue(f.Value(), path+".", keep, including); v != nil {
			out = append(out, bson.E{Key: f.Key(), Value: v})
		}
	}
	return out
}

// trimValue is what remains of a value that is not itself kept or left out; nil is nothing.
func trimValue(v bson.RawValue, prefix string, keep map[string]bool, including bool) any {
	deeper := false
	for path := range keep {
		deeper = deeper || strings.HasPrefix(path, prefix)
	}
	if deeper {
		if inner, ok := v.DocumentOK(); ok {
			return trim(inner, prefix, keep, including)
		}
		if elements, err := values(v); err == nil {
			list := bson.A{}
			for _, e := range elements {
				if inner, ok := e.DocumentOK(); ok {
					list = append(list, trim(inner, prefix, keep, including))
				} else if !including {
					list = append(list, e)
				}
			}
			return list
		}
	}
	if including {
		return nil
	}
	return v
}
