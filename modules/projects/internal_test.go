package projects

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/beevik/etree"
	"mellium.im/xmpp/stanza"
)

// Pages of XEP-0059; ids are ordered, but would not be as addresses.
func TestPage(t *testing.T) {
	ids := []string{"u1", "u10", "u2", "u3"}
	for _, tt := range []struct{ ask, want, bad string }{
		{"", "u1 u10 u2 u3", ""},
		{"<max>2</max>", "u1 u10", ""},
		{"<max> 2 </max>", "u1 u10", ""},
		{"<max>2</max><after>u1</after>", "u10 u2", ""},
		{"<max>2</max><after>u10</after>", "u2 u3", ""},
		{"<max>2</max><after>u11</after>", "u2 u3", ""}, // gone meanwhile
		{"<max>2</max><after>u3</after>", "", ""},
		{"<max>2</max><after/>", "u1 u10", ""},
		{"<max>2</max><before/>", "u2 u3", ""},
		{"<max>2</max><before>u2</before>", "u1 u10", ""},
		{"<max>2</max><before>u10</before>", "u1", ""},
		{"<max>2</max><before>u1</before>", "", ""},
		{"<after>u1</after><before>u3</before>", "u10 u2", ""},
		{"<after>u3</after><before>u1</before>", "", ""},
		{"<max>0</max>", "", ""},
		{"<max>9223372036854775807</max><after>u1</after>", "u10 u2 u3", ""},
		{"<max>9223372036854775807</max><before>u3</before>", "u1 u10 u2", ""},
		{"<max>1</max><index>2</index>", "u2", ""},
		{"<max>1</max><index>4</index>", "", ""},
		{"<max>1</max><index>5</index>", "", "item-not-found"},
		{"<max>-1</max>", "", "bad-request"},
		{"<max>9223372036854775808</max>", "", "bad-request"},
		{"<max>1</max><index>-1</index>", "", "bad-request"},
	} {
		doc := etree.NewDocument()
		if err := doc.ReadFromString("<q><set xmlns='http://jabber.org/protocol/rsm'>" + tt.ask + "</set></q>"); err != nil {
			t.Fatal(err)
		}
		first, last, set, err := page(doc.Root(), ids)
		var bad stanza.Error
		if errors.As(err, &bad); string(bad.Condition) != tt.bad {
			t.Errorf("%s: %v", tt.ask, err)
		}
		if tt.bad != "" {
			continue
		}
		if got := strings.Join(ids[first:last], " "); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.ask, got, tt.want)
		}
		if count := set.SelectElement("count").Text(); count != "4" {
			t.Errorf("%s: count %s", tt.ask, count)
		}
		if (set.SelectElement("first") == nil) != (tt.want == "") {
			t.Errorf("%s: first of nothing, or none", tt.ask)
		}
	}
}

func TestChangeLog(t *testing.T) {
	var l changeLog
	check := func(since uint64, want ...string) {
		t.Helper()
		users, ok := l.since(since)
		if ok != (want != nil) || len(users) != len(want) {
			t.Fatalf("since %d: %v, %v, want %v", since, users, ok, want)
		}
		for _, u := range want {
			if _, ok := users[u]; !ok {
				t.Fatalf("since %d: %v, want %v", since, users, want)
			}
		}
	}
	none := []string{}
	check(0)
	check(100)
	l.note(8, "x")
	check(8) // nobody asked yet
	l.begin()
	l.note(10, "a")
	check(9)
	check(10, none...)
	l.note(12, "b")
	check(11, "b")
	// b's change was told under 12, and a list under 15, before c's change of
	// revision 13 is noted: the list may lack c, whatever time passes.
	if rev := l.answer(l.begin(), 15); rev != 15 {
		t.Fatal(rev)
	}
	l.note(13, "c")
	check(15, "c")
	check(12, "c")
	check(11, "b", "c")
	check(16, none...)
	// A list that was read before somebody left is worthless afterwards.
	old := l.begin()
	l.forget(0)
	check(20)
	l.note(17, "d")
	if rev := l.answer(old, 18); rev >= 17 {
		t.Errorf("a list from before is told under %d", rev)
	}
	check(15)
	check(17, none...)
	for i := range uint64(2 * maxLog) {
		l.note(100+i, fmt.Sprint("e", i))
	}
	check(98 + maxLog)
	check(98+2*maxLog, fmt.Sprint("e", 2*maxLog-1))
	if len(l.entries) != maxLog || cap(l.entries) > 2*maxLog {
		t.Errorf("%d of %d entries", len(l.entries), cap(l.entries))
	}
	// Whoever changes often takes one entry.
	for i := range uint64(2 * maxLog) {
		l.note(1000+i, "f")
	}
	check(999, "f")
	check(999+2*maxLog, none...)
	if len(l.entries) != maxLog {
		t.Errorf("%d entries", len(l.entries))
	}
}

// The first list that is asked for begins the deltas, unless what it was told under is
// worthless.
func TestChangeLogBeginsWithAList(t *testing.T) {
	for _, tt := range []struct {
		what  string
		do    func(l *changeLog)
		since uint64
		ok    bool
	}{
		{"a list", func(l *changeLog) { l.answer(l.begin(), 5) }, 5, true},
		{"before it", func(l *changeLog) { l.answer(l.begin(), 5) }, 4, false},
		{"a change before", func(l *changeLog) { l.note(5, "a"); l.answer(l.begin(), 5) }, 5, true},
		{"a list that is older than a change", func(l *changeLog) { l.note(6, "a"); l.answer(l.begin(), 5) }, 5, false},
		{"somebody left since", func(l *changeLog) { l.answer(l.begin(), 5); l.forget(3); l.answer(l.begin(), 5) }, 5, false},
		{"and it goes on", func(l *changeLog) { l.answer(l.begin(), 5); l.forget(3); l.answer(l.begin(), 6) }, 6, true},
		{"somebody left meanwhile", func(l *changeLog) {
			old := l.begin()
			l.forget(3)
			l.answer(old, 5)
			l.answer(l.begin(), 5)
		}, 5, false},
		{"a gap", func(l *changeLog) { l.misses(5); l.answer(l.begin(), 5) }, 5, false},
		{"a gap afterwards", func(l *changeLog) { l.answer(l.begin(), 5); l.misses(5) }, 5, false},
	} {
		var l changeLog
		tt.do(&l)
		if _, ok := l.since(tt.since); ok != tt.ok {
			t.Errorf("%s: since %d: %t", tt.what, tt.since, ok)
		}
	}
}

func TestShared(t *testing.T) {
	for _, tt := range [][3]string{
		{"", "", ""}, {"a", "", ""}, {"a b c", "b", "b"}, {"a c e", "b c d e", "c e"}, {"a b", "c d", ""},
	} {
		got := shared(nil, strings.Fields(tt[0]), strings.Fields(tt[1]))
		if !slices.Equal(got, strings.Fields(tt[2])) && tt[2] != "" || len(got) > 0 && tt[2] == "" {
			t.Errorf("%q and %q share %v", tt[0], tt[1], got)
		}
	}
}
