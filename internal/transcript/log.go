package transcript

import (
	"fmt"
	"strings"
	"sync"
)

// maxLogged is how much of one text the conversation keeps, in bytes.
const maxLogged = 4096

// conversation keeps what was said, for the message of a failure.
type conversation struct {
	mu    sync.Mutex
	lines []string
}

func (c *conversation) add(line string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines = append(c.lines, line)
}

// said notes what went over an actor's wire.
func (c *conversation) said(actor string, out bool, text string) {
	arrow := "<-"
	if out {
		arrow = "->"
	}
	if len(text) > maxLogged {
		text = fmt.Sprintf("%s [... %d bytes in all]", text[:maxLogged], len(text))
	}
	c.add(fmt.Sprintf("    %-8s %s %s", actor, arrow, strings.ToValidUTF8(text, "\ufffd")))
}

func (c *conversation) step(s Step) { c.add(fmt.Sprintf("%4d: %s", s.Line, s.Source)) }

func (c *conversation) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.lines, "\n")
}
