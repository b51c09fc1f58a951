package mongo

// Watching is how many watch: Watch does not say when it has begun.
func (s *Store) Watching() int {
	ws := &s.lookout.watchers
	ws.mu.Lock()
	defer ws.mu.Unlock()
	return len(ws.all)
}

// ShareLocks has the changes that two stores make wait for each other, as those of one
// store do: FerretDB's changes of a document are not atomic.
func (s *Store) ShareLocks(other *Store) {
	other.own.locks, other.own.seed = s.own.locks, s.own.seed
}
