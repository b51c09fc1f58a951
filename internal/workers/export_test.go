package workers

// Idle is how many workers wait for a job.
func Idle(p *Pool) int { return int(p.idle.Load()) }
