package mongo

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"

	"rollcall/storage"
)

// folder is the document with all of a user's documents: they share a limit.
type folder struct {
	User      string        `bson:"_id"`
	Rev       bson.ObjectID `bson:"rev"`
	Documents []piece       `bson:"documents"`
}

// piece is one of a user's documents.
type piece struct {
	Key  string `bson:"key"`
	Data []byte `bson:"data"`
}

// pieceKey is the path of their keys, on which there is an index for EachDocument.
const pieceKey = "documents.key"

// foundPiece is a piece by itself, out of its folder.
type foundPiece struct {
	User     string `bson:"_id"`
	Document piece  `bson:"documents"`
}

// Document implements storage.Documents.
func (s *Store) Document(ctx context.Context, user, key string) (data []byte, err error) {
	if storage.CheckDocument(user, key) != nil {
		return nil, notFound("document", key)
	}
	err = s.own.read(ctx, "document", func(ctx context.Context) error {
		data = nil
		return s.own.pieces(ctx, byID(user), key, func(_ string, found []byte) { data = found })
	})
	if err == nil && data == nil {
		err = notFound("document", key)
	}
	return data, err
}

// pieces calls f for the documents of a key in the folders that a filter finds, without
// reading what else is there.
func (o *own) pieces(ctx context.Context, filter bson.D, key string, f func(user string, data []byte)) error {
	wanted := bson.D{{Key: pieceKey, Value: key}}
	cursor, err := o.documents.Aggregate(ctx, driver.Pipeline{
		{{Key: "$match", Value: append(filter, wanted...)}},
		{{Key: "$unwind", Value: "$documents"}},
		{{Key: "$match", Value: wanted}},
	})
	if err != nil {
		return err
	}
	var broken error
	err = drain(ctx, cursor, func(doc bson.Raw) bool {
		var one foundPiece
		if broken = bson.Unmarshal(doc, &one); broken != nil {
			broken = fmt.Errorf("mongo: a document of %s: %w", o.documents.Name(), broken)
			return false
		}
		f(one.User, one.Document.Data)
		return ctx.Err() == nil
	})
	return cmp.Or(err, ctx.Err(), broken)
}

// PutDocument implements storage.Documents.
func (s *Store) PutDocument(ctx context.Context, user, key string, data []byte, limit storage.DocumentLimit) error {
	if err := storage.CheckDocument(user, key); err != nil {
		return err
	}
	return s.own.change(ctx, "put-document", user, func(ctx context.Context) error {
		if err := s.own.index(ctx); err != nil {
			return err
		}
		for {
			all := folder{User: user}
			if err := load(ctx, s.own.documents, user, &all); err != nil {
				return err
			}
			rev := all.Rev
			if err := all.put(key, data, limit); err != nil {
				return err
			}
			var doc any // none for an empty folder
			if len(all.Documents) > 0 {
				all.Rev = bson.NewObjectID()
				doc = &all
			}
			if done, err := replace(ctx, s.own.documents, user, rev, doc); done || err != nil {
				return err
			}
		}
	})
}

// put puts a document in the place of the one before.
func (d *folder) put(key string, data []byte, limit storage.DocumentLimit) error {
	i := slices.IndexFunc(d.Documents, func(p piece) bool { return p.Key == key })
	before := 0
	if i >= 0 {
		before = len(d.Documents[i].Data)
		d.Documents = slices.Delete(d.Documents, i, i+1)
	}
	if len(data) == 0 {
		return nil
	}
	var bytes, all int64
	for _, p := range d.Documents {
		bytes += int64(len(p.Data))
		all += int64(len(p.Data) + len(p.Key) + 64)
	}
	documents, bytes := len(d.Documents)+1, bytes+int64(len(data))
	if len(data) > before && !limit.Fits(documents, bytes) || all+int64(len(data)) > largest {
		return fmt.Errorf("%w: documents of %q", storage.ErrFull, d.User)
	}
	d.Documents = append(d.Documents, piece{key, data})
	return nil
}

// index makes the index that EachDocument asks for, once.
func (o *own) index(ctx context.Context) error {
	if o.indexed.Load() {
		return nil
	}
	if _, err := o.documents.Indexes().CreateOne(ctx, driver.IndexModel{Keys: bson.D{{Key: pieceKey, Value: 1}}}); err != nil {
		return err
	}
	o.indexed.Store(true)
	return nil
}

// EachDocument implements storage.Documents. It may take longer than one operation.
func (s *Store) EachDocument(ctx context.Context, key string, f func(user string, data []byte)) error {
	if err := s.usable(ctx, s.health); err != nil {
		return err
	}
	// Not a turn of the others: this may take its time.
	err := s.own.pieces(ctx, nil, key, f)
	return s.failure(ctx, err)
}

// RemoveDocuments implements storage.Documents.
func (s *Store) RemoveDocuments(ctx context.Context, user string) error {
	return s.own.removeAll(ctx, "put-document", user, s.own.documents)
}
