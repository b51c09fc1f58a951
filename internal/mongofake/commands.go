package mongofake

import (
	"math"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// defaultBatch is how many documents come with the first answer when nobody says.
const defaultBatch = 101

// defaultAwait is how long a getMore of a change stream waits when nobody says.
const defaultAwait = time.Second

const setName = "rs0"

// answer is a document or a refusal.
func (f *Fake) answer(name string, m message, connection int) any {
	f.mu.Lock()
	handler, secondary := f.handlers[name], f.secondary
	f.mu.Unlock()
	if handler != nil {
		return handler(m.body)
	}
	switch name {
	case "hello", "isMaster", "ismaster":
		return f.hello(connection)
	case "ping", "endSessions":
		return bson.D{{Key: "ok", Value: 1.0}}
	case "buildInfo", "buildinfo":
		return bson.D{{Key: "version", Value: "7.0.0"}, {Key: "versionArray", Value: bson.A{7, 0, 0, 0}}, {Key: "ok", Value: 1.0}}
	}
	if secondary {
		n := NotPrimary()
		return &refusal{n.Code, n.Name, "not primary", n.Labels}
	}
	if name == "getMore" {
		return f.getMore(m.body)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var d any
	var err error
	switch name {
	case "find":
		d, err = f.find(m.body)
	case "aggregate":
		d, err = f.aggregate(m.body)
	case "count":
		d, err = f.count(m.body)
	case "killCursors":
		d = f.killCursors(m.body)
	case "listIndexes":
		d, err = f.listIndexes(m.body)
	case "createIndexes":
		d, err = f.createIndexes(m.body)
	case "insert", "update", "delete":
		d, err = f.write(name, m.body)
	default:
		return &refusal{59, "CommandNotFound", "no such command: '" + name + "'", nil}
	}
	if err != nil {
		return refused(err)
	}
	return d
}

func (f *Fake) hello(connection int) bson.D {
	f.mu.Lock()
	defer f.mu.Unlock()
	primary := !f.secondary || !f.replicaSet
	d := bson.D{
		{Key: "helloOk", Value: true}, {Key: "ismaster", Value: primary}, {Key: "isWritablePrimary", Value: primary},
		{Key: "maxBsonObjectSize", Value: 16 << 20}, {Key: "maxMessageSizeBytes", Value: maxMessage},
		{Key: "maxWriteBatchSize", Value: 100_000}, {Key: "localTime", Value: time.Now()},
		{Key: "logicalSessionTimeoutMinutes", Value: 30}, {Key: "connectionId", Value: connection},
		{Key: "minWireVersion", Value: 0}, {Key: "maxWireVersion", Value: 21}, {Key: "readOnly", Value: false},
	}
	if f.replicaSet {
		d = append(d, bson.D{
			{Key: "setName", Value: setName}, {Key: "setVersion", Value: 1}, {Key: "secondary", Value: !primary},
			{Key: "hosts", Value: bson.A{f.address}}, {Key: "me", Value: f.address},
		}...)
		if primary {
			d = append(d, bson.E{Key: "primary", Value: f.address})
		}
	}
	return append(d, bson.E{Key: "ok", Value: 1.0})
}

// cursor is what is left of an answer.
type cursor struct {
	namespace string
	rest      []bson.Raw
	stream    *stream // nil for documents
}

func text(command bson.Raw, field string) string {
	s, _ := command.Lookup(field).StringValueOK()
	return s
}

func size(command bson.Raw, otherwise int, field ...string) int {
	v, err := command.LookupErr(field...)
	if err != nil {
		return otherwise
	}
	n, ok := number(v)
	if !ok || n < 0 || n > math.MaxInt32 {
		return otherwise
	}
	return int(n)
}

func sub(command bson.Raw, field string) bson.Raw {
	d, _ := command.Lookup(field).DocumentOK()
	return d
}

func (f *Fake) find(command bson.Raw) (any, error) {
	name := text(command, "find")
	docs, err := f.collection(name).find(sub(command, "filter"), sub(command, "sort"))
	if err != nil {
		return nil, err
	}
	docs = docs[min(size(command, 0, "skip"), len(docs)):]
	if limit := size(command, 0, "limit"); limit > 0 {
		docs = docs[:min(limit, len(docs))]
	}
	if projection := sub(command, "projection"); projection != nil {
		for i := range docs {
			if docs[i], err = project(docs[i], projection); err != nil {
				return nil, err
			}
		}
	}
	single, _ := command.Lookup("singleBatch").BooleanOK()
	return f.open(command, name, docs, size(command, defaultBatch, "batchSize"), single), nil
}

// open is the first answer of a cursor.
func (f *Fake) open(command bson.Raw, collection string, docs []bson.Raw, batch int, single bool) bson.D {
	c := &cursor{namespace: text(command, "$db") + "." + collection, rest: docs}
	first := c.take(batch)
	id := int64(0)
	if len(c.rest) > 0 && !single {
		id = f.keep(c)
	}
	return f.batch(c, id, "firstBatch", first)
}

func (f *Fake) keep(c *cursor) int64 {
	f.lastCursor++
	f.cursors[f.lastCursor] = c
	return f.lastCursor
}

func (c *cursor) take(n int) []bson.Raw {
	n = min(n, len(c.rest))
	batch := c.rest[:n]
	c.rest = c.rest[n:]
	return batch
}

// batch is an answer with documents, and with the time and the resume token that go with
// replica sets and streams.
func (f *Fake) batch(c *cursor, id int64, field string, docs []bson.Raw) bson.D {
	if docs == nil {
		docs = []bson.Raw{} // an array, not null
	}
	inner := bson.D{{Key: field, Value: docs}, {Key: "id", Value: id}, {Key: "ns", Value: c.namespace}}
	if c.stream != nil {
		inner = append(inner, bson.E{Key: "postBatchResumeToken", Value: token(c.stream.seen)})
	}
	d := bson.D{{Key: "cursor", Value: inner}, {Key: "ok", Value: 1.0}}
	if f.replicaSet {
		d = append(d, bson.E{Key: "operationTime", Value: clock(len(f.history) + 1)})
	}
	return d
}

// getMore waits for events when there are none and the cursor is a stream.
func (f *Fake) getMore(command bson.Raw) any {
	id, _ := command.Lookup("getMore").AsInt64OK()
	most := size(command, math.MaxInt32, "batchSize")
	if most == 0 {
		most = math.MaxInt32
	}
	wait := defaultAwait
	if ms := size(command, 0, "maxTimeMS"); ms > 0 {
		wait = time.Duration(ms) * time.Millisecond
	}
	timeout := time.After(wait)
	for late := false; ; {
		f.mu.Lock()
		c := f.cursors[id]
		if c == nil || f.closed {
			f.mu.Unlock()
			return &refusal{43, "CursorNotFound", "cursor id not found", nil}
		}
		docs, ended, err := c.next(f, most)
		if len(docs) > 0 || ended || late || err != nil || c.stream == nil {
			if ended {
				delete(f.cursors, id)
				id = 0
			}
			answer := any(f.batch(c, id, "nextBatch", docs))
			f.mu.Unlock()
			if err != nil {
				return refused(err)
			}
			return answer
		}
		changed := f.changed
		f.mu.Unlock()
		select {
		case <-changed:
		case <-timeout:
			late = true
		}
	}
}

func (c *cursor) next(f *Fake, most int) (docs []bson.Raw, ended bool, err error) {
	if c.stream != nil {
		return c.stream.next(f, most)
	}
	docs = c.take(most)
	return docs, len(c.rest) == 0, nil
}

func (f *Fake) killCursors(command bson.Raw) bson.D {
	killed := bson.A{}
	ids, err := values(command.Lookup("cursors"))
	if err != nil {
		ids = nil
	}
	for _, v := range ids {
		if id, ok := v.AsInt64OK(); ok && f.cursors[id] != nil {
			delete(f.cursors, id)
			killed = append(killed, id)
		}
	}
	f.wake() // a getMore may be waiting
	return bson.D{
		{Key: "cursorsKilled", Value: killed}, {Key: "cursorsNotFound", Value: bson.A{}},
		{Key: "cursorsAlive", Value: bson.A{}}, {Key: "cursorsUnknown", Value: bson.A{}}, {Key: "ok", Value: 1.0},
	}
}

func (f *Fake) count(command bson.Raw) (any, error) {
	docs, err := f.collection(text(command, "count")).find(sub(command, "query"), nil)
	if err != nil {
		return nil, err
	}
	return bson.D{{Key: "n", Value: len(docs)}, {Key: "ok", Value: 1.0}}, nil
}

func (f *Fake) listIndexes(command bson.Raw) (any, error) {
	name := text(command, "listIndexes")
	c := f.collections[name]
	if c == nil {
		return nil, &refusal{26, "NamespaceNotFound", "ns does not exist: " + name, nil}
	}
	all := []bson.Raw{document(bson.D{{Key: "v", Value: 2}, {Key: "key", Value: bson.D{{Key: "_id", Value: 1}}}, {Key: "name", Value: "_id_"}})}
	return f.open(command, name, append(all, c.indexes...), defaultBatch, false), nil
}

// createIndexes remembers indexes for listIndexes; searching needs none.
func (f *Fake) createIndexes(command bson.Raw) (any, error) {
	c := f.collection(text(command, "createIndexes"))
	indexes, err := values(command.Lookup("indexes"))
	if err != nil {
		return nil, err
	}
	before := 1 + len(c.indexes)
	for _, v := range indexes {
		index, ok := v.DocumentOK()
		if !ok {
			return nil, badValue("an index is no document")
		}
		if !c.hasIndex(text(index, "name")) {
			c.indexes = append(c.indexes, index)
		}
	}
	return bson.D{
		{Key: "numIndexesBefore", Value: before}, {Key: "numIndexesAfter", Value: 1 + len(c.indexes)},
		{Key: "createdCollectionAutomatically", Value: false}, {Key: "ok", Value: 1.0},
	}, nil
}

func (c *Collection) hasIndex(name string) bool {
	for _, index := range c.indexes {
		if text(index, "name") == name {
			return true
		}
	}
	return false
}
