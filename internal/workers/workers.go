// Package workers runs jobs on goroutines that are kept for the next job, so
// that their grown stacks are used again.
package workers

import "sync"

// Job is a piece of work.
type Job interface{ Work() }

// Pool runs jobs. No job waits for another one to end: while any wait to begin, a
// worker is on its way to them. When it comes, others that were quick may have
// taken them: a burst of short jobs is done by as many workers as the machine has
// processors, without a switch between goroutines for each.
type Pool struct {
	keep int // idle workers

	mu     sync.Mutex
	jobs   ring
	idle   []*worker // the last to become idle has the warmest stack
	coming bool      // a worker is on its way to the jobs
	shut   bool
}

// worker is a goroutine. next is closed when it is not needed any more.
type worker struct{ next chan struct{} }

// New returns a Pool that keeps up to the given number of idle workers.
func New(keep int) *Pool { return &Pool{keep: keep} }

// Run starts j on a worker and does not wait for anything.
func (p *Pool) Run(j Job) {
	p.mu.Lock()
	p.jobs.push(j)
	p.call()
	p.mu.Unlock()
}

// call sends for a worker, if jobs wait and none is coming. The caller has the lock.
func (p *Pool) call() {
	if p.coming || p.jobs.n == 0 {
		return
	}
	p.coming = true
	last := len(p.idle) - 1
	if last < 0 {
		go p.work(&worker{next: make(chan struct{}, 1)})
		return
	}
	w := p.idle[last]
	p.idle[last] = nil
	p.idle = p.idle[:last]
	w.next <- struct{}{}
}

func (p *Pool) work(w *worker) {
	p.mu.Lock()
	p.coming = false
	for {
		for p.jobs.n > 0 {
			j := p.jobs.pop()
			p.call()
			p.mu.Unlock()
			j.Work()
			p.mu.Lock()
		}
		if p.shut || len(p.idle) == p.keep {
			p.mu.Unlock()
			return
		}
		p.idle = append(p.idle, w)
		p.mu.Unlock()
		if _, ok := <-w.next; !ok {
			return
		}
		p.mu.Lock()
		p.coming = false
	}
}

// Close ends the idle workers. Jobs that run go on, and further ones may be run
// at the price of a goroutine each.
func (p *Pool) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shut = true
	for _, w := range p.idle {
		close(w.next)
	}
	p.idle = nil
}

// ring is a queue.
type ring struct {
	jobs  []Job // its length is a power of two
	first int
	n     int
}

func (r *ring) push(j Job) {
	if r.n == len(r.jobs) {
		more := make([]Job, max(16, 2*r.n))
		n := copy(more, r.jobs[r.first:])
		copy(more[n:], r.jobs[:r.first])
		r.jobs, r.first = more, 0
	}
	r.jobs[(r.first+r.n)&(len(r.jobs)-1)] = j
	r.n++
}

func (r *ring) pop() Job {
	j := r.jobs[r.first]
	r.jobs[r.first] = nil
	r.first = (r.first + 1) & (len(r.jobs) - 1)
	if r.n--; r.n == 0 && len(r.jobs) > maxRing {
		r.jobs, r.first = nil, 0 // after a burst
	}
	return j
}

// maxRing is how many places for jobs are kept while none waits.
const maxRing = 1024
