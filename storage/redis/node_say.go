package redis

import "context"

// saying is a call of tracker.up or tracker.lost that may go on.
type saying struct {
	cancel   context.CancelFunc
	done     chan struct{}
	finished bool // it returned by itself; read after done
}

// say tells that Redis is there, and lets that go on until something else is to be
// said. What was lost and not told to the end is told again.
func (k *keeper) say(ctx context.Context, lost bool) {
	k.hush()
	k.owed = k.owed || lost
	ctx, cancel := context.WithCancel(ctx)
	w := &saying{cancel: cancel, done: make(chan struct{})}
	k.saying = w
	tell := k.told.up
	if k.owed {
		tell = k.told.lost
	}
	go func() {
		defer close(w.done)
		tell(ctx)
		w.finished = ctx.Err() == nil
	}()
}

// hush ends what is being said, and remembers when it was not finished.
func (k *keeper) hush() {
	if w := k.saying; w != nil {
		w.cancel()
		<-w.done
		k.owed = k.owed && !w.finished
		k.saying = nil
	}
}
