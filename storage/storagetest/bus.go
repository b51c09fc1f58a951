package storagetest

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"rollcall/storage"
)

// Bus runs the suite of storage.Bus. open joins a node by that name to a community
// that all nodes opened with it belong to; the end of its test takes it out again. A
// name is opened again only when Listen of the last node of that name has returned.
func Bus(t *testing.T, open func(t *testing.T, name string) storage.Bus) {
	for name, f := range map[string]func(*testing.T, busCommunity){
		"alone":                  busAlone,
		"nodes meet":             busMeet,
		"order":                  busOrder,
		"several publishers":     busPublishers,
		"data":                   busData,
		"data are not kept":      busNotKept,
		"nobody":                 busNobody,
		"good-bye":               busGoodbye,
		"a process after a next": busNextProcess,
		"Listen once":            busOnce,
		"publish while told":     busAnswer,
		"contexts that ended":    busEnded,
	} {
		t.Run(name, func(t *testing.T) { f(t, open) })
	}
}

func busAlone(t *testing.T, open busCommunity) {
	a := open.listen(t, "alone")
	a.ready(t)
	if name, epoch := a.bus.Node(); name != "alone" || epoch == 0 {
		t.Errorf("Node = %q, %d", name, epoch)
	}
	if got := a.all(); got[0].Kind != storage.BusReady {
		t.Errorf("told %v first, want BusReady", got[0])
	}
}

// busMeet: who comes is told who is there before BusReady, and the others are told.
func busMeet(t *testing.T, open busCommunity) {
	var nodes []*busNode
	for _, name := range []string{"meet1", "meet2", "meet3"} {
		n := open.listen(t, name)
		n.ready(t)
		var want []storage.BusEvent
		for _, other := range nodes {
			want = append(want, other.up())
			other.await(t, n.up())
		}
		got := n.all()
		got = got[:indexOf(got, storage.BusEvent{Kind: storage.BusReady})]
		slices.SortFunc(got, func(x, y storage.BusEvent) int { return strings.Compare(x.Node, y.Node) })
		if !slices.EqualFunc(got, want, sameEvent) {
			t.Errorf("%s was told %v before BusReady, want %v", name, got, want)
		}
		nodes = append(nodes, n)
	}
}

func busOrder(t *testing.T, open busCommunity) {
	a, b := busPair(t, open, "order")
	const n = 500
	for i := range n {
		a.publish(t, b, number(i))
	}
	for i, data := range b.messages(t, n) {
		if data != number(i) {
			t.Fatalf("message %d is %q", i, data)
		}
	}
}

// busPublishers: each goroutine's messages arrive in order and once, whoever else
// publishes.
func busPublishers(t *testing.T, open busCommunity) {
	a, b := busPair(t, open, "publishers")
	c := open.listen(t, "publishers-c")
	c.ready(t)
	const n = 100
	from := map[byte]*busNode{'a': a, 'A': a, 'b': b, 'B': b}
	busTogether(t, from, func(tag byte, p *busNode) error {
		for i := range n {
			if err := p.bus.Publish(t.Context(), c.name, []byte(string(tag)+number(i))); err != nil {
				return err
			}
		}
		return nil
	})
	next := make(map[byte]int)
	for _, data := range c.messages(t, len(from)*n) {
		if tag := data[0]; data[1:] == number(next[tag]) {
			next[tag]++
		} else {
			t.Fatalf("%q came, want %d of %c", data, next[tag], tag)
		}
	}
}

func busData(t *testing.T, open busCommunity) {
	a, b := busPair(t, open, "data")
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	large := make([]byte, 1<<20)
	for i := range large {
		large[i] = byte(i * 7 >> 3)
	}
	want := []string{string(every), "", "\r\n$5\r\n", "\xff\xfe", string(large), "last"}
	for _, data := range want {
		a.publish(t, b, data)
	}
	for i, data := range b.messages(t, len(want)) {
		if data != want[i] {
			t.Errorf("message %d has %d bytes, want %d others", i, len(data), len(want[i]))
		}
	}
}

