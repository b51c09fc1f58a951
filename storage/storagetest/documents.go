package storagetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"rollcall/storage"
)

// Documents checks everything that storage.Documents promises. open returns two stores
// on the same empty data, as two processes would open it, which are closed with
// t.Cleanup.
func Documents(t *testing.T, open func(t *testing.T) (s, other storage.Documents)) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, s, other storage.Documents)
	}{
		{"empty", documentsEmpty},
		{"put and replace", documentsPut},
		{"users and keys", documentsKeys},
		{"limit of documents", documentsLimit},
		{"limit of bytes", documentsBytes},
		{"each", documentsEach},
		{"remove", documentsRemove},
		{"invalid", documentsInvalid},
		{"caller's slices", documentsSlices},
		{"large", documentsLarge},
		{"ended context", documentsEndedContext},
		{"one document at once", documentsOneAtOnce},
		{"border at once", documentsBorder},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, other := open(t)
			test.run(t, s, other)
		})
	}
}

func put(t *testing.T, s storage.Documents, user, key, data string) {
	t.Helper()
	directoryOK(t, s.PutDocument(t.Context(), user, key, []byte(data), storage.DocumentLimit{}))
}

// documentIs checks a document in both stores; an empty one is not there.
func documentIs(t *testing.T, user, key, want string, stores ...storage.Documents) {
	t.Helper()
	for _, s := range stores {
		got, err := s.Document(t.Context(), user, key)
		if want == "" {
			directoryIs(t, user+" "+key, err, storage.ErrNotFound)
			continue
		}
		directoryOK(t, err)
		if string(got) != want {
			t.Errorf("%s %s: %.100q, want %.100q", user, key, got, want)
		}
	}
}

func documentsEmpty(t *testing.T, s, other storage.Documents) {
	documentIs(t, "ann", "vcard", "", s, other)
	directoryOK(t, s.EachDocument(t.Context(), "vcard", func(user string, _ []byte) { t.Errorf("%s has one", user) }))
	put(t, s, "ann", "vcard", "")
	directoryOK(t, s.RemoveDocuments(t.Context(), "ann"))
	documentIs(t, "ann", "vcard", "", s, other)
}

func documentsPut(t *testing.T, s, other storage.Documents) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for _, data := range []string{"one", "日本 🎉", string(all), "\x00", "two"} {
		put(t, s, "ann", "vcard", data)
		documentIs(t, "ann", "vcard", data, s, other)
		put(t, other, "ann", "vcard", data)
		documentIs(t, "ann", "vcard", data, s, other)
	}
	put(t, s, "ann", "vcard", "")
	documentIs(t, "ann", "vcard", "", s, other)
	put(t, other, "ann", "vcard", "again")
	documentIs(t, "ann", "vcard", "again", s, other)
}

func documentsKeys(t *testing.T, s, other storage.Documents) {
	keys := []string{"a", "A", "a.b", "$a", "$", ".", "a/b", "a b", "storage:bookmarks", "日本", "{urn:x}y", strings.Repeat("k", 1000)}
	users := directoryGoodIDs()
	for i, user := range users {
		for j, key := range keys[:1+i%len(keys)] {
			put(t, s, user, key, fmt.Sprint(i, j))
		}
	}
	for i, user := range users {
		for j, key := range keys {
			want := ""
			if j <= i%len(keys) {
				want = fmt.Sprint(i, j)
			}
			documentIs(t, user, key, want, other)
		}
	}
}

