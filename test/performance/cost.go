package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/pprof/profile"
	"mellium.im/sasl"

	"rollcall/test/performance/load"
	"rollcall/test/performance/subject"
)

// cost measures the processor time of logins, messages and presences, and where it goes.
func cost(ctx context.Context, s *settings) error {
	var rows [][]string
	var where []share
	for _, transport := range s.transports {
		for _, measure := range []func(context.Context, string) ([]string, share, error){s.loginCost, s.chatCost, s.presenceCost} {
			row, w, err := measure(ctx, transport)
			if err != nil {
				return fmt.Errorf("%s: %w", transport, err)
			}
			rows, where = append(rows, row), append(where, w)
		}
	}
	s.table("Server CPU for each login, message and presence", []string{"transport", "what", "number", "CPU us each", "a second"}, rows)
	if s.profile {
		for _, transport := range s.transports {
			s.shares(transport, where)
		}
	}
	return s.loginVariants(ctx)
}

// spent is what a load cost.
type spent struct {
	n    int
	cpu  time.Duration
	took time.Duration
}

func (s spent) each() float64 { return float64(s.cpu.Nanoseconds()) / 1000 / float64(s.n) }

func (s spent) row(transport, what string) []string {
	return []string{transport, what, fmt.Sprint(s.n), fmt.Sprintf("%.1f", s.each()), fmt.Sprintf("%.0f", float64(s.n)/s.took.Seconds())}
}

// meter measures what the server spends on work, which returns how often it did it. With
// profiled seconds there is a CPU profile of the first ones, which costs some percent.
func meter(ctx context.Context, srv *subject.Server, profiled int, work func() (int, error)) (sp spent, p *profile.Profile, err error) {
	type taken struct {
		p   *profile.Profile
		err error
	}
	profiles := make(chan taken, 1)
	if profiled > 0 {
		go func() {
			p, err := srv.Profile(ctx, fmt.Sprintf("profile?seconds=%d", profiled))
			profiles <- taken{p, err}
		}()
	} else {
		profiles <- taken{}
	}
	before, err := srv.Usage()
	if err != nil {
		return sp, nil, err
	}
	start := time.Now()
	sp.n, err = work()
	sp.took = time.Since(start)
	after, err2 := srv.Usage()
	sp.cpu = after.CPU - before.CPU
	got := <-profiles
	return sp, got.p, errors.Join(err, err2, got.err)
}

// profiled is for how many seconds a load of that length is watched.
func (s *settings) profiled(d time.Duration) int {
	if !s.profile {
		return 0
	}
	return max(1, int(d.Seconds()))
}

// loginCost is a login by PLAIN with binding, roster and first presence of users who
// share no project: what others are told is a cost of presence.
func (s *settings) loginCost(ctx context.Context, transport string) (row []string, w share, err error) {
	srv, err := subject.Start(ctx, s.program, subject.Options{Users: s.logins})
	if err != nil {
		return nil, w, err
	}
	defer func() { err = errors.Join(err, srv.Stop()) }()
	var all []*member
	sp, p, err := meter(ctx, srv, s.profiled(s.chat/2), func() (n int, err error) {
		all, err = gather(ctx, srv, 0, s.logins, loginOptions(srv, transport))
		return s.logins, err
	})
	if err != nil {
		return nil, w, err
	}
	return sp.row(transport, "login"), share{transport, "login", sp, p}, leave(all)
}

// chatCost is a message of 200 bytes between two clients.
func (s *settings) chatCost(ctx context.Context, transport string) (row []string, w share, err error) {
	pairs := s.pairs[len(s.pairs)-1]
	srv, err := subject.Start(ctx, s.program, subject.Options{Users: 2 * pairs})
	if err != nil {
		return nil, w, err
	}
	defer func() { err = errors.Join(err, srv.Stop()) }()
	all, err := gather(ctx, srv, 0, 2*pairs, loginOptions(srv, transport))
	if err != nil {
		return nil, w, err
	}
	defer func() { err = errors.Join(err, leave(all)) }()
	sp, p, err := meter(ctx, srv, s.profiled(s.chat), func() (int, error) {
		d, err := converse(ctx, all, pairs, s.chat)
		return d.messages, err
	})
	return sp.row(transport, "message"), share{transport, "message", sp, p}, errors.Join(err, lost(all))
}

