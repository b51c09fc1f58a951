package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/redis/go-redis/v9"

	"rollcall/storage"
)

var errClosed = fmt.Errorf("%w: redis: the store is closed", storage.ErrUnavailable)

// busChannel is what a node listens to.
func busChannel(prefix, node string) string { return prefix + "bus:" + node }

// bus implements storage.Bus with a channel per node. Redis counts who gets a message,
// so a publisher knows when nobody did; what is lost on the way to a node is lost with
// its connection, which that node notices.
type bus struct {
	client redis.UniversalClient
	keeper *keeper
	log    *slog.Logger
	taken  atomic.Bool // Listen was called
	ear    *ear
}

// newBus publishes through one client and listens through another.
func newBus(client, listener redis.UniversalClient, c Config, k *keeper) *bus {
	b := &bus{client: client, keeper: k, log: c.Log, ear: newEar(listener, c, k)}
	k.deaf = b.ear.deaf
	return b
}

// Node implements storage.Bus.
func (b *bus) Node() (name string, epoch uint64) { return b.keeper.node, b.keeper.epoch }

// Publish implements storage.Bus. A message whose Publish failed may be delivered
// late, after the next ones.
func (b *bus) Publish(ctx context.Context, node string, data []byte) error {
	if b.keeper.isDown.Load() {
		return unavailable(errors.New("not available"))
	}
	within, cancel := context.WithTimeout(ctx, b.keeper.patience)
	defer cancel()
	n, err := b.client.Publish(within, busChannel(b.keeper.prefix, node), data).Result()
	switch {
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		b.keeper.suspect(err)
		return unavailable(err)
	case n == 0:
		return fmt.Errorf("%w: node %q", storage.ErrNobody, node)
	}
	return nil
}

// sound is what an ear hears, in order.
type sound struct {
	kind   soundKind
	data   []byte // of a message
	notice string
}

type soundKind int

const (
	soundMessage soundKind = iota
	soundNotice
	soundFirst // the subscription stands
	soundAgain // it stands again, after it was broken
)

// Listen implements storage.Bus. It fails with ErrName when another process has taken
// the node's name.
func (b *bus) Listen(ctx context.Context, f func(storage.BusEvent)) error {
	if b.taken.Swap(true) {
		return errors.New("redis: Listen was called before")
	}
	heard := make(chan sound, 32)
	inner, cancel := context.WithCancel(ctx)
	var ears sync.WaitGroup
	ears.Go(func() { b.ear.listen(inner, heard) })
	err := b.hear(ctx, heard, f)
	cancel()
	ears.Wait()
	if b.keeper.listening.Swap(false) && err == nil {
		// ctx has ended; the good-bye is said all the same.
		if err := b.keeper.announce(context.WithoutCancel(ctx), noticeBye); err != nil {
			b.log.Warn("redis: the good-bye to other nodes failed", "cause", err)
		}
	}
	return err
}

// hear calls f for everything, until ctx ends.
func (b *bus) hear(ctx context.Context, heard <-chan sound, f func(storage.BusEvent)) error {
	k := b.keeper
	was := k.untold()
	tell := func() {
		for _, e := range k.diff(&was) {
			if ctx.Err() == nil {
				f(e)
			}
		}
	}
	ready := false
	for {
		changed := k.changed
		if !ready {
			changed = nil // nobody is up before this node listens
		}
		select {
		case <-ctx.Done():
			return nil
		case <-k.done:
			return k.why()
		case <-changed:
			tell()
		case s := <-heard:
			if s.kind == soundFirst {
				if err := b.ready(ctx); err != nil {
					continue // the cause ends the loop
				}
				tell()
				f(storage.BusEvent{Kind: storage.BusReady})
				ready = true
				continue
			}
			b.handle(ctx, s, tell, f)
		}
	}
}

// ready makes this node known and waits until the others are.
func (b *bus) ready(ctx context.Context) error {
	b.keeper.listening.Store(true)
	if err := b.keeper.announce(ctx, noticeUp); err != nil {
		b.log.Debug("redis: others will see this node when they look", "cause", err)
	}
	return b.keeper.check(ctx)
}

func (b *bus) handle(ctx context.Context, s sound, tell func(), f func(storage.BusEvent)) {
	switch s.kind {
	case soundNotice:
		b.keeper.notice(s.notice)
		tell()
	case soundAgain:
		f(storage.BusEvent{Kind: storage.BusGap})
	case soundMessage:
		tell() // who sent it should be known
		if ctx.Err() == nil {
			f(storage.BusEvent{Kind: storage.BusMessage, Data: s.data})
		}
	}
}