// busNotKept: both ends may do with data what they like.
func busNotKept(t *testing.T, open busCommunity) {
	a, b := busPair(t, open, "kept")
	data := []byte("one")
	busOK(t, a.bus.Publish(t.Context(), b.name, data))
	copy(data, "two")
	busOK(t, a.bus.Publish(t.Context(), b.name, data))
	copy(data, "xxx")
	if got := b.messages(t, 2); got[0] != "one" || got[1] != "two" {
		t.Errorf("%q came", got)
	}
}

func busNobody(t *testing.T, open busCommunity) {
	a := open.listen(t, "nobody")
	a.ready(t)
	open(t, "nobody-idle")
	for _, node := range []string{"nobody-at-all", "nobody-idle"} {
		if err := a.bus.Publish(t.Context(), node, []byte("x")); !errors.Is(err, storage.ErrNobody) {
			t.Errorf("Publish to %s: %v, want ErrNobody", node, err)
		}
	}
	for _, e := range a.all() {
		if e.Kind == storage.NodeUp {
			t.Errorf("told of %s, which does not listen", e.Node)
		}
	}
}

func busGoodbye(t *testing.T, open busCommunity) {
	a, b := busPair(t, open, "bye")
	a.publish(t, b, "last words")
	b.messages(t, 1)
	b.publish(t, a, "mine too")
	b.leave(t)
	a.await(t, b.down())
	if got := a.all(); indexOf(got, b.down()) < slices.IndexFunc(got, isMessage) {
		t.Errorf("told %v: down before the last message", got)
	}
	n := len(b.all())
	busUntil(t, "nobody is reached", func() bool {
		return errors.Is(a.bus.Publish(t.Context(), b.name, []byte("x")), storage.ErrNobody)
	})
	if got := b.all(); len(got) != n {
		t.Errorf("told %v after Listen had returned", got[n:])
	}
}

// busNextProcess: a name's next process has a greater epoch, and nobody takes the two
// for one.
func busNextProcess(t *testing.T, open busCommunity) {
	a, b := busPair(t, open, "next")
	for range 3 {
		old := b
		old.leave(t)
		b = open.listen(t, old.name)
		b.ready(t)
		if b.epoch <= old.epoch {
			t.Fatalf("epoch %d after %d", b.epoch, old.epoch)
		}
		a.await(t, b.up())
		got := a.all()
		down, up := indexOf(got, old.down()), indexOf(got, b.up())
		if down < 0 || up < down {
			t.Errorf("told %v, want %v before %v", got, old.down(), b.up())
		}
		a.publish(t, b, "hello")
		if data := b.messages(t, 1); data[0] != "hello" {
			t.Errorf("%q came", data)
		}
	}
}

func busOnce(t *testing.T, open busCommunity) {
	a := open.listen(t, "once")
	a.ready(t)
	if err := a.bus.Listen(t.Context(), func(storage.BusEvent) {}); err == nil {
		t.Error("Listen could be called twice")
	}
}

// busAnswer publishes in the callback.
func busAnswer(t *testing.T, open busCommunity) {
	a, b := busPair(t, open, "answer")
	b.on(func(e storage.BusEvent) {
		if e.Kind == storage.BusMessage {
			if err := b.bus.Publish(t.Context(), a.name, append([]byte("re: "), e.Data...)); err != nil {
				t.Error(err)
			}
		}
	})
	a.publish(t, b, "hello")
	if data := a.messages(t, 1); data[0] != "re: hello" {
		t.Errorf("%q came", data)
	}
}

func busEnded(t *testing.T, open busCommunity) {
	a, b := busPair(t, open, "ended")
	ended := endedContext(t)
	if err := a.bus.Publish(ended, b.name, []byte("x")); err == nil {
		t.Error("Publish with a context that has ended succeeded")
	}
	c := open(t, "ended-c")
	if err := c.Listen(ended, func(e storage.BusEvent) { t.Errorf("told %v", e) }); err != nil {
		t.Errorf("Listen: %v, want nil", err)
	}
	a.publish(t, b, "still here")
	if data := b.messages(t, 1); data[0] != "still here" {
		t.Errorf("%q came", data)
	}
}
