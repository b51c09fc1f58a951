package bosh

import (
	"fmt"
	"strings"
	"testing"
)

func text(s string) reply {
	return reply{body: []byte("<" + s + ">"), from: 1, to: int32(1 + len(s))}
}

var verdictNames = map[verdict]string{
	process: "process", early: "early", repeated: "repeated", replayed: "replayed",
	tooOld: "too old", tooHigh: "too high", overactive: "overactive", stubborn: "stubborn",
}

func (v verdict) String() string { return verdictNames[v] }

// TestWindow plays scripts of steps, one for each rule. Requests are numbers,
// "12b" is the second copy of rid 12; the window begins at rid 10.
func TestWindow(t *testing.T) {
	for _, test := range []struct {
		name           string
		requests, hold int
		steps          string
	}{
		{"B11 in order", 2, 1, "10 process; take 10; done 10; 11 process; take 11; done 11"},
		{"B11 answers go to the oldest", 3, 2, "10 process; take 10; done 10; 11 process; take 11; done 11; oldest 10; say 10 x: 10; oldest 11"},
		{"B12 above the window", 2, 1, "12 too high; 11 early; 10 process; take 10; take 11; done 10; done 11; say 11 x: 11; 13 early; 14 too high"},
		{"B13 early ones wait for the gap", 3, 2, "12 early; 11 early; take -; 10 process; take 10; take 11; take 12; take -"},
		{"B13 an early one again replaces the first", 2, 1, "11 early; 11b repeated 11; 10 process; take 10; take 11b"},
		{"B14 the same answer again", 2, 1, "10 process; take 10; done 10; say 10 x: 10; 10b replayed x; 10c replayed x"},
		{"B14 as many as requests are remembered", 2, 1, "10 process; take 10; done 10; say 10 x: 10; wrote 10; 11 process; take 11; done 11; say 11 y: 11; wrote 11; 10b replayed x; wrote 10b; 12 process; take 12; done 12; say 12 z: 12; 11b replayed y; 10c too old"},
		{"B15 the newest copy waits", 2, 1, "10 process; take 10; done 10; 10b repeated 10; 10c repeated 10b; say 10 x: 10c"},
		{"B15 also while it is processed", 2, 1, "10 process; take 10; 10b repeated 10; done 10; say 10 x: 10b"},
		{"B15 the first copy is gone already", 2, 1, "10 process; take 10; done 10; lost 10: ; 10b repeated -; say 10 x: 10b"},
		{"B16 too old", 2, 1, "9 too old; 10 process; 1 too old"},
		{"B18 one too many", 2, 1, "10 process; take 10; done 10; surplus -; 11 process; take 11; surplus -; done 11; surplus 10; say 10 : 10; surplus -"},
		{"B18 two are held", 3, 2, "10 process; take 10; done 10; 11 process; take 11; done 11; surplus -; 12 process; take 12; done 12; surplus 10"},
		{"B21 gone before the answer", 2, 1, "10 process; take 10; done 10; lost 10: ; oldest -; 11 process; take 11; done 11; say 11 x: 11; 10b replayed "},
		{"B21 the answer could not be written", 2, 1, "10 process; take 10; done 10; say 10 x: 10; lost 10: x; oldest -; 10b repeated -; oldest 10; say 10 x: 10b"},
		{"B21 it was written before", 2, 1, "10 process; take 10; done 10; say 10 x: 10; wrote 10; 10b replayed x; lost 10b: ; 10c replayed x"},
		{"B21 something later has gone out", 3, 2, "10 process; take 10; done 10; 11 process; take 11; done 11; say 10 x: 10; say 11 y: 11; lost 10: ; 10b replayed x"},
		{"B21 what was lost comes back in order", 3, 2, "10 process; take 10; done 10; 11 process; take 11; done 11; say 10 x: 10; say 11 y: 11; lost 11: y; lost 10: x"},
		{"B21 it is still being written", 1, 1, "10 process; take 10; done 10; say 10 x: 10; 11 process; take 11; done 11; say 11 : 11; lost 10: x"},
		{"B14 a reply that nobody takes is not kept for ever", 1, 1, "10 process; take 10; done 10; say 10 x: 10; 11 process; take 11; done 11; say 11 : 11; 12 process; take 12; done 12; say 12 : 12; lost 10: ; 10b too old"},
		{"B21 an old copy's failure means nothing", 2, 1, "10 process; take 10; done 10; say 10 x: 10; 10b replayed x; lost 10: ; wrote 10b; 10c replayed x"},
		{"B24 too many", 2, 1, "10 process; take 10; done 10; 12 overactive; 11 process; take 11; 12 overactive"},
		{"B24 one more may pause or end", 2, 1, "10 process; take 10; done 10; 12+ early; 11 process; take 11; take 12"},
		{"B24 those that are gone do not count", 2, 1, "10 process; take 10; done 10; lost 10: ; 12 early"},
		{"over: nothing is taken", 2, 1, "11 early; over; oldest 11; take -; 10 process; oldest 10; take -; 12 too high"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWindow[string](10, test.requests, test.hold)
			for step := range strings.SplitSeq(test.steps, "; ") {
				if got := play(&w, step); got != step {
					t.Fatalf("%q went %q\n%+v", step, got, w)
				}
			}
		})
	}
}

