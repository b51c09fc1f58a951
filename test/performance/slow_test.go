package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"rollcall/internal/testkit"
	"rollcall/test/performance/load"
	"rollcall/test/performance/subject"
)

// The size of TestSlowReaders; `make slow` has the full one.
var (
	peopleFlag = flag.Int("people", 100, "sessions; one of each hundred does not read, and another is stopped")
	loadFlag   = flag.Duration("load", 700*time.Millisecond, "how long people talk, with and without slow readers")
)

const (
	stormRounds = 4  // changes of everybody's presence
	caughtUp    = 50 // messages to a stopped client that fit into what may wait for it
)

// TestSlowReaders has people talk and change their presence while some of those whom they
// tell do not read at all and others stand still for a while. Nobody else loses or waits
// for anything; the latter's delays are in the log.
func TestSlowReaders(t *testing.T) {
	for _, transport := range load.Transports() {
		t.Run(transport, func(t *testing.T) {
			t.Parallel() // which make slow forbids
			slowReaders(t, transport)
		})
	}
}

func slowReaders(t *testing.T, transport string) {
	srv := start(t, subject.Options{
		Users: *peopleFlag, Group: ofProject, Limits: "stanza_bytes: 32KiB, outbox_bytes: 256KiB", Log: t.Output(),
	})
	r := &ring{t: t, srv: srv, o: loginOptions(srv, transport)}
	var awake, deaf, stopped []int
	for i := range *peopleFlag {
		switch i % 100 {
		case 7:
			deaf = append(deaf, i)
		case 57, 58:
			stopped = append(stopped, i)
		default:
			awake = append(awake, i)
		}
	}
	r.enter(awake)
	without := r.load(1, nil)

	r.enterDeaf(deaf)
	absent := sendAway(t, orders{Transport: transport, Address: srv.Address(transport), Users: stopped})
	if err := absent.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := testkit.Stopped(absent.cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	// Half of the stopped ones get more than may wait for them.
	var flooded []int
	for i := range stopped {
		if i%2 == 0 {
			flooded = append(flooded, stopped[i])
		}
	}
	with := r.load(2, func() {
		r.tellStopped(stopped, flooded)
		r.flood(transport, append(flooded, deaf...))
	})
	if err := resume(absent.cmd.Process); err != nil {
		t.Fatal(err)
	}
	r.expectStopped(absent, stopped, flooded)
	r.expectEnds(transport, len(deaf)+len(flooded))
	t.Logf("%s: %d people without slow readers: %s", transport, len(awake), without)
	t.Logf("%s: with %d that do not read and %d that are stopped: %s", transport, len(deaf), len(stopped), with)
}

// String is for the log.
func (d delays) String() string {
	return fmt.Sprintf("%.0f messages/s, p50 %s, p99 %s, max %s", d.rate(), d.p50, d.p99, d.max)
}

// resume lets a process go on.
func resume(p *os.Process) error {
	if err := p.Signal(syscall.SIGCONT); !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// tellStopped sends messages that may wait to those who are stopped and not flooded.
func (r *ring) tellStopped(stopped, flooded []int) {
	r.t.Helper()
	for _, u := range stopped {
		if slices.Contains(flooded, u) {
			continue
		}
		for n := range caughtUp {
			r.flooder.tell(r.t, "chat", u, n+1, bodyBytes)
		}
		r.flooder.mark(r.t)
	}
}

// flood sends more to users than may wait for them, until the server has given each up.
func (r *ring) flood(transport string, users []int) {
	r.t.Helper()
	sent := 0
	r.until("slow readers are closed", func() bool {
		for _, u := range users {
			for range 4 {
				r.flooder.tell(r.t, "headline", u, 0, 30<<10) // which nobody sends back
			}
			r.flooder.mark(r.t)
		}
		sent += 120
		samples, err := r.srv.Sample(r.t.Context())
		if err != nil {
			r.t.Fatal(err)
		}
		return samples.Closes(transport, "slow-reader") >= len(users)
	})
	r.t.Logf("%s: slow readers were closed after at most %d KB each", transport, sent)
}

func (p *person) tell(t *testing.T, kind string, user, id, bytes int) {
	t.Helper()
	text := fmt.Sprintf("<message xmlns='jabber:client' type='%s' to='%s@%s/x' id='%d'><body>%s</body></message>",
		kind, subject.User(user), subject.Host, id, strings.Repeat("y", bytes))
	if err := p.Send([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

// mark waits until the server has worked off what was sent before.
func (p *person) mark(t *testing.T) {
	t.Helper()
	text := "<message xmlns='jabber:client' type='chat' to='" + p.JID + "'><body>mark</body></message>"
	if err := p.Send([]byte(text)); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.marks:
	case <-p.Ended():
		t.Fatalf("%s: %v", p.JID, p.Err())
	case <-time.After(time.Minute):
		t.Fatal("no answer within a minute")
	}
}

// expectStopped checks that who was flooded has ended and everybody else has caught up.
func (r *ring) expectStopped(a *away, stopped, flooded []int) {
	r.t.Helper()
	var last []account
	r.until("stopped clients have caught up or ended", func() bool {
		last = a.ask()
		for i, u := range stopped {
			if slices.Contains(flooded, u) {
				if !last[i].Ended {
					return false
				}
			} else if last[i].Ended || last[i].Messages < caughtUp {
				return last[i].Ended || last[i].Wrong != ""
			}
		}
		return true
	})
	for i, u := range stopped {
		if slices.Contains(flooded, u) {
			continue
		}
		if got := last[i]; got.Ended || got.Messages != caughtUp || got.Wrong != "" {
			r.t.Errorf("%s, stopped for a while: %+v, want %d messages", subject.User(u), got, caughtUp)
		}
	}
}

// expectEnds checks that the slow ones ended for the right reason, and nobody else did.
func (r *ring) expectEnds(transport string, slow int) {
	r.t.Helper()
	samples, err := r.srv.Sample(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	for name, n := range samples {
		if strings.HasPrefix(name, "rollcall_closes_total") && n > 0 && !strings.Contains(name, `"slow-reader"`) {
			r.t.Errorf("%s is %v", name, n)
		}
	}
	if n := samples.Closes(transport, "slow-reader"); n != slow {
		r.t.Errorf("%d slow readers were closed, want %d", n, slow)
	}
	for _, p := range r.people {
		select {
		case <-p.Ended():
			r.t.Errorf("%s: %v", p.JID, p.Err())
		default:
		}
	}
}
