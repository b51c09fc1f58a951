package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"rollcall/internal/xmlscan"
	"rollcall/test/performance/load"
	"rollcall/test/performance/subject"
)

// member is a session that takes what comes.
type member struct {
	*load.Session
	presences atomic.Int64
	partner   *member
	talk      *talk
	sent      atomic.Int64 // when the partner was told last, in Unix nanoseconds
	delays    []time.Duration
}

// talk is a load of chat messages.
type talk struct {
	padding string
	over    atomic.Bool
	flying  atomic.Int64
	errs    atomic.Pointer[error]
}

// gather logs users in and has them take what comes.
func gather(ctx context.Context, srv *subject.Server, first, n int, o load.Options) ([]*member, error) {
	sessions, err := load.Crowd(ctx, first, n, atOnce, o, subject.User)
	if err != nil {
		return nil, err
	}
	all := make([]*member, n)
	for i, s := range sessions {
		all[i] = &member{Session: s}
	}
	for _, m := range all {
		m.Start(m.take)
	}
	return all, nil
}

func (m *member) take(el *xmlscan.Element) {
	switch string(el.Local) {
	case "presence":
		m.presences.Add(1)
	case "message":
		if m.partner != nil {
			m.delays = append(m.delays, time.Duration(time.Now().UnixNano()-m.partner.sent.Load()))
			talk := m.talk // of now: once nothing flies there may be another
			m.say()
			talk.flying.Add(-1)
		}
	}
}

// say sends the partner a message, which answers.
func (m *member) say() {
	if m.talk.over.Load() {
		return
	}
	text := "<message xmlns='jabber:client' type='chat' to='" + m.partner.JID + "' id='m'><body>" + m.talk.padding + "</body></message>"
	m.talk.flying.Add(1)
	m.sent.Store(time.Now().UnixNano())
	if err := m.Send([]byte(text)); err != nil {
		m.talk.errs.CompareAndSwap(nil, &err)
	}
}

// bodyBytes is how long a chat message's text is.
const bodyBytes = 200

// delays are what a load of chat messages met.
type delays struct {
	messages      int
	took          time.Duration
	p50, p99, max time.Duration
}

func (d delays) rate() float64 { return float64(d.messages) / d.took.Seconds() }

// converse has pairs of members answer each other as fast as they can, one message of
// each pair under way at any time.
func converse(ctx context.Context, all []*member, pairs int, d time.Duration) (delays, error) {
	if 2*pairs > len(all) {
		return delays{}, fmt.Errorf("%d pairs of %d sessions", pairs, len(all))
	}
	t := &talk{padding: strings.Repeat("x", bodyBytes)}
	for i := range pairs {
		a, b := all[2*i], all[2*i+1]
		a.partner, b.partner, a.talk, b.talk = b, a, t, t
		a.delays, b.delays = nil, nil
	}
	start := time.Now()
	for i := range pairs {
		all[2*i].say()
	}
	err := pause(ctx, d)
	took := time.Since(start)
	t.over.Store(true)
	if err != nil {
		return delays{}, err
	}
	if err := until(ctx, "the last messages arrive", func() bool { return t.flying.Load() == 0 }); err != nil {
		return delays{}, err
	}
	if failed := t.errs.Load(); failed != nil {
		return delays{}, *failed
	}
	var list []time.Duration
	for _, m := range all[:2*pairs] {
		list = append(list, m.delays...)
	}
	return summary(list, took), nil
}

func summary(list []time.Duration, took time.Duration) delays {
	if len(list) == 0 {
		return delays{took: took}
	}
	slices.Sort(list)
	at := func(q float64) time.Duration { return list[int(q*float64(len(list)-1))] }
	return delays{messages: len(list), took: took, p50: at(.5), p99: at(.99), max: at(1)}
}

// until asks again and again until something holds.
func until(ctx context.Context, what string, holds func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%w before %s", ctx.Err(), what)
		}
	}
	return nil
}

// delivered is how many presences have come.
func delivered(all []*member) (n int64) {
	for _, m := range all {
		n += m.presences.Load()
	}
	return n
}

// quiet waits until nobody has got any presence for some time.
func quiet(ctx context.Context, all []*member) error {
	last, since := delivered(all), time.Now()
	return until(ctx, "presence comes to rest", func() bool {
		if now := delivered(all); now != last {
			last, since = now, time.Now()
		}
		return time.Since(since) > 500*time.Millisecond
	})
}

// storm has everybody change their presence, so many times.
func storm(all []*member, rounds int) error {
	shows := []string{"away", "dnd", "xa", "chat"}
	for r := range rounds {
		text := fmt.Sprintf("<presence xmlns='jabber:client'><show>%s</show><status>round %d</status></presence>", shows[r%len(shows)], r)
		for _, m := range all {
			if err := m.Send([]byte(text)); err != nil {
				return err
			}
		}
		for _, m := range all {
			m.Flush()
		}
	}
	return nil
}

// leave cuts all connections.
func leave(all []*member) error {
	var errs []error
	for _, m := range all {
		errs = append(errs, m.Cut())
	}
	return errors.Join(errs...)
}

// lost is why members lost their connection, nil when nobody did.
func lost(all []*member) error {
	for _, m := range all {
		select {
		case <-m.Ended():
			return fmt.Errorf("%s: %w", m.User, m.Err())
		default:
		}
	}
	return nil
}
