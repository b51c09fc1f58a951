// Package workers runs jobs on goroutines that are kept for the next job, so
// that their grown stacks are used again.
package workers

import "sync/atomic"

// Job is a piece of work.
type Job interface{ Work() }

// Pool runs jobs. It has as many workers as there are jobs at the moment, since a
// job may wait for something; only some are kept while there is nothing to do.
type Pool struct {
	jobs chan Job
	quit chan struct{}
	keep int64
	idle atomic.Int64
	shut atomic.Bool
}

// New returns a Pool that keeps up to the given number of idle workers.
func New(keep int) *Pool {
	return &Pool{jobs: make(chan Job), quit: make(chan struct{}), keep: int64(keep)}
}

// Run starts j on a worker and does not wait for anything.
func (p *Pool) Run(j Job) {
	select {
	case p.jobs <- j:
	default:
		go p.work(j)
	}
}

func (p *Pool) work(j Job) {
	for {
		j.Work()
		if p.idle.Add(1) > p.keep {
			p.idle.Add(-1)
			return
		}
		select {
		case j = <-p.jobs:
			p.idle.Add(-1)
		case <-p.quit:
			p.idle.Add(-1)
			return
		}
	}
}

// Close ends the idle workers. Jobs that run go on, and further ones may be run
// at the price of a goroutine each.
func (p *Pool) Close() {
	if !p.shut.Swap(true) {
		close(p.quit)
	}
}
