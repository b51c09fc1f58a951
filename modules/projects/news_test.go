package projects

import (
	"bytes"
	"reflect"
	"slices"
	"testing"

	"rollcall/internal/jid"
	"rollcall/internal/packed"
	"rollcall/server"
	"rollcall/storage"
)

// said makes a presence as another node packs it.
func said(t testing.TB, full string, available bool, inner string) *server.Presence {
	t.Helper()
	data := packed.AppendString(nil, full)
	data = packed.AppendBool(data, available)
	data = packed.AppendString(packed.AppendString(data, "dnd"), "busy")
	data = packed.AppendUint(packed.AppendUint(data, 255), 1_700_000_000_000_000_000)
	data = packed.AppendString(packed.AppendString(data, " id='a'"), inner)
	p, err := server.UnpackPresence(packed.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func sample(t testing.TB) *news {
	return &news{
		user: "alice", hidden: true, unsure: true, status: storage.Busy, rev: 1 << 60, projects: []string{"p1", "p2"},
		conns: []heard{
			{"c1", said(t, "alice@example.com/web", true, "<show>dnd</show>")},
			{"c2", said(t, "alice@example.com/phone", true, "")},
		},
		gone: []heard{{"c3", said(t, "alice@example.com/pad", false, "<status>bye</status>")}},
	}
}

func TestNews(t *testing.T) {
	want := sample(t)
	user, got, err := readNews(packed.NewReader(want.append(nil)), "example.com")
	if err != nil || user.String() != "alice@example.com" {
		t.Fatal(user, err)
	}
	if !bytes.Equal(got.append(nil), want.append(nil)) || !reflect.DeepEqual(got.projects, want.projects) || got.unsure != want.unsure {
		t.Errorf("%+v, want %+v", got, want)
	}
	data := want.append(nil)
	for n := range data {
		if _, _, err := readNews(packed.NewReader(data[:n]), "example.com"); err == nil {
			t.Errorf("the first %d of %d bytes are read as news", n, len(data))
		}
	}
	for what, spoil := range map[string]func(*news){
		"somebody else's connection":   func(n *news) { n.user = "bob" },
		"no address":                   func(n *news) { n.user = "a@b" },
		"projects out of order":        func(n *news) { slices.Reverse(n.projects) },
		"a state that there is not":    func(n *news) { n.status = 4 },
		"a connection twice":           func(n *news) { n.conns[1].id = "c1" },
		"an end among the connections": func(n *news) { n.conns = append(n.conns, n.gone...) },
		"a connection among the ends":  func(n *news) { n.gone = n.conns },
	} {
		n := sample(t)
		spoil(n)
		if _, _, err := readNews(packed.NewReader(n.append(nil)), "example.com"); err == nil {
			t.Errorf("%s is read as news", what)
		}
	}
}

// What the connections of a node say changes only what is different.
func TestReplace(t *testing.T) {
	p := &person{}
	rem := &remote{peer: new(peer)}
	step := func(conns []heard, news, gone int, shown ...string) {
		t.Helper()
		n, g := p.replace(rem, conns)
		var got []string
		for _, cn := range p.shown {
			got = append(got, cn.jid().Resource())
		}
		if len(n) != news || len(g) != gone || !slices.Equal(got, shown) {
			t.Errorf("%d news, %d gone, shown %v; want %d, %d, %v", len(n), len(g), got, news, gone, shown)
		}
	}
	web, phone := heard{"1", said(t, "a@h/web", true, "")}, heard{"2", said(t, "a@h/phone", true, "")}
	step([]heard{web, phone}, 2, 0, "web", "phone")
	step([]heard{{"1", said(t, "a@h/web", true, "")}, phone}, 0, 0, "web", "phone")
	step([]heard{phone, {"1", said(t, "a@h/web", true, "<x/>")}}, 1, 0, "phone", "web")
	step([]heard{{"1", said(t, "a@h/web", true, "<x/>")}}, 0, 1, "web")
	// A newer connection has the address.
	step([]heard{{"3", said(t, "a@h/web", true, "<x/>")}}, 1, 1, "web")
	_, gone := p.replace(rem, nil)
	if len(gone) != 1 || !gone[0].last || len(p.shown) != 0 {
		t.Errorf("gone %+v, shown %d", gone, len(p.shown))
	}
}

// FuzzTold feeds what another node could tell to everything that reads it.
func FuzzTold(f *testing.F) {
	f.Add(sample(f).append(nil))
	f.Add((&question{number: 1, turn: 2, projects: []string{"a", "b"}}).append(nil))
	f.Add((&answer{turn: 2, rev: 3, count: 1, here: []string{"a"}}).append(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		if user, n, err := readNews(packed.NewReader(data), "example.com"); err == nil {
			again, same, err := readNews(packed.NewReader(n.append(nil)), "example.com")
			if err != nil || again != user || !bytes.Equal(same.append(nil), n.append(nil)) {
				t.Errorf("%+v is read as %+v: %v", n, same, err)
			}
			for _, h := range slices.Concat(n.conns, n.gone) {
				if h.presence.JID.Bare() != user || user == (jid.JID{}) {
					t.Errorf("%s says something of %s", user, h.presence.JID)
				}
			}
		}
		if q, err := readQuestion(packed.NewReader(data)); err == nil && !slices.IsSorted(q.projects) {
			t.Errorf("out of order: %q", q.projects)
		}
		if a, err := readAnswer(packed.NewReader(data)); err == nil && len(a.here) > len(data) {
			t.Errorf("%d projects in %d bytes", len(a.here), len(data))
		}
	})
}
