package mongofake

import (
	"fmt"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// AllowWrites lets clients write to the collections whose names begin with prefix: insert,
// update by replacement, delete. A write that a driver repeats, as it may to a replica
// set, is carried out once.
func (f *Fake) AllowWrites(prefix string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.writable = append(f.writable, prefix)
}

// Documents is how many documents the collection has.
func (c *Collection) Documents() int {
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	return len(c.docs)
}

// write answers a command that writes; mu is held.
func (f *Fake) write(name string, command bson.Raw) (any, error) {
	collection := text(command, name)
	if !slices.ContainsFunc(f.writable, func(prefix string) bool { return strings.HasPrefix(collection, prefix) }) {
		return nil, &refusal{13, "Unauthorized", "not authorized to execute command " + name + " on " + collection, nil}
	}
	once := ""
	if n, err := command.LookupErr("txnNumber"); err == nil {
		once = fmt.Sprintf("%v %v", command.Lookup("lsid"), n)
		if answer, ok := f.written[once]; ok {
			return answer, nil
		}
	}
	c := f.collection(collection)
	var answer bson.D
	var err error
	switch name {
	case "insert":
		answer, err = c.insertAll(command)
	case "update":
		answer, err = c.updateAll(command)
	default:
		answer, err = c.deleteAll(command)
	}
	if err != nil {
		return nil, err
	}
	answer = append(answer, bson.E{Key: "ok", Value: 1.0})
	if once != "" {
		f.written[once] = answer
	}
	return answer, nil
}

// eachOf calls do for every document of a command's list, until one is refused, which becomes
// part of the answer. The number is what do returned in all.
func eachOf(command bson.Raw, list string, do func(bson.Raw) (int, error)) (n int, failed bson.A, err error) {
	all, err := values(command.Lookup(list))
	if err != nil {
		return 0, nil, err
	}
	for i, v := range all {
		d, ok := v.DocumentOK()
		if !ok {
			return 0, nil, badValue("%s needs documents", list)
		}
		done, err := do(d)
		if err != nil {
			r, ok := err.(*refusal)
			if !ok || r.code != duplicate {
				return 0, nil, err
			}
			failed = append(failed, bson.D{{Key: "index", Value: i}, {Key: "code", Value: r.code}, {Key: "errmsg", Value: r.text}})
			break // as ordered writes do
		}
		n += done
	}
	return n, failed, nil
}

// duplicate is the code of a refusal because there is such an _id.
const duplicate = 11000

func (c *Collection) insertAll(command bson.Raw) (bson.D, error) {
	n, failed, err := eachOf(command, "documents", func(d bson.Raw) (int, error) {
		id, err := d.LookupErr("_id")
		if err != nil {
			return 0, badValue("a document without an _id")
		}
		if c.at(id) >= 0 {
			return 0, &refusal{duplicate, "DuplicateKey", fmt.Sprintf("E11000 duplicate key error collection: %s _id: %v", c.name, id), nil}
		}
		c.places[keyOf(id)] = len(c.docs)
		c.docs = append(c.docs, d)
		c.changed(event{op: "insert", collection: c.name, id: id, full: d})
		return 1, nil
	})
	answer := bson.D{{Key: "n", Value: n}}
	if failed != nil {
		answer = append(answer, bson.E{Key: "writeErrors", Value: failed})
	}
	return answer, err
}

func (c *Collection) updateAll(command bson.Raw) (bson.D, error) {
	n, _, err := eachOf(command, "updates", func(u bson.Raw) (int, error) {
		next := sub(u, "u")
		if first, err := next.IndexErr(0); err != nil || strings.HasPrefix(first.Key(), "$") {
			return 0, badValue("an update that is no replacement")
		}
		if upsert, _ := u.Lookup("upsert").BooleanOK(); upsert {
			return 0, badValue("an upsert is more than there is here")
		}
		found, err := c.find(sub(u, "q"), nil)
		if err != nil || len(found) == 0 {
			return 0, err
		}
		id := found[0].Lookup("_id")
		if !next.Lookup("_id").Equal(id) {
			return 0, badValue("a replacement with another _id")
		}
		c.docs[c.at(id)] = next
		c.changed(event{op: "replace", collection: c.name, id: id, full: next})
		return 1, nil
	})
	return bson.D{{Key: "n", Value: n}, {Key: "nModified", Value: n}}, err
}

func (c *Collection) deleteAll(command bson.Raw) (bson.D, error) {
	n, _, err := eachOf(command, "deletes", func(d bson.Raw) (int, error) {
		found, err := c.find(sub(d, "q"), nil)
		if err != nil {
			return 0, err
		}
		if limit := size(d, 0, "limit"); limit > 0 {
			found = found[:min(limit, len(found))]
		}
		for _, doc := range slices.Clone(found) {
			c.remove(doc.Lookup("_id"))
		}
		return len(found), nil
	})
	return bson.D{{Key: "n", Value: n}}, err
}