func TestB17RepeatsAreLimited(t *testing.T) {
	w := newWindow[string](10, 2, 1)
	w.accept(10, "a", false)
	for i := range maxRepeats {
		if v, _, _ := w.accept(10, fmt.Sprint(i), false); v != repeated {
			t.Fatalf("repeat %d: %v", i, v)
		}
	}
	if v, _, _ := w.accept(10, "b", false); v != stubborn {
		t.Errorf("the last repeat: %v", v)
	}
}

func ridOf(who string) (rid int64) {
	fmt.Sscanf(who, "%d", &rid)
	return rid
}

// play does one step and says how it went, in the same words.
func play(w *window[string], step string) string {
	words := strings.Fields(step)
	who := ""
	if len(words) > 1 {
		who = strings.TrimSuffix(words[1], ":")
	}
	or := func(rid int64, ok bool) string {
		if !ok {
			return "-"
		}
		return fmt.Sprint(rid)
	}
	switch words[0] {
	case "take":
		got, ok := w.take()
		if !ok {
			got = "-"
		}
		return "take " + got
	case "done":
		w.done(ridOf(who))
		return step
	case "over":
		w.finish()
		return step
	case "oldest":
		return "oldest " + or(w.oldest())
	case "surplus":
		return "surplus " + or(w.surplus())
	case "say":
		said, _, _ := strings.Cut(step[len("say ")+len(words[1])+1:], ":")
		to, ok := w.answer(ridOf(words[1]), text(said), text(""))
		if !ok {
			to = "-"
		}
		return fmt.Sprintf("say %s %s: %s", words[1], said, to)
	case "wrote":
		w.wrote(ridOf(who), who)
		return step
	case "lost":
		return fmt.Sprintf("lost %s: %s", who, w.lost(ridOf(who), who))
	}
	name := strings.TrimSuffix(words[0], "+")
	v, old, rep := w.accept(ridOf(name), name, name != words[0])
	switch v {
	case repeated:
		if old == "" {
			old = "-"
		}
		return words[0] + " repeated " + old
	case replayed:
		return words[0] + " replayed " + string(rep.stanzas())
	}
	return words[0] + " " + v.String()
}

// A client may have one request more in flight than agreed upon when it pauses or ends
// the session (XEP-0124 section 11): that does not say that
// the reply two before came. It is one of the latest (section 14.3), and still there for a
// repeat.
func TestB24OneMoreDoesNotProveAnything(t *testing.T) {
	for _, more := range []string{"12+ process", "12+ early"} {
		w := newWindow[string](10, 2, 1)
		steps := []string{"10 process", "take 10", "done 10", "11 process", "take 11", "done 11", "say 10 x: 10", "wrote 10"}
		if more == "12+ early" { // and 11 comes after it
			steps = []string{"10 process", "take 10", "done 10", "say 10 x: 10", "wrote 10", more, "11 process"}
		} else {
			steps = append(steps, more)
		}
		for _, step := range steps {
			if got := play(&w, step); got != step {
				t.Fatalf("%q went %q", step, got)
			}
			switch step {
			case "11 process", "12+ process", "12+ early":
				w.goesOn(false)
			}
		}
		if got := play(&w, "10b replayed x"); got != "10b replayed x" {
			t.Errorf("%s: %s", more, got)
		}
	}
}

// The one request more, which ends the session, may overtake all that are under way
// (sections 11 and 14.2).
func TestB24TheEndOvertakes(t *testing.T) {
	for _, test := range [][]string{
		{"12+ early", "11 early", "10 process", "take 10", "done 10", "take 11", "done 11", "take 12"},
		{"12 too high"},
		{"13+ too high"},
	} {
		w := newWindow[string](10, 2, 1)
		for _, step := range test {
			if got := play(&w, step); got != step {
				t.Fatalf("%q went %q", step, got)
			}
		}
	}
}
