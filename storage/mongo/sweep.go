package mongo

import (
	"context"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// requestsEvery is after how many documents of a sweep somebody who waits is served.
const requestsEvery = 200

// overlap is how long before the newest date seen a change may have been dated by a
// slower clock, or committed later.
const overlap = 30 * time.Second

// sweep compares a whole collection with what was told.
func (l *lookout) sweep(ctx context.Context, d *side) error {
	start := time.Now()
	d.sweeps++
	d.fresh = make(map[string]struct{})
	defer func() { d.fresh = nil }()
	err := l.compare(ctx, d)
	l.note(ctx, err)
	if err != nil {
		return err
	}
	// What the sweep did not see is looked for once more before it is told as gone.
	users, projects := l.told.unseen(d.sweeps)
	gone := users
	if d == l.projects {
		gone = projects
	}
	for _, key := range gone {
		if _, ok := d.fresh[key]; !ok {
			d.owed[key] = struct{}{}
		}
	}
	if err := l.pay(ctx, d); err != nil {
		return err
	}
	l.s.metrics.sweeps.WithLabelValues(d.name).Observe(time.Since(start).Seconds())
	d.nextSweep = time.Now().Add(l.s.c.Watch.Sweep)
	return nil
}

// compare reads all documents of a collection.
func (l *lookout) compare(ctx context.Context, d *side) error {
	r, n := l.s.reader, 0
	filter, fields := r.c.Users.Filter, r.userAll()
	if d == l.projects {
		filter, fields = r.c.Projects.Filter, r.projectAll()
	}
	if filter == nil {
		filter = bson.D{}
	}
	if d.updated != "" {
		fields = append(fields, bson.E{Key: d.updated, Value: 1})
	}
	updated := newPath(d.updated)
	var o outcome
	err := find(ctx, d.coll, filter, fields, 0, func(doc bson.Raw) bool {
		if n++; n%requestsEvery == 0 {
			l.emit(&o)
			l.serveWaiting(ctx)
		}
		d.saw(updated.in(doc))
		if d == l.projects {
			l.sawProject(doc, &o)
		} else {
			l.sawUser(doc, &o)
		}
		return ctx.Err() == nil
	})
	l.emit(&o)
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = l.read(ctx, l.users, o.strangers)
	}
	return err
}

// serveWaiting serves who waits, unless for what is being done already.
func (l *lookout) serveWaiting(ctx context.Context) {
	for {
		select {
		case r := <-l.requests:
			if r.all {
				l.later = append(l.later, r)
				continue
			}
			l.serve(ctx, r)
		default:
			return
		}
	}
}

func (l *lookout) sawUser(doc bson.Raw, o *outcome) {
	r, d := l.s.reader, l.users
	key, ok := d.keyOf(d.id.in(doc))
	if _, fresh := d.fresh[key]; fresh && ok {
		return
	}
	if row := l.told.users[key]; ok && row != nil && row.document && row.raw == r.digests.bytes(doc) {
		row.sweep = d.sweeps
		return
	}
	if u, ok := r.userOf(doc); ok {
		l.told.user(r.userState(u), d.sweeps, o)
	}
}

func (l *lookout) sawProject(doc bson.Raw, o *outcome) {
	r, d := l.s.reader, l.projects
	key, ok := d.keyOf(d.id.in(doc))
	if _, fresh := d.fresh[key]; fresh && ok {
		return
	}
	if row := l.told.projects[key]; ok && row != nil && row.raw == r.digests.bytes(doc) {
		row.sweep = d.sweeps
		return
	}
	if p, ok := r.projectOf(doc); ok {
		l.told.project(r.projectState(p, doc), d.sweeps, o)
	}
}

// saw notes the newest date of a change.
func (d *side) saw(v bson.RawValue) {
	if at, ok := v.TimeOK(); ok && at.After(d.since) {
		d.since = at
	}
}

// recent reads the documents whose date says that they changed lately. A date in the
// future, from a wrong clock, would hide what comes after it, so none counts that is
// later than now.
func (l *lookout) recent(ctx context.Context, d *side) error {
	since := d.since
	if now := time.Now(); since.After(now) {
		since = now
	}
	since = since.Add(-overlap)
	filter := bson.D{{Key: d.updated, Value: bson.D{{Key: "$gte", Value: since}}}}
	updated := newPath(d.updated)
	seen := make(map[string]time.Time)
	var keys []string
	// Without the configured filter: who does not pass it any more is found this way.
	err := find(ctx, d.coll, filter, only(d.field, d.updated), 0, func(doc bson.Raw) bool {
		key, ok := d.keyOf(d.id.in(doc))
		at, dated := updated.in(doc).TimeOK()
		if !ok || !dated {
			return true
		}
		if before, had := d.seen[key]; !had || !before.Equal(at) {
			keys = append(keys, key)
		}
		seen[key] = at
		d.saw(updated.in(doc))
		return true
	})
	l.note(ctx, err)
	if err != nil {
		return err
	}
	if err := l.read(ctx, d, keys); err != nil {
		return err
	}
	d.seen = seen
	return nil
}
