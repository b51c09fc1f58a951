package front

import (
	"net/http"
	"testing"
)

// listener notes what it is told.
type listener struct{ told []bool }

func (l *listener) Done(written bool) { l.told = append(l.told, written) }

// A connection may break before Serve has said who wants to know.
func TestGoneBeforeServed(t *testing.T) {
	x := new(Exchange)
	x.tell(false)
	l := new(listener)
	x.Waiter = l
	x.setServed()
	x.Reply(http.StatusOK, nil, nil)
	x.tell(true)
	if len(l.told) != 1 || l.told[0] {
		t.Error(l.told)
	}
}
