package tcp_test

import (
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"

	"rollcall/conf"
)

// A reader that never reads is closed; nobody else notices.
func TestSlowReader(t *testing.T) {
	loops(t, options{limits: func(l *conf.Limits) { l.OutboxBytes = 64 << 10 }}, func(t *testing.T, h *house) {
		slow, sender := h.login("slow", "x"), h.login("ann", "x")
		ben := h.login("ben", "x")
		body := strings.Repeat("x", 16<<10)
		closed := make(chan string)
		go func() { closed <- <-h.closes }()
		sent := 0
		for reason := ""; reason == ""; sent++ {
			sender.send("<message to='slow@example.com/x'><body>" + body + "</body></message>" +
				"<message to='ben@example.com/x' id='m'/>")
			ben.until("id='m'")
			select {
			case reason = <-closed:
				if reason != "slow-reader" {
					t.Errorf("closed for %s", reason)
				}
			default:
			}
		}
		// The others go on, and the slow one is gone, without having to read.
		sender.send("<message to='ben@example.com/x' id='later'/>")
		ben.until("id='later'")
		if _, err := io.Copy(io.Discard, slow); err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the slow reader: %v", err)
		}
	})
}

// Close does not wait for a peer that reads nothing, however much is queued.
func TestCloseWithFullPipe(t *testing.T) {
	loops(t, options{}, func(t *testing.T, h *house) {
		slow, sender := h.login("slow", "x"), h.login("ann", "x")
		body := strings.Repeat("x", 200<<10)
		go func() {
			for {
				if _, err := io.WriteString(sender, "<message to='slow@example.com/x'><body>"+body+"</body></message>"); err != nil {
					return
				}
			}
		}()
		h.expectClose("slow-reader")
		sender.Close()
		h.stop() // while nobody reads on the other side
		slow.Close()
	})
}
