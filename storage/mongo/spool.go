package mongo

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"rollcall/storage"
)

// stanza is a document of messages.
type stanza struct {
	ID   string    `bson:"_id"` // see waiting.stanza
	At   time.Time `bson:"at"`
	Data []byte    `bson:"data"`
	Made time.Time `bson:"made"`
}

// leftoverAge is how old a stanza has to be that no queue names until it is taken for one
// whose sender or remover died, and not for one that is about to be named.
const leftoverAge = 24 * time.Hour

// Keep implements storage.Spool. After an error some of the messages may be kept.
func (s *Store) Keep(ctx context.Context, limit storage.KeepLimit, list ...storage.Kept) ([]string, error) {
	for _, k := range list {
		if err := k.Check(); err != nil {
			return nil, err
		}
	}
	var users []string
	of := make(map[string][]*keeping)
	all := make([]keeping, len(list))
	for i, k := range list {
		if of[k.User] == nil {
			users = append(users, k.User)
		}
		all[i] = keeping{Kept: k, waiting: waiting{k.ID, int64(len(k.Data)), bson.NewObjectID().Hex()}}
		of[k.User] = append(of[k.User], &all[i])
	}
	for _, user := range users {
		err := s.own.change(ctx, "keep", user, func(ctx context.Context) error { return s.own.keep(ctx, limit, user, of[user]) })
		if err != nil {
			return nil, err
		}
	}
	var refused []string
	for _, k := range all {
		if k.refused {
			refused = append(refused, k.ID)
		}
	}
	return refused, ctx.Err()
}

// keeping is a message on its way into the store.
type keeping struct {
	storage.Kept
	waiting waiting
	written bool // the stanza is there
	added   bool // the queue names it
	refused bool
}

// keep stores a user's messages: first the stanzas, then the queue that names them.
func (o *own) keep(ctx context.Context, limit storage.KeepLimit, user string, list []*keeping) error {
	for {
		q := queue{User: user}
		if err := load(ctx, o.spool, user, &q); err != nil {
			return err
		}
		rev := q.Rev
		useless, changed, err := plan(&q, limit, list)
		if err != nil {
			return err
		}
		done := !changed
		if changed {
			if err := o.writeStanzas(ctx, user, list); err != nil {
				return err
			}
			q.Rev = bson.NewObjectID()
			if done, err = replace(ctx, o.spool, user, rev, &q); err != nil {
				return err
			}
		}
		if done {
			for _, k := range list {
				if k.written && !k.added {
					useless = append(useless, k.waiting)
				}
			}
			o.removeStanzas(ctx, user, useless, false)
			return nil
		}
	}
}

// plan decides what becomes of messages, and returns what has to go for them.
func plan(q *queue, limit storage.KeepLimit, list []*keeping) (dropped []waiting, changed bool, err error) {
	for _, k := range list {
		gone, in, added, err := q.keep(limit, k.waiting)
		if err != nil {
			return nil, false, err
		}
		k.refused, k.added = !in, added
		changed = changed || added
		dropped = append(dropped, gone...)
	}
	// Some may have come just to go for others.
	for _, k := range list {
		if i := slices.Index(dropped, k.waiting); i >= 0 {
			k.added, dropped = false, slices.Delete(dropped, i, i+1)
		}
	}
	return dropped, changed, nil
}

// writeStanzas writes those that the queue will name and that are not there yet.
func (o *own) writeStanzas(ctx context.Context, user string, list []*keeping) error {
	var docs []any
	for _, k := range list {
		if k.added && !k.written {
			docs = append(docs, stanza{ID: k.waiting.stanza(user), At: k.At, Data: k.Data, Made: time.Now()})
		}
	}
	if len(docs) == 0 {
		return nil
	}
	if _, err := o.messages.InsertMany(ctx, docs); err != nil {
		return err
	}
	for _, k := range list {
		k.written = k.written || k.added
	}
	return nil
}

// removeStanzas removes what no queue names any more and, if asked to, what was left
// behind. It is no failure if it fails: nothing sees them, and they are left behind.
func (o *own) removeStanzas(ctx context.Context, user string, list []waiting, leftovers bool) {
	either := bson.A{}
	if len(list) > 0 {
		ids := make([]string, len(list))
		for i, w := range list {
			ids[i] = w.stanza(user)
		}
		either = append(either, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}})
	}
	if leftovers {
		// "0" comes after "/", with which all of the user's ids go on.
		of := bson.D{{Key: "$gte", Value: user + "/"}, {Key: "$lt", Value: user + "0"}}
		old := bson.D{{Key: "$lt", Value: time.Now().Add(-leftoverAge)}}
		either = append(either, bson.D{{Key: "_id", Value: of}, {Key: "made", Value: old}})
	}
	if len(either) == 0 {
		return
	}
	if _, err := o.messages.DeleteMany(ctx, bson.D{{Key: "$or", Value: either}}); err != nil {
		o.s.c.Log.InfoContext(ctx, "stanzas that nobody waits for stay behind", "user", user, "error", err)
	}
}

