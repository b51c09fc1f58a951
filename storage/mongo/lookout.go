package mongo

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
)

// lookout notices changes. One goroutine owns what was told: whether a poll, a change
// stream or a request points at a document, that goroutine reads it and tells the
// difference, so each change is told once.
type lookout struct {
	s        *Store
	watchers watchers
	requests chan request
	marks    chan mark
	open     opener

	// What follows belongs to the goroutine, and before it starts to begin.
	told            *told
	users, projects *side
	// later are requests for a comparison that came during one.
	later []request
}

// side is one collection.
type side struct {
	name  string
	coll  *driver.Collection
	field string // of the id
	id    path
	// keyOf and reread are those of users or projects.
	keyOf  func(bson.RawValue) (string, bool)
	reread func(ctx context.Context, keys []string) error

	updated   string    // the field with the date of the last change; "" for none
	since     time.Time // the newest such date seen
	seen      map[string]time.Time
	streaming bool
	nextSweep time.Time
	sweeps    uint32
	// fresh are the keys of documents read on their own during a sweep: what the sweep
	// says of them may be older. It is nil between sweeps.
	fresh map[string]struct{}
	// owed are keys whose documents could not be read.
	owed map[string]struct{}
}

// mark points at documents that may have changed.
type mark struct {
	side *side
	id   bson.RawValue // of _id; type 0 for none
	// everything says that any document may have changed unnoticed.
	everything bool
	streaming  int // 1: a stream tells from now on, -1: it does no more
}

// marksAtOnce is how many marks are worked off by one query.
const marksAtOnce = chunk

func newLookout(s *Store) *lookout {
	l := &lookout{
		s: s, told: newTold(),
		open: openStream(s.c.Timeout / 2), requests: make(chan request), marks: make(chan mark, marksAtOnce),
	}
	r := s.reader
	newSide := func(name string, c *driver.Collection, id, updated string, i ids) *side {
		return &side{
			name: name, coll: c, field: id, id: newPath(id), updated: updated, keyOf: i.key,
			seen: make(map[string]time.Time), owed: make(map[string]struct{}),
		}
	}
	l.users = newSide("users", r.users, s.c.Users.ID, s.c.Users.UpdatedAt, r.userIDs)
	l.users.reread = l.rereadUsers
	l.projects = newSide("projects", r.projects, s.c.Projects.ID, s.c.Projects.UpdatedAt, r.projectIDs)
	l.projects.reread = l.rereadProjects
	return l
}

// sides are both collections; users come first, so that new members of projects are
// known.
func (l *lookout) sides() []*side { return []*side{l.users, l.projects} }

// begin reads the directory as it is and starts to look for changes.
func (l *lookout) begin(ctx context.Context) error {
	start := time.Now()
	for tries := 0; ; tries++ {
		err := l.look(ctx, true)
		if err == nil {
			break
		}
		if !unreachable(err) {
			return fmt.Errorf("mongo: the directory cannot be read: %w", err)
		}
		if tries == 0 {
			l.s.c.Log.WarnContext(ctx, "the directory cannot be read yet", "error", err)
		}
		select {
		case <-ctx.Done():
			return l.s.failure(context.WithoutCancel(ctx), err)
		case <-time.After(probeEvery):
		}
	}
	l.s.c.Log.InfoContext(ctx, "the directory was read", "users", len(l.told.users), "projects", len(l.told.projects), "after", time.Since(start).String())
	l.s.background(l.s.checkIndexes)
	streams, err := l.wantsStreams(ctx)
	if err != nil {
		return err
	}
	if streams {
		for _, d := range l.sides() {
			l.s.background(func(ctx context.Context) { l.follow(ctx, d) })
		}
	}
	l.s.background(l.run)
	return nil
}

// run looks for changes until ctx ends.
func (l *lookout) run(ctx context.Context) {
	interval := l.s.c.Watch.Interval
	next := time.NewTimer(interval)
	defer next.Stop()
	var failing bool
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-l.requests:
			l.serve(ctx, r)
		case m := <-l.marks:
			l.mark(ctx, m)
		case <-next.C:
			start := time.Now()
			failing = l.lookAgain(ctx, failing)
			took := time.Since(start)
			// At least half of the time the database is left alone.
			next.Reset(max(interval-took, took))
		}
		for len(l.later) > 0 {
			r := l.later[0]
			l.later = l.later[1:]
			l.serve(ctx, r)
		}
	}
}

// lookAgain looks for changes once more, and says in the log when that begins or ceases
// to fail.
func (l *lookout) lookAgain(ctx context.Context, failing bool) (fails bool) {
	start := time.Now()
	err := l.s.health.up()
	if err == nil {
		err = l.look(ctx, false)
	}
	took := time.Since(start)
	log := l.s.c.Log
	switch {
	case ctx.Err() != nil:
	case err != nil && !failing:
		log.WarnContext(ctx, "changes cannot be looked for now", "error", err)
	case err == nil && failing:
		log.InfoContext(ctx, "changes are looked for again")
	case err == nil && took > l.s.c.Watch.Interval:
		log.WarnContext(ctx, "looking for changes takes longer than the interval: use a replica set or a field with the date of the last change", "took", took.String())
	}
	return err != nil
}