// presenceCost is a presence that one of 50 members of a project gets of another.
func (s *settings) presenceCost(ctx context.Context, transport string) (row []string, w share, err error) {
	srv, err := subject.Start(ctx, s.program, subject.Options{Users: s.members, Group: ofProject})
	if err != nil {
		return nil, w, err
	}
	defer func() { err = errors.Join(err, srv.Stop()) }()
	all, err := gather(ctx, srv, 0, s.members, loginOptions(srv, transport))
	if err != nil {
		return nil, w, err
	}
	defer func() { err = errors.Join(err, leave(all)) }()
	if err := quiet(ctx, all); err != nil {
		return nil, w, err
	}
	const storms = 3
	sp, p, err := meter(ctx, srv, s.profiled(s.chat/2), func() (int, error) {
		before := delivered(all)
		for range storms {
			if err := errors.Join(storm(all, rounds), quiet(ctx, all)); err != nil {
				return 0, err
			}
		}
		return int(delivered(all) - before), nil
	})
	if err == nil {
		err = lost(all)
	}
	// Each gets those of 49 others, and the echo of one's own, unless a newer one has
	// overtaken it.
	what := fmt.Sprintf("presence, of %d that were caused", storms*rounds*s.members*ofProject)
	return sp.row(transport, what), share{transport, "presence", sp, p}, err
}

// loginVariants are logins by other ways. What a password's hash costs is the difference
// to a login whose password is kept as it is.
func (s *settings) loginVariants(ctx context.Context) error {
	few := min(500, s.logins)
	variants := []struct {
		what      string
		o         subject.Options
		mechanism sasl.Mechanism
	}{
		{"PLAIN, password kept", subject.Options{}, sasl.Plain},
		{"PLAIN, password kept, under TLS 1.3", subject.Options{TLS: true}, sasl.Plain},
		{"PLAIN, checked by SCRAM keys of 4,096 iterations", subject.Options{SCRAM: true}, sasl.Plain},
		{"SCRAM-SHA-1", subject.Options{SCRAM: true}, sasl.ScramSha1},
		{"SCRAM-SHA-256", subject.Options{SCRAM: true}, sasl.ScramSha256},
	}
	var rows [][]string
	for _, transport := range s.transports {
		for _, v := range variants {
			if v.o.SCRAM && transport != s.transports[0] {
				continue // hashing knows no transport
			}
			v.o.Users = few
			row, err := s.variant(ctx, transport, v.what, v.o, v.mechanism)
			if err != nil {
				return fmt.Errorf("%s: %s: %w", transport, v.what, err)
			}
			rows = append(rows, row)
		}
	}
	s.table("Server CPU for each login, by how the client proves itself", []string{"transport", "login", "number", "CPU us each", "a second"}, rows)
	return nil
}

func (s *settings) variant(ctx context.Context, transport, what string, o subject.Options, m sasl.Mechanism) (row []string, err error) {
	srv, err := subject.Start(ctx, s.program, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, srv.Stop()) }()
	login := loginOptions(srv, transport)
	login.Mechanism = m
	var all []*load.Session
	sp, _, err := meter(ctx, srv, 0, func() (n int, err error) {
		all, err = load.Crowd(ctx, 0, o.Users, atOnce, login, subject.User)
		return o.Users, err
	})
	for _, one := range all {
		err = errors.Join(err, one.Cut())
	}
	return sp.row(transport, what), err
}

// share is a load with a profile of where its time went.
type share struct {
	transport, what string
	spent           spent
	profile         *profile.Profile
}

// shares prints where the time of a transport's loads went.
func (s *settings) shares(transport string, all []share) {
	head := []string{"layer"}
	var columns []map[string]float64
	sums := make(map[string]float64)
	for _, w := range all {
		if w.transport != transport {
			continue
		}
		head = append(head, w.what)
		column := byLayer(w.profile)
		for layer, part := range column {
			column[layer] = part * w.spent.each()
			sums[layer] += part
		}
		columns = append(columns, column)
	}
	layers := slices.SortedFunc(maps.Keys(sums), func(a, b string) int { return cmp.Compare(sums[b], sums[a]) })
	var rows [][]string
	for _, layer := range layers {
		row := []string{layer}
		for _, c := range columns {
			row = append(row, fmt.Sprintf("%.2f", c[layer]))
		}
		rows = append(rows, row)
	}
	s.table("Where each microsecond is, over "+transport+": CPU us by layer", head, rows)
}
