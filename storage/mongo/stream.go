package mongo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// reopenEvery is how often a change stream that cannot be opened is tried.
const reopenEvery = 5 * time.Second

// feed is an open change stream.
type feed interface {
	// next waits a while for an event; nil when there is none yet.
	next(ctx context.Context) (bson.Raw, error)
	// token is where to go on after what next returned last; nil if nowhere.
	token() bson.Raw
	close(ctx context.Context)
}

// opener opens the change stream of a collection, after token if there is one.
type opener func(ctx context.Context, c *driver.Collection, token bson.Raw) (feed, error)

// wantsStreams reports whether change streams are to be used.
func (l *lookout) wantsStreams(ctx context.Context) (bool, error) {
	mode := l.s.c.Watch.Mode
	if mode != WatchAuto && mode != WatchStream {
		return false, nil
	}
	hello, err := l.s.client.Database("admin").RunCommand(ctx, bson.D{{Key: "hello", Value: 1}}).Raw()
	if err != nil {
		return false, l.s.failure(ctx, err)
	}
	has := hasStreams(hello)
	if !has && mode == WatchStream {
		return false, errors.New("mongo: change streams need a replica set, and the server is in none")
	}
	l.s.c.Log.InfoContext(ctx, "how changes are noticed", "streams", has, "interval", l.s.c.Watch.Interval.String())
	return has, nil
}

// hasStreams reports whether a server that says hello like this is a member of a
// replica set, or in front of some.
func hasStreams(hello bson.Raw) bool {
	if s, ok := (path{"setName"}).in(hello).StringValueOK(); ok && s != "" {
		return true
	}
	s, _ := path{"msg"}.in(hello).StringValueOK()
	return s == "isdbgrid"
}

// change is what matters of an event of a change stream.
type change struct {
	id bson.RawValue // of _id; type 0 when the event is about no document
	// over says that the stream ends: its collection was dropped or renamed.
	over bool
}

// decodeChange understands an event
// (https://www.mongodb.com/docs/manual/reference/change-events/). Kinds of events that
// are not about documents, such as new indexes, say nothing.
func decodeChange(event bson.Raw) (change, error) {
	op, ok := path{"operationType"}.in(event).StringValueOK()
	if !ok {
		return change{}, errors.New("mongo: an event without a type")
	}
	switch op {
	case "insert", "update", "replace", "delete":
		id := path{"documentKey", "_id"}.in(event)
		if id.Type == 0 {
			return change{}, fmt.Errorf("mongo: an event %q about no document", op)
		}
		// The event's bytes belong to the stream.
		return change{id: bson.RawValue{Type: id.Type, Value: append([]byte(nil), id.Value...)}}, nil
	case "drop", "rename", "dropDatabase", "invalidate":
		return change{over: true}, nil
	}
	return change{}, nil
}

// follow marks what the change stream of a collection tells, until ctx ends. While there
// is no stream the collection is polled.
func (l *lookout) follow(ctx context.Context, d *side) {
	var token bson.Raw
	failing := false
	for ctx.Err() == nil {
		// A stream that goes on where the last one was misses nothing.
		gap := token == nil
		f, err := l.open(ctx, d.coll, token)
		if err == nil {
			failing = false
			l.send(ctx, mark{side: d, streaming: 1, everything: gap})
			token, err = l.drain(ctx, d, f)
			f.close(context.WithoutCancel(ctx))
			l.send(ctx, mark{side: d, streaming: -1})
		} else if !unreachable(err) {
			token = nil // perhaps it is too old
		}
		if err == nil || ctx.Err() != nil {
			continue
		}
		if !failing {
			failing = true
			l.s.c.Log.WarnContext(ctx, "no change stream for now: the collection is polled", "collection", d.name, "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(min(reopenEvery, l.s.c.Watch.Interval)):
		}
	}
}

// drain marks what a stream tells until it ends, and returns where to go on: nil when
// the next stream has to be a new one. A stream that is over by its own account ends
// without an error.
func (l *lookout) drain(ctx context.Context, d *side, f feed) (token bson.Raw, err error) {
	for {
		event, err := f.next(ctx)
		if err != nil {
			if !unreachable(err) {
				return nil, err // such as a history that is lost
			}
			return f.token(), err
		}
		if event == nil {
			continue
		}
		c, err := decodeChange(event)
		if err != nil {
			return nil, err
		}
		if c.over {
			return nil, nil
		}
		if c.id.Type != 0 && !l.send(ctx, mark{side: d, id: c.id}) {
			return nil, ctx.Err()
		}
	}
}

// send hands a mark to the lookout, which may be busy.
func (l *lookout) send(ctx context.Context, m mark) bool {
	select {
	case l.marks <- m:
		return true
	case <-ctx.Done():
		return false
	}
}

// driverFeed is the driver's change stream.
type driverFeed struct{ *driver.ChangeStream }

// openStream returns an opener; next of its streams waits no longer than patience.
func openStream(patience time.Duration) opener {
	return func(ctx context.Context, c *driver.Collection, token bson.Raw) (feed, error) {
		return watch(ctx, c, token, patience)
	}
}

func watch(ctx context.Context, c *driver.Collection, token bson.Raw, patience time.Duration) (feed, error) {
	about := bson.A{"insert", "update", "replace", "delete", "drop", "rename", "dropDatabase", "invalidate"}
	pipeline := driver.Pipeline{
		{{Key: "$match", Value: bson.D{{Key: "operationType", Value: bson.D{{Key: "$in", Value: about}}}}}},
		{{Key: "$project", Value: bson.D{{Key: "operationType", Value: 1}, {Key: "documentKey", Value: 1}}}},
	}
	o := options.ChangeStream().SetMaxAwaitTime(patience)
	if token != nil {
		o.SetResumeAfter(token)
	}
	cs, err := c.Watch(ctx, pipeline, o)
	if err != nil {
		return nil, err
	}
	return driverFeed{cs}, nil
}

func (f driverFeed) next(ctx context.Context) (bson.Raw, error) {
	if f.TryNext(ctx) {
		return f.Current, nil
	}
	if err := f.Err(); err != nil {
		return nil, err
	}
	if f.ID() == 0 {
		return nil, errors.New("mongo: the server closed the change stream")
	}
	return nil, nil
}

func (f driverFeed) token() bson.Raw { return f.ResumeToken() }

func (f driverFeed) close(ctx context.Context) {
	// The server drops what is not closed.
	_ = f.Close(ctx)
}