// look looks for changes by the means there are: all of them when all is set.
func (l *lookout) look(ctx context.Context, all bool) error {
	for _, d := range l.sides() {
		if err := l.pay(ctx, d); err != nil {
			return err
		}
		due := !time.Now().Before(d.nextSweep)
		var err error
		switch {
		case all:
			err = l.sweep(ctx, d)
		case l.s.c.Watch.Mode == WatchNone:
		case due && (d.streaming || d.updated != ""):
			err = l.sweep(ctx, d)
		case d.streaming:
		case d.updated != "":
			err = l.recent(ctx, d)
		default:
			err = l.sweep(ctx, d)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// serve answers a request.
func (l *lookout) serve(ctx context.Context, r request) {
	if r.ctx.Err() != nil {
		return // nobody waits
	}
	if r.all {
		r.done <- l.look(ctx, true)
		return
	}
	_, was := l.told.projects[r.project]
	err := l.read(ctx, l.projects, []string{r.project})
	if _, is := l.told.projects[r.project]; err == nil && !was && !is {
		err = notFound("project", r.project)
	}
	r.done <- err
}

// read reads documents on their own; what cannot be read now is owed.
func (l *lookout) read(ctx context.Context, d *side, keys []string) error {
	for _, key := range keys {
		d.owed[key] = struct{}{}
	}
	return l.pay(ctx, d)
}

// pay reads what is owed.
func (l *lookout) pay(ctx context.Context, d *side) error {
	if len(d.owed) == 0 {
		return nil
	}
	for part := range slices.Chunk(slices.Sorted(maps.Keys(d.owed)), chunk) {
		err := d.reread(ctx, part)
		l.note(ctx, err)
		if err != nil {
			return err
		}
		for _, key := range part {
			delete(d.owed, key)
			if d.fresh != nil {
				d.fresh[key] = struct{}{}
			}
		}
	}
	return nil
}

func (l *lookout) note(ctx context.Context, err error) {
	if ctx.Err() == nil {
		l.s.health.note(err)
	}
}

// mark works off a mark and those that wait behind it.
func (l *lookout) mark(ctx context.Context, m mark) {
	for n := 1; ; n++ {
		l.take(ctx, m)
		if n == marksAtOnce {
			break
		}
		select {
		case m = <-l.marks:
			continue
		default:
		}
		break
	}
	for _, d := range l.sides() {
		if err := l.pay(ctx, d); err != nil && ctx.Err() == nil {
			l.s.c.Log.DebugContext(ctx, "a change cannot be read yet", "collection", d.name, "error", err)
			return
		}
	}
}

// take notes what a mark points at.
func (l *lookout) take(ctx context.Context, m mark) {
	d := m.side
	if m.streaming != 0 {
		d.streaming = m.streaming > 0
		l.s.metrics.streams.WithLabelValues(d.name).Set(float64(max(m.streaming, 0)))
	}
	if m.everything {
		d.nextSweep = time.Time{}
		if err := l.sweep(ctx, d); err != nil && ctx.Err() == nil {
			l.s.c.Log.WarnContext(ctx, "what happened without a change stream cannot be read yet", "collection", d.name, "error", err)
		}
	}
	if m.id.Type == 0 {
		return
	}
	key, ok := d.keyOf(m.id)
	if d.field != "_id" {
		key, ok = l.keyBehind(ctx, d, m.id)
	}
	if ok {
		d.owed[key] = struct{}{}
	}
}

// keyBehind finds the id of a document whose _id is another field. A document that is
// gone had one that only a comparison can tell.
func (l *lookout) keyBehind(ctx context.Context, d *side, id bson.RawValue) (key string, ok bool) {
	err := find(ctx, d.coll, bson.D{{Key: "_id", Value: id}}, only(d.field), 1, func(doc bson.Raw) bool {
		key, ok = d.keyOf(d.id.in(doc))
		return true
	})
	l.note(ctx, err)
	if err != nil || !ok {
		d.nextSweep = time.Time{}
	}
	return key, ok
}

// emit makes wrong cache entries go, then tells.
func (l *lookout) emit(o *outcome) {
	l.s.of.drop(o.users)
	l.s.members.drop(o.projects)
	for _, c := range o.changes {
		l.s.metrics.told.WithLabelValues(kindName(c.Kind)).Inc()
	}
	l.watchers.tell(o.changes)
	o.users, o.projects, o.changes = o.users[:0], o.projects[:0], o.changes[:0]
}

// rereadUsers reads users and tells the difference.
func (l *lookout) rereadUsers(ctx context.Context, keys []string) error {
	missing := make(map[string]struct{}, len(keys))
	for _, key := range keys {
		missing[key] = struct{}{}
	}
	var states []userState
	r := l.s.reader
	err := r.usersByKeys(ctx, keys, r.userAll(), func(u user) {
		if _, wanted := missing[u.key]; wanted {
			delete(missing, u.key)
			states = append(states, r.userState(u))
		}
	})
	if err != nil {
		return err
	}
	var o outcome
	for _, s := range states {
		l.told.user(s, l.users.sweeps, &o)
	}
	for _, key := range slices.Sorted(maps.Keys(missing)) {
		l.told.userGone(key, &o)
	}
	l.emit(&o)
	return nil
}

// rereadProjects reads projects and tells the difference. Members who were never seen
// are read too, so that somebody new is told at once.
func (l *lookout) rereadProjects(ctx context.Context, keys []string) error {
	missing := make(map[string]struct{}, len(keys))
	for _, key := range keys {
		missing[key] = struct{}{}
	}
	var states []projectState
	r := l.s.reader
	err := r.projectsByKeys(ctx, keys, func(p project, doc bson.Raw) {
		if _, wanted := missing[p.key]; wanted {
			delete(missing, p.key)
			states = append(states, r.projectState(p, doc))
		}
	})
	if err != nil {
		return err
	}
	var o outcome
	for _, s := range states {
		l.told.project(s, l.projects.sweeps, &o)
	}
	for _, key := range slices.Sorted(maps.Keys(missing)) {
		l.told.projectGone(key, &o)
	}
	l.emit(&o)
	return l.read(ctx, l.users, o.strangers)
}
