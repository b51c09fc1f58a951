package mongofake

import (
	"fmt"
	"strconv"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// epoch is the time of the first event, in seconds; each is one increment later.
const epoch = 1_700_000_000

// event is one entry of the history; its number is its place there, from 1.
type event struct {
	op         string
	collection string // empty: of all
	id         bson.RawValue
	full       bson.Raw // as it was then
	updated    bson.Raw // fields changed by an update
	extra      bson.D
}

// happen adds to the history and wakes streams; mu is held.
func (f *Fake) happen(e event) {
	f.history = append(f.history, e)
	f.wake()
}

// Emit adds an event that no change of a document made, like "rename", with more fields.
func (c *Collection) Emit(op string, fields bson.D) {
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	c.f.happen(event{op: op, collection: c.name, extra: fields})
}

// Invalidate ends every change stream with an invalidate event.
func (f *Fake) Invalidate() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.happen(event{op: "invalidate"})
}

// ForgetHistory is an oplog that was too short: streams cannot be resumed from before.
func (f *Fake) ForgetHistory() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forgotten = len(f.history)
}

// KillCursors forgets every cursor, as a restart does: clients get CursorNotFound, and a
// driver resumes its streams.
func (f *Fake) KillCursors() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.cursors)
	f.wake()
}

func token(n int) bson.D { return bson.D{{Key: "_data", Value: fmt.Sprintf("%016x", n)}} }

func clock(n int) bson.Timestamp { return bson.Timestamp{T: epoch, I: uint32(n)} }

// document is event n as a stream tells it.
func (e event) document(n int, database string, current bson.Raw) bson.D {
	d := bson.D{
		{Key: "_id", Value: token(n)},
		{Key: "operationType", Value: e.op},
		{Key: "clusterTime", Value: clock(n)},
	}
	if e.op == "invalidate" {
		return d
	}
	if e.full != nil && e.op != "update" {
		d = append(d, bson.E{Key: "fullDocument", Value: e.full})
	} else if current != nil {
		d = append(d, bson.E{Key: "fullDocument", Value: current})
	}
	d = append(d, bson.E{Key: "ns", Value: bson.D{{Key: "db", Value: database}, {Key: "coll", Value: e.collection}}})
	if e.id.Type != 0 {
		d = append(d, bson.E{Key: "documentKey", Value: bson.D{{Key: "_id", Value: e.id}}})
	}
	if e.updated != nil {
		d = append(d, bson.E{Key: "updateDescription", Value: bson.D{
			{Key: "updatedFields", Value: e.updated}, {Key: "removedFields", Value: bson.A{}}, {Key: "truncatedArrays", Value: bson.A{}},
		}})
	}
	return append(d, e.extra...)
}

// stream is the part of a cursor that makes it a change stream.
type stream struct {
	collection string // empty: all
	database   string
	lookup     bool       // updates with their document
	stages     []bson.Raw // the rest of the pipeline
	seen       int        // events up to this number are dealt with
}

// openStream reads the $changeStream stage; mu is held.
func (f *Fake) openStream(collection, database string, stage bson.Raw, rest []bson.Raw) (*stream, error) {
	if !f.replicaSet {
		return nil, &refusal{40573, "Location40573", "The $changeStream stage is only supported on replica sets", nil}
	}
	s := &stream{collection: collection, database: database, stages: rest, seen: len(f.history)}
	options, err := stage.Elements()
	if err != nil {
		return nil, badValue("%v", err)
	}
	for _, o := range options {
		switch v := o.Value(); o.Key() {
		case "fullDocument":
			text, _ := v.StringValueOK()
			s.lookup = text == "updateLookup"
		case "resumeAfter", "startAfter":
			if s.seen, err = f.position(v, o.Key() == "startAfter"); err != nil {
				return nil, err
			}
		case "startAtOperationTime":
			_, i, ok := v.TimestampOK()
			if !ok || i < 1 {
				return nil, badValue("startAtOperationTime is no timestamp of this server")
			}
			s.seen = int(i) - 1
		case "allChangesForCluster", "showExpandedEvents", "fullDocumentBeforeChange":
		default:
			return nil, badValue("unknown option of $changeStream: %s", o.Key())
		}
	}
	if s.seen < f.forgotten {
		return nil, &refusal{286, "ChangeStreamHistoryLost", "the resume point may no longer be in the oplog", []string{"NonResumableChangeStreamError"}}
	}
	return s, nil
}

// position is the number in a resume token that this server gave.
func (f *Fake) position(v bson.RawValue, afterInvalidate bool) (int, error) {
	wrong := &refusal{260, "InvalidResumeToken", "the resume token is not one of this server's", nil}
	doc, ok := v.DocumentOK()
	if !ok {
		return 0, wrong
	}
	text, ok := doc.Lookup("_data").StringValueOK()
	if !ok || len(text) != 16 {
		return 0, wrong
	}
	n, err := strconv.ParseUint(text, 16, 31)
	if err != nil || int(n) > len(f.history) {
		return 0, wrong
	}
	if n > 0 && f.history[n-1].op == "invalidate" && !afterInvalidate {
		return 0, &refusal{260, "InvalidResumeToken", "resumeAfter cannot follow an invalidate event", nil}
	}
	return int(n), nil
}

// next takes up to most events that nobody has been told of, and says whether the stream
// has ended with them; mu is held.
func (s *stream) next(f *Fake, most int) (batch []bson.Raw, ended bool, err error) {
	for s.seen < len(f.history) && len(batch) < most && !ended {
		e := f.history[s.seen]
		s.seen++
		if e.collection != "" && s.collection != "" && e.collection != s.collection ||
			e.op == "invalidate" && e.collection != "" && s.collection == "" {
			continue
		}
		var current bson.Raw
		if c := f.collections[e.collection]; s.lookup && e.op == "update" && c != nil {
			if i := c.at(e.id); i >= 0 {
				current = c.docs[i]
			}
		}
		docs, err := f.pipeline([]bson.Raw{document(e.document(s.seen, s.database, current))}, s.stages)
		if err != nil {
			return nil, false, err
		}
		batch = append(batch, docs...)
		ended = e.op == "invalidate"
	}
	return batch, ended, nil
}
