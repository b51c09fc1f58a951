package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"rollcall/test/performance/subject"
)

// latency shows what the tail of the time is made of that a message takes: by how many
// pairs talk at once, with the collector and without it.
func latency(ctx context.Context, s *settings) error {
	var rows [][]string
	for _, transport := range s.transports {
		for _, collector := range []string{"", "off"} {
			more, err := s.tail(ctx, transport, collector)
			if err != nil {
				return fmt.Errorf("%s: %w", transport, err)
			}
			rows = append(rows, more...)
		}
	}
	s.table(fmt.Sprintf("Milliseconds from sending a message to its arrival, on %d processors that server and clients share", runtime.NumCPU()),
		[]string{"transport", "collector", "pairs", "messages a second", "pairs / messages a second", "p50", "p99", "max", "collections", "longest pause so far", "server CPU %", "waiting for a CPU %"}, rows)
	return nil
}

func (s *settings) tail(ctx context.Context, transport, collector string) (rows [][]string, err error) {
	most := s.pairs[len(s.pairs)-1]
	o := subject.Options{Users: 2 * most}
	name := "on"
	if collector != "" {
		o.Environment, name = []string{"GOGC=" + collector}, collector
	}
	srv, err := subject.Start(ctx, s.program, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, srv.Stop()) }()
	all, err := gather(ctx, srv, 0, 2*most, loginOptions(srv, transport))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, leave(all)) }()
	for _, pairs := range s.pairs {
		before, err1 := srv.Sample(ctx)
		usage, err2 := srv.Usage()
		d, err3 := converse(ctx, all, pairs, s.chat/2)
		used, err4 := srv.Usage()
		after, err5 := srv.Sample(ctx)
		if err := errors.Join(err1, err2, err3, err4, err5, lost(all)); err != nil {
			return nil, err
		}
		ms := func(d time.Duration) string { return fmt.Sprintf("%.2f", float64(d.Microseconds())/1000) }
		const collections = "go_gc_duration_seconds_count"
		rows = append(rows, []string{
			transport, name, fmt.Sprint(pairs), fmt.Sprintf("%.0f", d.rate()),
			fmt.Sprintf("%.2f", 1000*float64(pairs)/d.rate()), ms(d.p50), ms(d.p99), ms(d.max),
			fmt.Sprintf("%.0f", after[collections]-before[collections]),
			fmt.Sprintf("%.2f", 1000*after[`go_gc_duration_seconds{quantile="1"}`]),
			fmt.Sprintf("%.0f", 100*(used.CPU-usage.CPU).Seconds()/d.took.Seconds()),
			fmt.Sprintf("%.0f", 100*(used.Waited-usage.Waited).Seconds()/d.took.Seconds()),
		})
	}
	return rows, nil
}
