package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"rollcall/test/performance/subject"
)

// look is what a server takes at one moment.
type look struct {
	subject.Usage
	live subject.Samples // after a collection
	then subject.Samples // as it was
}

func lookAt(ctx context.Context, srv *subject.Server) (l look, err error) {
	if l.Usage, err = srv.Usage(); err != nil {
		return l, err
	}
	if l.then, err = srv.Sample(ctx); err != nil {
		return l, err
	}
	if err = srv.Collect(ctx); err != nil {
		return l, err
	}
	l.live, err = srv.Sample(ctx)
	return l, err
}

// heap is the heap that the process holds and the kernel has not got back.
func heap(m subject.Samples) float64 {
	return m["go_memstats_heap_sys_bytes"] - m["go_memstats_heap_released_bytes"]
}

// upkeep is what the runtime takes for itself.
func upkeep(m subject.Samples) float64 {
	return m["go_memstats_mspan_sys_bytes"] + m["go_memstats_mcache_sys_bytes"] + m["go_memstats_buck_hash_sys_bytes"] +
		m["go_memstats_gc_sys_bytes"] + m["go_memstats_other_sys_bytes"]
}

var footprintHead = []string{"transport", "sessions", "RSS KB", "anonymous", "file", "live heap", "stacks", "heap headroom",
	"runtime", "kernel, both ends", "goroutines", "idle CPU %"}

// row is what each of n sessions takes more than none, in KB.
func (l look) row(transport string, n int, empty look, idle float64) []string {
	each := func(now, before float64) string { return fmt.Sprintf("%.2f", (now-before)/1024/float64(n)) }
	const live, stack = "go_memstats_heap_alloc_bytes", "go_memstats_stack_inuse_bytes"
	return []string{
		transport, fmt.Sprint(n),
		each(float64(l.RSS), float64(empty.RSS)),
		each(float64(l.Anonymous), float64(empty.Anonymous)),
		each(float64(l.File), float64(empty.File)),
		each(l.live[live], empty.live[live]),
		each(l.then[stack], empty.then[stack]),
		each(heap(l.then)-l.live[live], heap(empty.then)-empty.live[live]),
		each(upkeep(l.then), upkeep(empty.then)),
		each(float64(l.KernelSocketKB)*1024, float64(empty.KernelSocketKB)*1024),
		fmt.Sprintf("%.2f", (l.then["go_goroutines"]-empty.then["go_goroutines"])/float64(n)),
		fmt.Sprintf("%.2f", idle),
	}
}

// footprint measures the memory and the processor time of sessions at rest.
func footprint(ctx context.Context, s *settings) error {
	var alone, among [][]string
	for _, transport := range s.transports {
		rows, err := s.growing(ctx, transport)
		if err != nil {
			return fmt.Errorf("%s: %w", transport, err)
		}
		alone = append(alone, rows...)
	}
	s.table("KB for each idle session that shares no project, over the empty server"+s.secure(), footprintHead, alone)
	for _, transport := range s.transports {
		rows, err := s.together(ctx, transport)
		if err != nil {
			return fmt.Errorf("%s: %w", transport, err)
		}
		among = append(among, rows...)
	}
	s.table(fmt.Sprintf("KB for each of %d sessions in projects of %d%s", s.members, ofProject, s.secure()), footprintHead, among)
	if s.sites == 0 {
		return nil
	}
	for _, transport := range s.transports {
		for _, group := range []int{1, 50} {
			if err := s.heapSites(ctx, transport, group); err != nil {
				return fmt.Errorf("%s: %w", transport, err)
			}
		}
	}
	return nil
}

func (s *settings) secure() string {
	if s.tls {
		return ", under TLS"
	}
	return ""
}

// growing fills one server step by step.
func (s *settings) growing(ctx context.Context, transport string) (rows [][]string, err error) {
	most := s.sessions[len(s.sessions)-1]
	srv, err := subject.Start(ctx, s.program, subject.Options{Users: most, TLS: s.tls})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, srv.Stop()) }()
	empty, err := lookAt(ctx, srv)
	if err != nil {
		return nil, err
	}
	var all []*member
	defer func() { err = errors.Join(err, leave(all)) }()
	o := loginOptions(srv, transport)
	o.Roster = false
	for _, n := range s.sessions {
		more, err := gather(ctx, srv, len(all), n-len(all), o)
		if err != nil {
			return nil, err
		}
		all = append(all, more...)
		if err := pause(ctx, s.settle); err != nil {
			return nil, err
		}
		watched := s.idle
		if n < most {
			watched /= 4
		}
		idle, err := idleCPU(ctx, srv, watched)
		if err != nil {
			return nil, err
		}
		l, err := lookAt(ctx, srv)
		if err == nil {
			err = lost(all)
		}
		if err != nil {
			return nil, err
		}
		rows = append(rows, l.row(transport, n, empty, idle))
	}
	return rows, nil
}

// idleCPU is the share of one processor that the server takes, in percent.
func idleCPU(ctx context.Context, srv *subject.Server, d time.Duration) (float64, error) {
	before, err1 := srv.Usage()
	start := time.Now()
	err2 := pause(ctx, d)
	after, err3 := srv.Usage()
	return 100 * (after.CPU - before.CPU).Seconds() / time.Since(start).Seconds(), errors.Join(err1, err2, err3)
}

// The load of members of projects.
const (
	ofProject = 50
	rounds    = 4 // changes of everybody's presence
)

// together measures people who share projects, before and after everybody's presence has
// changed.
func (s *settings) together(ctx context.Context, transport string) (rows [][]string, err error) {
	srv, err := subject.Start(ctx, s.program, subject.Options{Users: s.members, Group: ofProject, TLS: s.tls})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, srv.Stop()) }()
	empty, err := lookAt(ctx, srv)
	if err != nil {
		return nil, err
	}
	all, err := gather(ctx, srv, 0, s.members, loginOptions(srv, transport))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, leave(all)) }()
	for _, when := range []string{"online", "after storms"} {
		if when != "online" {
			err = storm(all, rounds)
		}
		if err := errors.Join(err, quiet(ctx, all), pause(ctx, s.settle)); err != nil {
			return nil, err
		}
		idle, err1 := idleCPU(ctx, srv, s.idle/4)
		l, err2 := lookAt(ctx, srv)
		if err := errors.Join(err1, err2, lost(all)); err != nil {
			return nil, err
		}
		rows = append(rows, l.row(transport+", "+when, s.members, empty, idle))
	}
	return rows, nil
}
