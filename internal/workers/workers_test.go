package workers_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"rollcall/internal/workers"
)

type job func()

func (j job) Work() { j() }

// No job waits for another one, however many there are.
func TestGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := workers.New(2)
		defer p.Close()
		var running atomic.Int32
		release := make(chan struct{})
		for range 100 {
			p.Run(job(func() { running.Add(1); <-release }))
		}
		synctest.Wait()
		if n := running.Load(); n != 100 {
			t.Errorf("%d of 100 jobs run", n)
		}
		close(release)
	})
}

func TestKeepsFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := workers.New(3)
		defer p.Close()
		release := make(chan struct{})
		for range 50 {
			p.Run(job(func() { <-release }))
		}
		synctest.Wait() // all run at once
		close(release)
		synctest.Wait()
		if n := workers.Idle(p); n != 3 {
			t.Errorf("%d workers are kept, want 3", n)
		}
		// An idle worker takes the next job.
		done := false
		p.Run(job(func() { done = true }))
		synctest.Wait()
		if n := workers.Idle(p); n != 3 || !done {
			t.Errorf("%d workers are kept, job done: %v", n, done)
		}
	})
}

// Every job runs once, whatever the workers do meanwhile. synctest fails when
// Close leaves a worker behind.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := workers.New(4)
		var ran atomic.Int32
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				for range 100 {
					p.Run(job(func() { ran.Add(1) }))
				}
			})
		}
		all.Wait()
		p.Close()
		p.Close()
		p.Run(job(func() { ran.Add(1) }))
		synctest.Wait()
		if n := ran.Load(); n != 1001 {
			t.Errorf("%d jobs ran, want 1001", n)
		}
	})
}

func BenchmarkRun(b *testing.B) {
	p := workers.New(8)
	defer p.Close()
	done := make(chan struct{})
	j := job(func() { done <- struct{}{} })
	b.ReportAllocs()
	for b.Loop() {
		p.Run(j)
		<-done
	}
}

// A burst is what a poller brings: many short jobs at once.
func BenchmarkBurst(b *testing.B) {
	p := workers.New(8)
	defer p.Close()
	var all sync.WaitGroup
	j := job(func() { all.Done() })
	b.ReportAllocs()
	for b.Loop() {
		all.Add(64)
		for range 64 {
			p.Run(j)
		}
		all.Wait()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(64*b.N), "ns/job")
}
