package chaos

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// ledger accounts for the messages of each ordered pair of clients. A sender takes
// a credit for each message, and the receipt of it gives that back.
type ledger struct {
	mu       sync.Mutex
	accounts map[string]*account // by pair, "from>to"
	faults   []string
	progress chan struct{} // of capacity 1: something came
	left     int           // messages that have not come
	all      chan struct{} // closed when all have
}

// account is one ordered pair's.
type account struct {
	total int
	came  []bool // by number
	last  int    // the greatest number that came
	// credit holds as many tokens as messages may be under way in addition.
	credit chan struct{}

	duplicated, disordered int
}

func newLedger() *ledger {
	return &ledger{accounts: map[string]*account{}, progress: make(chan struct{}, 1), all: make(chan struct{})}
}

func pair(from, to string) string { return from + ">" + to }

// open lets from send total messages to to, credit of which may be under way.
func (l *ledger) open(from, to string, total, credit int) *account {
	a := &account{total: total, came: make([]bool, total), last: -1, credit: make(chan struct{}, credit)}
	for range credit {
		a.credit <- struct{}{}
	}
	l.accounts[pair(from, to)] = a
	l.left += total
	return a
}

// note is what a message says.
func note(from, to string, n int) string { return pair(from, to) + " " + strconv.Itoa(n) }

// receive enters a message that reached to.
func (l *ledger) receive(to, said string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p, number, _ := strings.Cut(said, " ")
	n, err := strconv.Atoi(number)
	a := l.accounts[p]
	if err != nil || a == nil || n < 0 || n >= a.total || !strings.HasSuffix(p, ">"+to) {
		l.faults = append(l.faults, fmt.Sprintf("%s got %q", to, said))
		return
	}
	if a.came[n] {
		a.duplicated++
		l.faults = append(l.faults, fmt.Sprintf("%q came twice", said))
		return
	}
	if n < a.last {
		a.disordered++
		l.faults = append(l.faults, fmt.Sprintf("%q came after %d", said, a.last))
	}
	a.came[n], a.last = true, max(a.last, n)
	a.credit <- struct{}{}
	select {
	case l.progress <- struct{}{}:
	default:
	}
	if l.left--; l.left == 0 {
		close(l.all)
	}
}

// totals are the sums over all pairs.
func (l *ledger) totals() (lost, duplicated, disordered int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p, a := range l.accounts {
		for n, came := range a.came {
			if !came {
				lost++
				l.faults = append(l.faults, fmt.Sprintf("%q never came", p+" "+strconv.Itoa(n)))
			}
		}
		duplicated += a.duplicated
		disordered += a.disordered
	}
	return lost, duplicated, disordered
}

// TestLedger: accounts that find everything in order must be able to find that it
// is not.
func TestLedger(t *testing.T) {
	for _, c := range []struct {
		name string
		came string
		want [3]int
	}{
		{"all", "0 1 2 3", [3]int{0, 0, 0}},
		{"lost", "0 2 3", [3]int{1, 0, 0}},
		{"the last one lost", "0 1 2", [3]int{1, 0, 0}},
		{"twice", "0 1 1 2 3", [3]int{0, 1, 0}},
		{"order", "0 2 1 3", [3]int{0, 0, 1}},
		{"stranger", "0 1 2 3 4", [3]int{0, 0, 0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLedger()
			a := l.open("x", "y", 4, 4)
			for range 4 {
				<-a.credit
			}
			for n := range strings.FieldsSeq(c.came) {
				l.receive("y", "x>y "+n)
			}
			lost, duplicated, disordered := l.totals()
			if got := [3]int{lost, duplicated, disordered}; got != c.want {
				t.Errorf("lost, duplicated, out of order: %v, want %v", got, c.want)
			}
			if fine := c.name == "all"; (len(l.faults) == 0) != fine {
				t.Errorf("faults: %q", slices.Sorted(slices.Values(l.faults)))
			}
		})
	}
}
