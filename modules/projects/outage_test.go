package projects

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"rollcall/storage"
)

func TestOutageIsLoggedNowAndThen(t *testing.T) {
	away := fmt.Errorf("%w: no route", storage.ErrUnavailable)
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var o outage
	for _, step := range []struct {
		after  time.Duration
		err    error
		silent int
		ok     bool
	}{
		{0, away, 0, true},
		{time.Second, away, 0, false},
		{2 * time.Second, errors.New("a defect"), 0, true},
		{3 * time.Second, away, 0, false},
		{10 * time.Second, away, 2, true},
		{11 * time.Second, away, 0, false},
		{time.Minute, away, 1, true},
	} {
		if silent, ok := o.log(step.err, start.Add(step.after)); silent != step.silent || ok != step.ok {
			t.Errorf("%v after %s: %d, %t", step.err, step.after, silent, ok)
		}
	}
}
