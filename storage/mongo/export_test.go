package mongo

// Watching is how many watch: Watch does not say when it has begun.
func (s *Store) Watching() int {
	ws := &s.lookout.watchers
	ws.mu.Lock()
	defer ws.mu.Unlock()
	return len(ws.all)
}
