package mongo

import (
	"context"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
)

// indexTime is how long the server may take to build an index.
const indexTime = time.Hour

// checkIndexes creates the indexes that queries need, or reports that they are missing.
// Nothing fails without them, but every login reads the whole collection.
func (s *Store) checkIndexes(ctx context.Context) {
	u, p := s.c.Users, s.c.Projects
	for _, needed := range []struct {
		coll  *driver.Collection
		field string
	}{
		{s.reader.projects, p.member()}, {s.reader.projects, p.ID}, {s.reader.projects, p.UpdatedAt},
		{s.reader.users, u.ID}, {s.reader.users, u.Login}, {s.reader.users, u.UpdatedAt},
	} {
		if needed.field == "" || needed.field == "_id" {
			continue
		}
		if err := s.checkIndex(ctx, needed.coll, needed.field); err != nil && ctx.Err() == nil {
			s.c.Log.WarnContext(ctx, "an index cannot be looked for or created", "collection", needed.coll.Name(), "field", needed.field, "error", err)
		}
	}
}

func (s *Store) checkIndex(ctx context.Context, c *driver.Collection, field string) error {
	found, any, err := hasIndex(ctx, c, field)
	if err != nil || found {
		return err
	}
	log := s.c.Log.With("collection", c.Name(), "field", field)
	switch {
	case !any:
		log.WarnContext(ctx, "there is no such collection")
		return nil
	case !s.c.CreateIndexes:
		log.WarnContext(ctx, "an index is missing: every query reads the whole collection")
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, indexTime)
	defer cancel()
	start := time.Now()
	if _, err := c.Indexes().CreateOne(ctx, driver.IndexModel{Keys: bson.D{{Key: field, Value: 1}}}); err != nil {
		return err
	}
	log.InfoContext(ctx, "an index was created", "after", time.Since(start).String())
	return nil
}

// hasIndex looks for an index that begins with a field, and for any index: a collection
// without one does not exist. A partial index does not count, for queries cannot rely on
// it.
func hasIndex(ctx context.Context, c *driver.Collection, field string) (found, any bool, err error) {
	cursor, err := c.Indexes().List(ctx)
	if err != nil {
		return false, false, err
	}
	for cursor.Next(ctx) {
		any = true
		keys, _ := path{"key"}.in(cursor.Current).DocumentOK()
		first, err := keys.IndexErr(0)
		partial := path{"partialFilterExpression"}.in(cursor.Current).Type != 0
		if err == nil && first.Key() == field && !partial {
			found = true
		}
	}
	if err := cursor.Err(); err != nil {
		// The cursor is gone, or the server drops it.
		_ = cursor.Close(context.WithoutCancel(ctx))
		return false, false, err
	}
	return found, any, cursor.Close(ctx)
}
