package server

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestQueue compares the queue with a plain list of all stanzas and whether they are kept.
func TestQueue(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 0))
		var q queue
		type stanza struct {
			data      string
			forgotten bool
		}
		var model []stanza
		held := func() (n, bytes int) {
			for _, s := range model {
				if !s.forgotten {
					n, bytes = n+1, bytes+len(s.data)
				}
			}
			return n, bytes
		}
		for step := range 400 {
			switch rng.IntN(8) {
			case 0:
				n := rng.IntN(len(model) + 1)
				q.drop(n)
				model = model[n:]
			case 1:
				most := rng.IntN(30)
				q.thin(func() bool { return q.count-q.gaps <= most })
				for i := range model {
					if n, _ := held(); n <= most {
						break
					}
					model[i].forgotten = model[i].forgotten || model[i].data[1] != 'm'
				}
			default:
				s := []string{"<message/>", "<presence/>", "<iq type='result'/>", "<iq type='get'/>"}[rng.IntN(4)]
				if s == "<iq type='get'/>" {
					s = "<message id='x'/>"
				}
				q.add(entry{data: []byte(s)})
				model = append(model, stanza{data: s})
			}
			n, bytes := held()
			if q.count != len(model) || q.count-q.gaps != n || q.bytes != bytes {
				t.Fatalf("seed %d, step %d: %d stanzas, %d kept, %d bytes; want %d, %d, %d", seed, step, q.count, q.count-q.gaps, q.bytes, len(model), n, bytes)
			}
			checkQueue(t, &q, func(i int) string {
				if model[i].forgotten {
					return ""
				}
				return model[i].data
			})
		}
	}
}

// checkQueue compares the queue's entries with the stanzas they stand for, "" for one that
// is forgotten.
func checkQueue(t *testing.T, q *queue, want func(i int) string) {
	t.Helper()
	i, runs := 0, 0
	for j := range q.list {
		e := &q.list[j]
		for range e.stanzas() {
			if got := string(e.data); got != want(i) {
				t.Fatalf("stanza %d is %q, want %q", i, got, want(i))
			}
			i++
		}
		if runs++; e.gaps == 0 {
			runs = 0
		}
		if runs > 1 {
			t.Fatalf("gaps are not one entry: %s", fmt.Sprint(q.list))
		}
	}
	lacking := false
	for n := q.count; n >= 0; n-- {
		lacking = lacking || n < q.count && want(n) == ""
		if q.lacks(n) != lacking {
			t.Fatalf("lacks(%d) is %v", n, !lacking)
		}
	}
}

func TestFleeting(t *testing.T) {
	for el, want := range map[string]bool{
		"<presence from='a@x/y'/>":                      true,
		"<presence type='subscribe' from='a@x'/>":       true,
		"<iq from='a@x' type='result' id='1'/>":         true,
		"<iq type='error'><x a='>'/></iq>":              true,
		"<iq id=\"type='result'\" type='get'><x/></iq>": false,
		"<iq type='set'><x type='result'/></iq>":        false,
		"<message type='result'/>":                      false,
		"<message/>":                                    false,
		"<presence":                                     false,
	} {
		if got := fleeting([]byte(el)); got != want {
			t.Errorf("%s: %v", el, got)
		}
	}
}
