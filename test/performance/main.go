// Command performance measures what the real server costs: memory for each idle session,
// processor time for each login, message and presence, and where both go. It prints
// tables in Markdown for docs/performance.md.
//
//	go run ./test/performance footprint -transport tcp,ws,bosh -sessions 1000,5000,10000,18000
//	go run ./test/performance cost -transport ws
//	go run ./test/performance latency
//	go run ./test/performance all
//
// The server is a process of its own, and its figures are the kernel's (/proc) and its
// own (listen.metrics, listen.profiles), so that they hold although the clients share the
// machine with it. It needs Linux.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"rollcall/test/performance/load"
	"rollcall/test/performance/subject"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		stop()
		os.Exit(1)
	}
}

// settings say what is measured, and how long.
type settings struct {
	program    string // the server's
	out        io.Writer
	transports []string
	sessions   []int // ascending
	tls        bool
	settle     time.Duration // before memory is read
	idle       time.Duration // over which idle processor time is read
	sites      int           // sessions for the heap's sites; 0 for no such table
	logins     int
	members    int // of projects
	pairs      []int
	chat       time.Duration
	profile    bool
}

func run(ctx context.Context, out io.Writer, args []string) error {
	what := "all"
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		what, args = args[0], args[1:]
	}
	s, err := parse(out, args)
	if err != nil {
		return err
	}
	steps, ok := map[string][]func(context.Context, *settings) error{
		"footprint": {footprint},
		"cost":      {cost},
		"latency":   {latency},
		"all":       {footprint, cost, latency},
	}[what]
	if !ok {
		return fmt.Errorf("what is %q? footprint, cost, latency or all", what)
	}
	if s.program == "" {
		dir, err := os.MkdirTemp("", "rollcall-performance-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		if s.program, err = subject.Build(ctx, dir); err != nil {
			return err
		}
	}
	for _, step := range steps {
		if err := step(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

func parse(out io.Writer, args []string) (*settings, error) {
	s := &settings{out: out}
	f := flag.NewFlagSet("performance", flag.ContinueOnError)
	f.SetOutput(out)
	f.StringVar(&s.program, "server", "", "`program` to measure; without it, that of this tree is built")
	transports := f.String("transport", strings.Join(load.Transports(), ","), "`list` of tcp, ws and bosh")
	sessions := f.String("sessions", "1000,5000,10000,18000", "`numbers` of sessions, ascending; a process has 20,000 descriptors at most")
	pairs := f.String("pairs", "1,10,50,200", "`numbers` of pairs that chat at once, for latency")
	f.BoolVar(&s.tls, "tls", false, "footprint of sessions under TLS")
	f.DurationVar(&s.settle, "settle", 5*time.Second, "pause before memory is read")
	f.DurationVar(&s.idle, "idle", 20*time.Second, "over which the processor time of the most sessions at rest is read")
	f.IntVar(&s.sites, "sites", 2000, "sessions for the tables of where each KB is; 0 for no such tables")
	f.IntVar(&s.logins, "logins", 6000, "logins for the cost of one")
	f.IntVar(&s.members, "members", 1000, "users who share projects of 50")
	f.DurationVar(&s.chat, "chat", 8*time.Second, "how long pairs chat")
	f.BoolVar(&s.profile, "profile", true, "take CPU profiles, for the tables of where each microsecond goes")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	s.transports = strings.Split(*transports, ",")
	for _, t := range s.transports {
		if !slices.Contains(load.Transports(), t) {
			return nil, fmt.Errorf("-transport: what is %q?", t)
		}
	}
	var err error
	if s.sessions, err = numbers(*sessions); err != nil {
		return nil, fmt.Errorf("-sessions: %w", err)
	}
	if s.pairs, err = numbers(*pairs); err != nil {
		return nil, fmt.Errorf("-pairs: %w", err)
	}
	return s, nil
}

func numbers(list string) ([]int, error) {
	var all []int
	for text := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(text)
		if err != nil {
			return nil, err
		}
		if n < 1 || len(all) > 0 && n <= all[len(all)-1] {
			return nil, fmt.Errorf("%d is not above what comes before it", n)
		}
		all = append(all, n)
	}
	return all, nil
}

// loginOptions are those of sessions with a roster and presence.
func loginOptions(srv *subject.Server, transport string) load.Options {
	return load.Options{
		Transport: transport, Address: srv.Address(transport), Host: subject.Host, TLS: srv.TLS,
		Password: subject.Password, Resource: "x", Roster: true, Presence: true,
	}
}

// atOnce is how many logins are under way at once.
const atOnce = 32

// table prints rows in Markdown.
func (s *settings) table(title string, head []string, rows [][]string) {
	fmt.Fprintf(s.out, "\n%s\n\n| %s |\n|%s\n", title, strings.Join(head, " | "), strings.Repeat("---|", len(head)))
	for _, r := range rows {
		fmt.Fprintf(s.out, "| %s |\n", strings.Join(r, " | "))
	}
}

// pause waits, unless ctx ends first.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
