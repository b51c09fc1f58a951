package projects

import (
	"errors"
	"sync"
	"time"

	"rollcall/storage"
)

// outageEvery is how often calls that a store could not be reached for are logged: a
// busy server would say it thousands of times in a second.
const outageEvery = 10 * time.Second

// outage keeps the log readable while a store cannot be reached. Its zero value is
// ready.
type outage struct {
	mu     sync.Mutex
	next   time.Time // not logged before
	silent int       // calls that were not logged
}

// log reports whether a failed call is worth a line, and how many before it were not.
func (o *outage) log(err error, now time.Time) (silent int, ok bool) {
	if !errors.Is(err, storage.ErrUnavailable) {
		return 0, true
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if now.Before(o.next) {
		o.silent++
		return 0, false
	}
	silent, o.silent, o.next = o.silent, 0, now.Add(outageEvery)
	return silent, true
}
