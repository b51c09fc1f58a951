package mongo

import (
	"context"
	"errors"
	"hash/maphash"
	"sync/atomic"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"
	"golang.org/x/sync/semaphore"

	"rollcall/storage"
)

// Own says where users' messages that wait, roster items and documents are: in
// collections of rollcall's own, which nobody else writes to. They are made when they are
// first written to.
type Own struct {
	Database string // "": Config.Database, or that of the users
	Prefix   string // of the collections' names. "": "rollcall_"
}

// The collections, after the prefix.
const (
	spoolCollection     = "spool"    // one document per user: which messages wait
	messagesCollection  = "messages" // the stanzas
	rostersCollection   = "rosters"
	documentsCollection = "documents"
)

// Collections lists the names of rollcall's own collections.
func (o Own) Collections() []string {
	return []string{
		o.Prefix + spoolCollection, o.Prefix + messagesCollection, o.Prefix + rostersCollection, o.Prefix + documentsCollection,
	}
}

// largest is the most bytes of data that a document of ours may have; MongoDB takes 16
// MiB in all.
const largest = 15 << 20

// own keeps what users own. What belongs together is in one document, as only that can
// be changed at once everywhere: a change replaces the document if it still has the
// revision that was read, and is tried again if not.
type own struct {
	s                                   *Store
	spool, messages, rosters, documents *driver.Collection
	// health is apart from that of reading: a majority that cannot be reached keeps
	// nobody from logging in.
	health *health
	turns  *semaphore.Weighted // operations at once
	// locks let one change of a user's document run at a time in this process: others
	// would only have to be repeated.
	locks   [256]chan struct{}
	seed    maphash.Seed
	indexed atomic.Bool // the index of documents is there
}

func newOwn(s *Store) *own {
	// What was told to be kept is not forgotten by an election, nor by a machine that
	// loses its power.
	journal := true
	safe := &writeconcern.WriteConcern{W: writeconcern.WCMajority, Journal: &journal}
	db := s.client.Database(s.c.Own.Database, options.Database().SetWriteConcern(safe).SetReadPreference(readpref.Primary()))
	collection := func(name string) *driver.Collection { return db.Collection(s.c.Own.Prefix + name) }
	o := &own{
		s:     s,
		spool: collection(spoolCollection), messages: collection(messagesCollection),
		rosters: collection(rostersCollection), documents: collection(documentsCollection),
		turns: semaphore.NewWeighted(int64(max(1, s.c.Pool/4))),
		seed:  maphash.MakeSeed(),
	}
	o.health = &health{
		ping: func(ctx context.Context) error {
			// What changes nothing waits for the majority all the same.
			_, err := o.spool.DeleteOne(ctx, byID(""))
			if err != nil && !unreachable(err) {
				return nil // refused: that is an answer
			}
			return err
		},
		run: s.background, log: s.c.Log,
		down: "MongoDB takes no writes: messages, rosters and documents of users cannot be changed",
	}
	for i := range o.locks {
		o.locks[i] = make(chan struct{}, 1)
	}
	return o
}

// read runs an operation that changes nothing.
func (o *own) read(ctx context.Context, kind string, f func(context.Context) error) error {
	return o.s.do(ctx, kind, o.turns, f)
}

// change runs an operation that changes a user's document, after those before it.
func (o *own) change(ctx context.Context, kind, user string, f func(context.Context) error) error {
	start := time.Now()
	err := o.locked(ctx, user, f)
	o.s.metrics.operation(kind, start, err)
	return err
}

func (o *own) locked(ctx context.Context, user string, f func(context.Context) error) error {
	if err := storage.CheckUser(user); err != nil {
		return err
	}
	if err := o.s.usable(ctx, o.health); err != nil {
		return err
	}
	lock := o.locks[maphash.String(o.seed, user)%uint64(len(o.locks))]
	wait := time.NewTimer(o.s.patience())
	defer wait.Stop()
	select {
	case lock <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	case <-wait.C:
		return o.s.failure(ctx, context.DeadlineExceeded)
	case <-o.s.life.Done():
		return errClosed
	}
	defer func() { <-lock }()
	return o.s.try(ctx, o.health, o.turns, f)
}

func byID(id any) bson.D { return bson.D{{Key: "_id", Value: id}} }

// load reads a user's document into doc, which stays as it is when there is none.
func load(ctx context.Context, c *driver.Collection, user string, doc any, fields ...string) error {
	find := options.FindOne()
	if len(fields) > 0 {
		find.SetProjection(only(fields...))
	}
	err := c.FindOne(ctx, byID(user), find).Decode(doc)
	if errors.Is(err, driver.ErrNoDocuments) {
		return nil
	}
	return err
}

// replace puts a document in the place of the user's that had the revision given, zero
// for none, or removes that when doc is nil. It reports whether it did; otherwise somebody
// else has changed the document.
func replace(ctx context.Context, c *driver.Collection, user string, rev bson.ObjectID, doc any) (bool, error) {
	before := append(byID(user), bson.E{Key: "rev", Value: rev})
	switch {
	case doc == nil && rev.IsZero():
		return true, nil
	case doc == nil:
		r, err := c.DeleteOne(ctx, before)
		return err == nil && r.DeletedCount == 1, err
	case rev.IsZero():
		_, err := c.InsertOne(ctx, doc)
		if driver.IsDuplicateKeyError(err) {
			return false, nil
		}
		return err == nil, err
	default:
		r, err := c.ReplaceOne(ctx, before, doc)
		return err == nil && r.MatchedCount == 1, err
	}
}

// removeAll removes a user's document.
func (o *own) removeAll(ctx context.Context, kind, user string, c *driver.Collection) error {
	return o.change(ctx, kind, user, func(ctx context.Context) error {
		_, err := c.DeleteOne(ctx, byID(user))
		return err
	})
}

// UserExists implements storage.Owners: also a blocked user has what is theirs.
func (s *Store) UserExists(ctx context.Context, id string) (found bool, err error) {
	err = s.do(ctx, "user", s.logins, func(ctx context.Context) (err error) {
		_, found, err = s.reader.userByLocal(ctx, id, s.reader.userNames())
		return err
	})
	return found, err
}
