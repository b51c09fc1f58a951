package redis

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// ear holds the subscription. It reads by itself: a channel of go-redis drops what is
// not taken in time, and takes a connection for alive as long as it can be written to.
// Nothing is dropped here: when the listener is slow the socket fills, and in the end
// Redis cuts the connection, which is heard as soundAgain.
type ear struct {
	client  redis.UniversalClient
	keeper  *keeper
	log     *slog.Logger
	channel string
	// quiet is how long Redis may say nothing before it is asked whether it is there;
	// it has as long to answer.
	quiet time.Duration
	base  time.Time

	mu        sync.Mutex
	sub       *redis.PubSub
	confirmed bool
	since     uint64 // the look that had begun when it was confirmed

	waiting atomic.Int64 // since when Redis is waited for, after base; 0: it is not
}

func newEar(client redis.UniversalClient, c Config, k *keeper) *ear {
	return &ear{
		client: client, keeper: k, log: c.Log, channel: busChannel(c.Keys.Prefix, c.Node),
		quiet: max(c.Lease/10, c.Timeout), base: time.Now(),
	}
}

// listen keeps the subscription until ctx ends, and passes on what it hears.
func (e *ear) listen(ctx context.Context, heard chan<- sound) {
	kind := soundFirst
	for ctx.Err() == nil {
		sub := e.client.Subscribe(ctx, e.channel, noticeChannel(e.keeper.prefix))
		e.mu.Lock()
		e.sub, e.confirmed = sub, false
		e.mu.Unlock()
		stop := context.AfterFunc(ctx, func() { e.cut(sub, "the end") })
		watching, cancel := context.WithCancel(ctx)
		var watch sync.WaitGroup
		watch.Go(func() { e.watch(watching, sub) })
		e.read(ctx, sub, heard, &kind)
		cancel()
		watch.Wait()
		stop()
		e.cut(sub, "the end")
	}
}

// read passes on what is heard until the subscription is cut; go-redis connects again
// by itself. kind is what the next confirmation means.
func (e *ear) read(ctx context.Context, sub *redis.PubSub, heard chan<- sound, kind *soundKind) {
	failures := 0
	for {
		e.waiting.Store(int64(time.Since(e.base)))
		message, err := sub.Receive(ctx)
		e.waiting.Store(0)
		if ctx.Err() != nil || err != nil && !e.holds(sub) {
			return
		}
		if err != nil {
			e.broken(failures, err)
			failures++
			if !hold(ctx, failures) {
				return
			}
			continue
		}
		failures = 0
		var s sound
		switch m := message.(type) {
		case *redis.Subscription:
			if m.Kind != "subscribe" || m.Count != 2 {
				continue // of the two channels; it is confirmed with the last
			}
			e.mu.Lock()
			e.confirmed, e.since = true, e.keeper.now()
			e.mu.Unlock()
			s.kind, *kind = *kind, soundAgain
		case *redis.Message:
			if m.Channel == e.channel {
				s = sound{kind: soundMessage, data: []byte(m.Payload)}
			} else {
				s = sound{kind: soundNotice, notice: m.Payload}
			}
		default:
			continue // the answer to a question
		}
		select {
		case heard <- s:
		case <-ctx.Done():
			return
		}
	}
}

// broken notes that the connection is gone.
func (e *ear) broken(failures int, err error) {
	e.mu.Lock()
	e.confirmed = false
	e.mu.Unlock()
	if failures == 0 {
		e.log.Warn("redis: the subscription is broken", "cause", err)
		e.keeper.lookNow()
	}
}

// hold waits before the next try: not at all at first, a second at most.
func hold(ctx context.Context, failures int) bool {
	if failures == 1 {
		return ctx.Err() == nil
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(probeAfter(min(time.Second, 10*time.Millisecond<<min(failures, 10)))):
		return true
	}
}

// watch asks Redis whether it is there when it has said nothing for some time, and
// ends the subscription when it does not answer.
func (e *ear) watch(ctx context.Context, sub *redis.PubSub) {
	tick := time.NewTicker(e.quiet)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		since := time.Duration(e.waiting.Load())
		if since == 0 {
			continue // the listener is slow, not Redis
		}
		switch silence := time.Since(e.base) - since; {
		case silence >= 2*e.quiet:
			e.cut(sub, "no answer")
			return
		case silence >= e.quiet/2:
			asking, cancel := context.WithTimeout(ctx, e.keeper.patience)
			if err := sub.Ping(asking); err != nil {
				e.log.Debug("redis: asking the subscription", "cause", err)
			}
			cancel()
		}
	}
}

// deaf hears that nobody listened for this node when a look was taken. The
// subscription may be with a server that is no longer master.
func (e *ear) deaf(look uint64) {
	e.mu.Lock()
	sub, wrong := e.sub, e.confirmed && e.since < look
	e.mu.Unlock()
	if wrong {
		e.cut(sub, "Redis does not know of it")
	}
}

// holds says whether a subscription has not been cut.
func (e *ear) holds(sub *redis.PubSub) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.sub == sub
}

// cut ends a subscription; the next one stands in for it.
func (e *ear) cut(sub *redis.PubSub, why string) {
	e.mu.Lock()
	if e.sub == sub {
		e.sub, e.confirmed = nil, false
	}
	e.mu.Unlock()
	if err := sub.Close(); err == nil && why != "the end" {
		e.log.Warn("redis: the subscription is begun anew", "cause", why)
	}
}
