package mongo

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"rollcall/storage"
)

func raw(t testing.TB, v any) bson.Raw {
	t.Helper()
	b, err := bson.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// value is v as it stands in a document.
func value(t testing.TB, v any) bson.RawValue {
	t.Helper()
	return raw(t, bson.D{{Key: "v", Value: v}}).Lookup("v")
}

func TestIDs(t *testing.T) {
	oid := bson.ObjectID{0x5f, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0xab}
	const hex = "5f0102030405060708090aab"
	auto, verbatim := ids{t: IDAuto}, ids{IDAuto, true}
	tests := []struct {
		ids    ids
		stored any
		key    string // "" for none
		values []any  // nil: the stored one alone
	}{
		{auto, oid, hex, []any{oid, hex}},
		{ids{t: IDObjectID}, oid, hex, nil},
		{ids{t: IDString}, oid, "", nil},
		{auto, hex, hex, []any{oid, hex}},
		{ids{t: IDObjectID}, hex, "", nil},
		{auto, strings.ToUpper(hex), "", nil},
		{auto, "ann", "ann", nil},
		{auto, "ann@example.com", `ann\40example.com`, nil},
		{verbatim, "ann@example.com", "ann@example.com", nil},
		{auto, "Ann", "", nil},
		{verbatim, "Ann", "Ann", nil},
		{auto, " ann", "", nil},
		{auto, "", "", nil},
		{verbatim, "", "", nil},
		{auto, strings.Repeat("a", 1024), "", nil},
		{auto, int32(7), "7", []any{"7", int64(7)}},
		{ids{t: IDInteger}, int64(-7), "-7", nil},
		{ids{t: IDInteger}, 7.0, "7", []any{int64(7)}},
		{ids{t: IDInteger}, "7", "", nil},
		{auto, 7.5, "", nil},
		{auto, float64(1 << 60), "", nil},
		{auto, "007", "007", nil},
		{auto, true, "", nil},
		{auto, nil, "", nil},
		{auto, bson.D{{Key: "$oid", Value: hex}}, "", nil},
		{auto, bson.Binary{Subtype: 4, Data: make([]byte, 16)}, "", nil},
	}
	for _, tt := range tests {
		key, ok := tt.ids.key(value(t, tt.stored))
		if ok != (tt.key != "") || ok && key != tt.key {
			t.Errorf("%v: the key of %v is %q, %v; want %q", tt.ids, tt.stored, key, ok, tt.key)
		}
		if tt.key == "" {
			continue
		}
		want := tt.values
		if want == nil {
			want = []any{tt.stored}
		}
		if got := tt.ids.values(tt.key); !slices.Equal(got, want) {
			t.Errorf("%v: %q may stand for %#v, want %#v", tt.ids, tt.key, got, want)
		}
	}
	for _, local := range []string{"", "a b", "Ann", `\20ann`} {
		if got := auto.values(local); len(got) > 0 {
			t.Errorf("%q may stand for %#v", local, got)
		}
	}
}

func TestPaths(t *testing.T) {
	doc := raw(t, bson.M{
		"members": bson.A{"a", "b", bson.A{"nested"}, bson.M{"uid": "c"}},
		"people":  bson.A{bson.M{"uid": "d"}, bson.M{"uid": bson.A{"e", "f"}}, "x", bson.M{"other": 1}},
		"team":    bson.M{"people": bson.A{bson.M{"uid": "g"}}},
		"one":     "h",
	})
	for at, want := range map[string][]string{
		"members": {"a", "b", "-"}, "members.uid": {"c"}, "people.uid": {"d", "e", "f"}, "team.people.uid": {"g"},
		"one": {"h"}, "one.more": nil, "none": nil, "": nil,
	} {
		var got []string
		newPath(at).each(doc, func(v bson.RawValue) {
			s, ok := v.StringValueOK()
			if !ok {
				s = "-"
			}
			got = append(got, s)
		})
		if !slices.Equal(got, want) {
			t.Errorf("%q holds %q, want %q", at, got, want)
		}
	}
}

func TestSays(t *testing.T) {
	for _, no := range []any{false, 0, int64(0), 0.0, nil, ""} {
		if says(value(t, no)) {
			t.Errorf("%#v says yes", no)
		}
	}
	if says(bson.RawValue{}) {
		t.Error("a missing field says yes")
	}
	for _, yes := range []any{true, 1, -1, 0.5, "x", bson.NewObjectID(), bson.A{}, bson.DateTime(0)} {
		if !says(value(t, yes)) {
			t.Errorf("%#v says no", yes)
		}
	}
}

func TestText(t *testing.T) {
	long := strings.Repeat("é", storage.MaxName)
	for want, v := range map[string]any{"Ann": "Ann", "": 7, "a\ufffdb": "a\xffb", long[:storage.MaxName]: long} {
		got := text(bson.RawValue{Type: bson.TypeString, Value: value(t, v).Value})
		if v == 7 {
			got = text(value(t, v))
		}
		if got != want {
			t.Errorf("the text of %.20v is %.20q, want %.20q", v, got, want)
		}
	}
	if got := text(value(t, "x"+long)); len(got) != storage.MaxName-1 {
		t.Errorf("cut to %d bytes within a letter", len(got))
	}
}

// TestDecodeChange takes events in the shape of
// https://www.mongodb.com/docs/manual/reference/change-events/.
func TestDecodeChange(t *testing.T) {
	oid := bson.NewObjectID()
	event := func(op string, more ...bson.E) bson.Raw {
		return raw(t, append(bson.D{
			{Key: "_id", Value: bson.D{{Key: "_data", Value: "8263"}}}, {Key: "operationType", Value: op},
			{Key: "clusterTime", Value: bson.Timestamp{T: 1, I: 1}}, {Key: "wallTime", Value: bson.DateTime(1)},
			{Key: "ns", Value: bson.D{{Key: "db", Value: "product"}, {Key: "coll", Value: "projects"}}},
		}, more...))
	}
	about := bson.E{Key: "documentKey", Value: bson.D{{Key: "shard", Value: 1}, {Key: "_id", Value: oid}}}
	update := bson.E{Key: "updateDescription", Value: bson.D{
		{Key: "updatedFields", Value: bson.D{{Key: "members.2", Value: oid}}}, {Key: "removedFields", Value: bson.A{}}, {Key: "truncatedArrays", Value: bson.A{}},
	}}
	tests := []struct {
		event         bson.Raw
		id, over, bad bool
	}{
		{event: event("insert", about), id: true},
		{event: event("update", about, update), id: true},
		{event: event("replace", about), id: true},
		{event: event("delete", about), id: true},
		{event: event("drop"), over: true},
		{event: event("rename", bson.E{Key: "to", Value: bson.D{}}), over: true},
		{event: event("dropDatabase"), over: true},
		{event: event("invalidate"), over: true},
		{event: event("createIndexes")},
		{event: event("something new")},
		{event: event("update"), bad: true},
		{event: raw(t, bson.D{}), bad: true},
		{event: nil, bad: true},
	}
	for i, tt := range tests {
		c, err := decodeChange(tt.event)
		if (err != nil) != tt.bad || c.over != tt.over || (c.id.Type != 0) != tt.id {
			t.Errorf("event %d: %+v, %v", i, c, err)
		}
		if tt.id && c.id.ObjectID() != oid {
			t.Errorf("event %d is about %v", i, c.id)
		}
	}
}

func TestHasStreams(t *testing.T) {
	for want, hellos := range map[bool][]bson.D{
		true:  {{{Key: "setName", Value: "rs0"}}, {{Key: "msg", Value: "isdbgrid"}}},
		false: {{}, {{Key: "setName", Value: ""}}, {{Key: "msg", Value: "hello"}}},
	} {
		for _, h := range hellos {
			if got := hasStreams(raw(t, h)); got != want {
				t.Errorf("%v: %v", h, got)
			}
		}
	}
}

// FuzzDocument gives damaged documents to everything that reads one.
func FuzzDocument(f *testing.F) {
	f.Add([]byte(raw(f, bson.D{{Key: "_id", Value: bson.NewObjectID()}, {Key: "members", Value: bson.A{bson.D{{Key: "uid", Value: "x"}}, 7}}})))
	f.Add([]byte(raw(f, bson.D{{Key: "_id", Value: "ann"}, {Key: "password", Value: bson.D{{Key: "SCRAM-SHA-1", Value: bson.D{{Key: "salt", Value: "eA=="}}}}}})))
	f.Add([]byte(raw(f, bson.D{{Key: "operationType", Value: "insert"}, {Key: "documentKey", Value: bson.D{{Key: "_id", Value: 1}}}})))
	f.Fuzz(func(t *testing.T, b []byte) {
		doc := bson.Raw(b)
		for _, at := range []string{"_id", "members", "members.uid", "a.b.c"} {
			newPath(at).each(doc, func(v bson.RawValue) {
				if key, ok := (ids{t: IDAuto}).key(v); ok && len((ids{t: IDAuto}).values(key)) == 0 {
					t.Errorf("the key %q stands for nothing", key)
				}
				says(v)
				_ = show(v)
			})
			newPath(at).in(doc)
		}
		for _, s := range []Scheme{SchemeAuto, SchemeSCRAM, SchemePlain, SchemePBKDF2} {
			c, err := newPasswords(Users{Password: "password", Scheme: s}).of(doc)
			if err == nil && c.Hash == "" && c.Plain == "" && len(c.SCRAM) == 0 {
				t.Error("no credentials and no error")
			}
		}
		if _, err := decodeChange(doc); err != nil && errors.Is(err, storage.ErrUnavailable) {
			t.Error(err)
		}
	})
}