// Waiting implements storage.Spool.
func (s *Store) Waiting(ctx context.Context, user, after string, n int) (list []storage.Kept, err error) {
	err = s.own.read(ctx, "waiting", func(ctx context.Context) (err error) {
		list, err = s.own.waiting(ctx, user, after, n)
		return err
	})
	return list, err
}

// waiting reads the queue and then the stanzas. Those that are gone in between were
// discarded; others take their places.
func (o *own) waiting(ctx context.Context, user, after string, n int) (list []storage.Kept, err error) {
	for len(list) < n {
		q := queue{User: user}
		if err := load(ctx, o.spool, user, &q); err != nil {
			return nil, err
		}
		want := n - len(list)
		page, err := q.after(after, want)
		if err != nil || len(page) == 0 {
			return list, err
		}
		for part := range slices.Chunk(page, chunk) {
			found, err := o.stanzas(ctx, user, part)
			if err != nil {
				return nil, err
			}
			list = append(list, found...)
		}
		if len(page) < want {
			break
		}
		after = page[len(page)-1].id
	}
	return list, nil
}

// stanzas reads messages, in their order.
func (o *own) stanzas(ctx context.Context, user string, list []waiting) ([]storage.Kept, error) {
	ids := make([]any, len(list))
	for i, w := range list {
		ids[i] = w.stanza(user)
	}
	found := make(map[string]stanza, len(list))
	var broken error
	err := find(ctx, o.messages, among("_id", ids), bson.D{{Key: "made", Value: 0}}, 0, func(doc bson.Raw) bool {
		var s stanza
		if broken = bson.Unmarshal(doc, &s); broken != nil {
			return false
		}
		found[s.ID] = s
		return true
	})
	if err != nil || broken != nil {
		return nil, fmt.Errorf("messages of %q: %w", user, cmp.Or(err, broken))
	}
	kept := make([]storage.Kept, 0, len(list))
	for _, w := range list {
		if s, ok := found[w.stanza(user)]; ok {
			kept = append(kept, storage.Kept{User: user, ID: w.id, At: s.At.UTC(), Data: s.Data})
		}
	}
	return kept, nil
}

// Discard implements storage.Spool.
func (s *Store) Discard(ctx context.Context, user string, ids ...string) error {
	if len(ids) == 0 || storage.CheckUser(user) != nil {
		return ctx.Err()
	}
	return s.own.change(ctx, "discard", user, func(ctx context.Context) error {
		return s.own.discard(ctx, user, func(q *queue) (gone []waiting, err error) {
			for _, id := range ids {
				i, found := q.find(id)
				if !found {
					continue
				}
				w, err := q.remove(i)
				if err != nil {
					return nil, err
				}
				gone = append(gone, w)
			}
			return gone, nil
		})
	})
}

// DiscardAll implements storage.Spool.
func (s *Store) DiscardAll(ctx context.Context, user string) error {
	return s.own.change(ctx, "discard", user, func(ctx context.Context) error {
		return s.own.discard(ctx, user, func(q *queue) (gone []waiting, err error) {
			gone, err = q.after("", len(q.List))
			q.List = nil
			return gone, err
		})
	})
}

// discard takes out of a user's queue what f takes.
func (o *own) discard(ctx context.Context, user string, f func(*queue) ([]waiting, error)) error {
	for {
		q := queue{User: user}
		if err := load(ctx, o.spool, user, &q); err != nil {
			return err
		}
		rev := q.Rev
		gone, err := f(&q)
		if err != nil || len(gone) == 0 {
			return err
		}
		var doc any // none for an empty queue
		if len(q.List) > 0 {
			q.Rev = bson.NewObjectID()
			doc = &q
		}
		done, err := replace(ctx, o.spool, user, rev, doc)
		if err != nil {
			return err
		}
		if done {
			o.removeStanzas(ctx, user, gone, doc == nil)
			return nil
		}
	}
}

// CountWaiting implements storage.Spool.
func (s *Store) CountWaiting(ctx context.Context, user string) (messages int, bytes int64, err error) {
	var q queue
	err = s.own.read(ctx, "count-waiting", func(ctx context.Context) error {
		q = queue{}
		return load(ctx, s.own.spool, user, &q, "messages", "bytes")
	})
	return q.Messages, q.Bytes, err
}