func documentsLimit(t *testing.T, s, other storage.Documents) {
	limit := storage.DocumentLimit{Documents: 2}
	directoryOK(t, s.PutDocument(t.Context(), "ann", "1", []byte("1"), limit))
	directoryOK(t, s.PutDocument(t.Context(), "ann", "2", []byte("2"), limit))
	directoryIs(t, "a third", other.PutDocument(t.Context(), "ann", "3", []byte("3"), limit), storage.ErrFull)
	documentIs(t, "ann", "3", "", s, other)
	directoryOK(t, other.PutDocument(t.Context(), "ann", "3", nil, limit))
	directoryOK(t, other.PutDocument(t.Context(), "ann", "2", []byte("two"), limit))
	directoryOK(t, other.PutDocument(t.Context(), "bob", "2", []byte("his"), limit))
	put(t, s, "ann", "1", "")
	directoryOK(t, other.PutDocument(t.Context(), "ann", "3", []byte("3"), limit))
	documentIs(t, "ann", "2", "two", s, other)
	documentIs(t, "ann", "3", "3", s, other)
}

func documentsBytes(t *testing.T, s, other storage.Documents) {
	limit := storage.DocumentLimit{Bytes: 100}
	of := func(n int) []byte { return bytes.Repeat([]byte("x"), n) }
	directoryOK(t, s.PutDocument(t.Context(), "ann", "1", of(60), limit))
	directoryIs(t, "too much", s.PutDocument(t.Context(), "ann", "2", of(41), limit), storage.ErrFull)
	directoryOK(t, other.PutDocument(t.Context(), "ann", "2", of(40), limit))
	directoryIs(t, "one byte more", s.PutDocument(t.Context(), "ann", "2", of(41), limit), storage.ErrFull)
	documentIs(t, "ann", "2", string(of(40)), s, other)
	directoryOK(t, other.PutDocument(t.Context(), "ann", "1", of(50), limit))
	directoryOK(t, s.PutDocument(t.Context(), "ann", "2", of(50), limit))
	// Who has too much may have less, if not little.
	less := storage.DocumentLimit{Bytes: 10, Documents: 1}
	directoryOK(t, s.PutDocument(t.Context(), "ann", "2", of(49), less))
	directoryOK(t, s.PutDocument(t.Context(), "ann", "2", of(49), less))
	directoryIs(t, "more", s.PutDocument(t.Context(), "ann", "2", of(50), less), storage.ErrFull)
	directoryIs(t, "larger than all", s.PutDocument(t.Context(), "bob", "1", of(11), less), storage.ErrFull)
	documentIs(t, "bob", "1", "", s, other)
}

