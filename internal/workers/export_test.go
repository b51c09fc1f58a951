package workers

// Idle is how many workers wait for a job.
func Idle(p *Pool) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.idle)
}
