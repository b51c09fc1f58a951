package link

import (
	"net"
	"sync"
	"time"
)

// deadline is the time by which the next bytes have to come on a connection that
// nobody waits for. To put it off costs nothing: a timer that runs looks, when it
// goes off, what the deadline is by then.
type deadline struct {
	nc   net.Conn
	wake func() // is told when the time is over

	mu    sync.Mutex
	at    time.Time // zero for none
	timer *time.Timer
	rings time.Time // when the timer goes off; zero when it does not run
	lent  bool      // somebody waits for bytes in nc itself, under its own deadline
}

func (d *deadline) set(at time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.at = at
	if d.lent {
		return d.nc.SetReadDeadline(at)
	}
	d.arm()
	return nil
}

// arm has the timer go off in time. The caller has the lock.
func (d *deadline) arm() {
	if d.at.IsZero() || !d.rings.IsZero() && !d.at.Before(d.rings) {
		return
	}
	d.rings = d.at
	if wait := time.Until(d.at); d.timer == nil {
		d.timer = time.AfterFunc(wait, d.ring)
	} else {
		d.timer.Reset(wait)
	}
}

func (d *deadline) ring() {
	d.mu.Lock()
	d.rings = time.Time{}
	over := d.over()
	if !over {
		d.arm()
	}
	d.mu.Unlock()
	if over {
		d.wake()
	}
}

// over reports whether the time is over. The caller has the lock.
func (d *deadline) over() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

// passed reports whether the time is over.
func (d *deadline) passed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.over()
}

// lend makes the deadline that of nc while read runs.
func (d *deadline) lend(read func([]byte) (int, error), p []byte) (int, error) {
	d.mu.Lock()
	d.lent = true
	err := d.nc.SetReadDeadline(d.at)
	d.mu.Unlock()
	if err != nil {
		return 0, err
	}
	n, err := read(p)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lent = false
	if e := d.nc.SetReadDeadline(time.Time{}); err == nil {
		err = e
	}
	d.arm()
	return n, err
}

// stop ends the deadline.
func (d *deadline) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.at = time.Time{}
	if d.timer != nil {
		d.timer.Stop()
		d.rings = time.Time{}
	}
}