func documentsEach(t *testing.T, s, other storage.Documents) {
	want := make(map[string]string)
	for i, user := range directoryGoodIDs() {
		put(t, s, user, "blocked", user)
		want[user] = user
		if i%2 == 0 {
			put(t, s, user, "vcard", "x")
		}
	}
	put(t, s, "vcard-only", "vcard", "x")
	for _, s := range []storage.Documents{s, other} {
		got := make(map[string]string)
		directoryOK(t, s.EachDocument(t.Context(), "blocked", func(user string, data []byte) {
			if _, twice := got[user]; twice {
				t.Errorf("%q twice", user)
			}
			got[user] = string(data)
			clear(data)
		}))
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	err := s.EachDocument(ctx, "blocked", func(string, []byte) { cancel() })
	directoryIs(t, "ended meanwhile", err, context.Canceled)
}

func documentsRemove(t *testing.T, s, other storage.Documents) {
	for _, user := range []string{"ann", "bob"} {
		put(t, s, user, "1", user)
		put(t, s, user, "2", user)
	}
	for range 2 {
		directoryOK(t, other.RemoveDocuments(t.Context(), "ann"))
		for _, key := range []string{"1", "2"} {
			documentIs(t, "ann", key, "", s, other)
			documentIs(t, "bob", key, "bob", s, other)
		}
	}
	put(t, s, "ann", "1", "again")
	documentIs(t, "ann", "1", "again", s, other)
}

func documentsInvalid(t *testing.T, s, other storage.Documents) {
	for _, of := range [][2]string{{"", "k"}, {"a/b", "k"}, {"\xff", "k"}, {"ann", ""}, {"ann", "\xff"}, {"ann", "a\x00"}, {"ann", strings.Repeat("k", 3000)}} {
		for _, data := range []string{"x", ""} {
			err := s.PutDocument(t.Context(), of[0], of[1], []byte(data), storage.DocumentLimit{})
			directoryIs(t, fmt.Sprintf("%.20q", of), err, storage.ErrInvalid)
		}
		_, err := other.Document(t.Context(), of[0], of[1])
		directoryIs(t, fmt.Sprintf("%.20q", of), err, storage.ErrNotFound)
	}
}

// documentsSlices overwrites what was passed in and what came out.
func documentsSlices(t *testing.T, s, other storage.Documents) {
	data := []byte("content")
	directoryOK(t, s.PutDocument(t.Context(), "ann", "1", data, storage.DocumentLimit{}))
	clear(data)
	got, err := s.Document(t.Context(), "ann", "1")
	directoryOK(t, err)
	clear(got)
	documentIs(t, "ann", "1", "content", s, other)
}

func documentsLarge(t *testing.T, s, other storage.Documents) {
	var want []string
	for i := range 3 {
		want = append(want, strings.Repeat(string(rune('a'+i)), 1<<20))
		put(t, s, "ann", fmt.Sprint(i), want[i])
	}
	for i := range want {
		documentIs(t, "ann", fmt.Sprint(i), want[i], s, other)
	}
}

func documentsEndedContext(t *testing.T, s, other storage.Documents) {
	put(t, s, "ann", "1", "x")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Document(ctx, "ann", "1")
	for what, err := range map[string]error{
		"Document": err, "PutDocument": s.PutDocument(ctx, "ann", "1", []byte("y"), storage.DocumentLimit{}),
		"EachDocument":    s.EachDocument(ctx, "1", func(string, []byte) { t.Error("called") }),
		"RemoveDocuments": s.RemoveDocuments(ctx, "ann"),
	} {
		directoryIs(t, what, err, context.Canceled)
	}
	documentIs(t, "ann", "1", "x", s, other)
}

// documentsOneAtOnce writes one document, and others of its user, from many callers of
// both stores: each is whole, and none is lost.
func documentsOneAtOnce(t *testing.T, s, other storage.Documents) {
	const n = 12
	each(n, func(i int) {
		on := []storage.Documents{s, other}[i%2]
		own, text := fmt.Sprint("own", i), strings.Repeat(fmt.Sprint(i%10), 1000)
		if err := errors.Join(
			on.PutDocument(t.Context(), "ann", "shared", []byte(text), storage.DocumentLimit{}),
			on.PutDocument(t.Context(), "ann", own, []byte(text), storage.DocumentLimit{}),
		); err != nil {
			t.Error(err)
		}
		got, err := on.Document(t.Context(), "ann", "shared")
		if err != nil || len(got) != 1000 || strings.Trim(string(got), string(got[:1])) != "" {
			t.Errorf("a document of %d bytes, %v", len(got), err)
		}
	})
	for i := range n {
		documentIs(t, "ann", fmt.Sprint("own", i), strings.Repeat(fmt.Sprint(i%10), 1000), s, other)
	}
}

// documentsBorder puts more documents than fit from many callers of both stores.
func documentsBorder(t *testing.T, s, other storage.Documents) {
	for what, limit := range map[string]storage.DocumentLimit{"documents": {Documents: 7}, "bytes": {Bytes: 79}} {
		const n = 16
		var stored atomic.Int32
		each(n, func(i int) {
			switch err := []storage.Documents{s, other}[i%2].PutDocument(t.Context(), what, fmt.Sprint(i), []byte("ten bytes."), limit); {
			case err == nil:
				stored.Add(1)
			case !errors.Is(err, storage.ErrFull):
				t.Error(err)
			}
		})
		there := int32(0)
		for i := range n {
			if _, err := s.Document(t.Context(), what, fmt.Sprint(i)); err == nil {
				there++
			} else {
				directoryIs(t, what, err, storage.ErrNotFound)
			}
		}
		if stored.Load() != 7 || there != 7 {
			t.Errorf("%s: %d were stored and %d are there, want 7", what, stored.Load(), there)
		}
	}
}
