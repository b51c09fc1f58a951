package redis

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"rollcall/storage"
)

// peers are the other nodes that are taken for alive. Whoever tells of them compares
// what they are with what was told (diff), so nothing queues up for a slow listener.
type peers struct {
	mu    sync.Mutex
	known map[string]peer
	// departed are the epochs of processes that said good-bye and still have a lease.
	departed map[string]uint64
	digs     map[string]bool // nodes whose rows are being removed
	last     uint64          // number of the last addition
	gaps     uint64          // how often others took this node for dead
	changed  chan struct{}   // room for one

	started, finished uint64        // numbers of looks
	news              chan struct{} // closed and made anew when a look has finished
}

// peer is one life of another node.
type peer struct {
	epoch  uint64
	number uint64 // differs when the same process was dead in between
	born   uint64 // the look that began last before this was known
}

func newPeers() peers {
	return peers{
		known: make(map[string]peer), departed: make(map[string]uint64), digs: make(map[string]bool),
		changed: make(chan struct{}, 1), news: make(chan struct{}),
	}
}

// begin numbers a look and says whom to look at.
func (p *peers) begin() (number uint64, others []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.started++
	others = slices.Collect(maps.Keys(p.known))
	for node := range p.departed {
		if _, ok := p.known[node]; !ok {
			others = append(others, node)
		}
	}
	return p.started, others
}

// finish says that what a look saw is known.
func (p *peers) finish(number uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.finished = number
	close(p.news)
	p.news = make(chan struct{})
}

// now is the number of the look that began last.
func (p *peers) now() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.started
}

// alive is how many other nodes there are.
func (p *peers) alive() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.known)
}

// compare takes over what a look saw. A node without a lease is dead only when steady
// says that it had the time to renew it. It returns the dead whose rows are still there.
func (p *peers) compare(nodes []neighbour, look uint64, steady bool, self string) (dead []neighbour) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range nodes {
		if n.node == self {
			continue
		}
		old, known := p.known[n.node]
		if known && old.born >= look {
			continue // heard of since: what was seen is older
		}
		if n.epoch == 0 {
			if !steady {
				continue
			}
			if n.member {
				dead = append(dead, n)
			}
			delete(p.departed, n.node)
			p.remove(n.node)
			continue
		}
		if known && old.epoch != n.epoch {
			p.remove(n.node)
			known = false
		}
		gone, left := p.departed[n.node]
		if left && gone != n.epoch {
			delete(p.departed, n.node)
		}
		if !known && n.listeners > 0 && (!left || gone != n.epoch) {
			p.add(n.node, n.epoch)
		}
	}
	return dead
}

func (p *peers) add(node string, epoch uint64) {
	p.last++
	p.known[node] = peer{epoch: epoch, number: p.last, born: p.started}
	p.wake()
}

func (p *peers) remove(node string) {
	if _, ok := p.known[node]; ok {
		delete(p.known, node)
		p.wake()
	}
}

func (p *peers) wake() {
	select {
	case p.changed <- struct{}{}:
	default: // woken already
	}
}

// hear takes over what a node says of itself.
func (p *peers) hear(kind, node string, epoch uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old, known := p.known[node]
	switch kind {
	case noticeUp:
		if p.departed[node] < epoch && (!known || old.epoch < epoch) {
			p.remove(node)
			p.add(node, epoch)
		}
	case noticeBye, noticeLeft:
		if known && old.epoch <= epoch {
			p.remove(node)
		}
		p.departed[node] = max(p.departed[node], epoch)
	}
}

// digging notes that a node's rows are being removed, or no longer; it returns false
// when that was noted already.
func (p *peers) digging(node string, on bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.digs[node] == on {
		return false
	}
	if on {
		p.digs[node] = true
	} else {
		delete(p.digs, node)
	}
	return true
}

// told is what a listener was told.
type told struct {
	known map[string]peer
	gaps  uint64
}

// untold is what a listener was told before it listens.
func (p *peers) untold() told {
	p.mu.Lock()
	defer p.mu.Unlock()
	return told{known: make(map[string]peer), gaps: p.gaps}
}

// diff is what a listener has not been told yet, and takes it for told.
func (p *peers) diff(t *told) (events []storage.BusEvent) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gaps != t.gaps {
		t.gaps = p.gaps
		events = append(events, storage.BusEvent{Kind: storage.BusGap})
	}
	for _, node := range slices.Sorted(maps.Keys(t.known)) {
		if was := t.known[node]; p.known[node].number != was.number {
			events = append(events, storage.BusEvent{Kind: storage.NodeDown, Node: node, Epoch: was.epoch})
			delete(t.known, node)
		}
	}
	for _, node := range slices.Sorted(maps.Keys(p.known)) {
		if _, ok := t.known[node]; !ok {
			t.known[node] = p.known[node]
			events = append(events, storage.BusEvent{Kind: storage.NodeUp, Node: node, Epoch: p.known[node].epoch})
		}
	}
	return events
}

// check waits for a look that begins now or later.
func (k *keeper) check(ctx context.Context) error {
	k.mu.Lock()
	want := k.started + 1
	k.mu.Unlock()
	for {
		k.mu.Lock()
		finished, news := k.finished, k.news
		k.mu.Unlock()
		if finished >= want {
			return nil
		}
		k.lookNow()
		select {
		case <-news:
		case <-k.done:
			return k.why()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// returned says that this node is back after others may have taken it for dead.
func (k *keeper) returned(ctx context.Context) {
	k.mu.Lock()
	k.gaps++
	k.wake()
	k.mu.Unlock()
	if k.listening.Load() {
		if err := k.announce(ctx, noticeUp); err != nil {
			k.log.Debug("redis: others will see this node when they look", "cause", err)
		}
	}
}

// What nodes say to all others on the channel "bus": the kind, an epoch, a name. It
// only saves them the wait for their next look; what counts is the keys.
const (
	noticeUp   = "up"   // listens, and has its lease
	noticeBye  = "bye"  // no longer listens
	noticeLeft = "left" // has given its lease back
)

func noticeChannel(prefix string) string { return prefix + "bus" }

func (k *keeper) announce(ctx context.Context, kind string) error {
	ctx, cancel := context.WithTimeout(ctx, k.patience)
	defer cancel()
	notice := kind + " " + strconv.FormatUint(k.epoch, 10) + " " + k.node
	return unavailable(k.client.Publish(ctx, noticeChannel(k.prefix), notice).Err())
}

// notice hears what another node said. It ignores what no node says.
func (k *keeper) notice(text string) {
	f := strings.SplitN(text, " ", 3)
	if len(f) != 3 || f[2] == k.node {
		return
	}
	if epoch := epochOf(f[1]); epoch > 0 {
		k.hear(f[0], f[2], epoch)
		if f[0] == noticeLeft {
			k.lookNow()
		}
	}
}

func listens(nodes []neighbour, node string) bool {
	for _, n := range nodes {
		if n.node == node {
			return n.listeners > 0
		}
	}
	return false
}
