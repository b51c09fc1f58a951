package projects_test

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beevik/etree"

	"rollcall/internal/servertest"
	"rollcall/storage"
)

// model says in the plainest way what everybody should see: one line for each
// connection, and for each that is gone and still counts.
type model struct {
	t       testing.TB
	store   storage.Presence
	hosts   []string // the first one's users are known to the store by their ids
	grace   time.Duration
	mu      sync.RWMutex
	members map[string]map[string]bool // by project and user id
	lines   []*line
	late    map[string]time.Time // until when the store may be behind, by user
	seq     int
}

type line struct {
	client   *servertest.Client // nil once it is gone
	node     string             // where it is connected
	bare     string
	full     string
	told     bool // available or invisible; only such a client sees anything
	visible  bool
	show     storage.Show
	priority int
	seq      int
	text     string    // marks the presence
	until    time.Time // how long a line whose client is gone still counts
	replaced bool

	seen   map[string]sight // by full address
	status map[string]string
	rev    map[string]uint64
}

// sight is the last presence from an address.
type sight struct{ text, status, projects string }

func (m *model) of(bare string) []*line {
	var list []*line
	for _, l := range m.lines {
		if l.bare == bare {
			list = append(list, l)
		}
	}
	return list
}

func (m *model) remove(l *line) {
	m.lines = slices.DeleteFunc(m.lines, func(x *line) bool { return x == l })
}

// says is a presence broadcast: a show as the client writes it.
func (m *model) says(l *line, show string, priority int, text string) {
	if !l.told {
		l.seen, l.status, l.rev = make(map[string]sight), make(map[string]string), make(map[string]uint64)
	}
	m.seq++
	l.told, l.visible, l.priority, l.seq, l.text = true, show != "offline", priority, m.seq, text
	l.show = map[string]storage.Show{"dnd": storage.Busy, "away": storage.Leave, "xa": storage.Leave, "offline": storage.Offline}[show]
	if l.show == storage.Offline && l.visible {
		l.show = storage.Online
	}
	for _, o := range m.of(l.bare) {
		// The user is back. Only the successor of a replaced connection, which is
		// there but has not said anything yet, is still waited for.
		if o.client == nil && (o.full == l.full || !o.replaced || !l.visible) {
			m.remove(o)
			if o.node != l.node && m.shared(l.bare, l.bare) == "" {
				m.late[l.bare] = o.until // nobody at that node hears of the user
			}
		}
	}
}

func (m *model) unavailable(l *line) { l.told, l.visible = false, false }

// ended is the end of a connection.
func (m *model) ended(l *line, replaced bool) {
	l.client = nil
	delay := m.grace
	if replaced {
		delay = max(delay, 2*time.Second)
	}
	// Whether a connection that others see waits for its end is known at its node only.
	others := slices.ContainsFunc(m.of(l.bare), func(o *line) bool {
		return o != l && o.visible && (o.client != nil || o.node != l.node)
	})
	if l.visible && others && m.shared(l.bare, l.bare) == "" {
		m.late[l.bare] = time.Now().Add(delay)
	}
	if !l.visible || delay == 0 || others && !replaced {
		m.remove(l)
		return
	}
	l.replaced, l.until = replaced, time.Now().Add(delay)
}

// expire ends the lines that counted for long enough.
func (m *model) expire() {
	m.lines = slices.DeleteFunc(m.lines, func(l *line) bool { return l.client == nil && !l.until.After(time.Now()) })
}

// aggregate is a user's state by the rule of storage.PresenceChange.
func (m *model) aggregate(bare string) storage.Show {
	var best *line
	for _, l := range m.of(bare) {
		if l.visible && (best == nil || l.priority > best.priority || l.priority == best.priority && l.seq > best.seq) {
			best = l
		}
	}
	if best == nil {
		return storage.Offline
	}
	return best.show
}

// shared lists what two users have in common, as the server writes it.
func (m *model) shared(a, b string) string {
	ua, ha, _ := strings.Cut(a, "@")
	ub, hb, _ := strings.Cut(b, "@")
	m.mu.RLock()
	defer m.mu.RUnlock()
	var list []string
	for id, users := range m.members {
		if ha == hb && users[ua] && users[ub] {
			list = append(list, id)
		}
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

// read makes what a client received its view. With strict nothing comes twice
// and nothing ends that was not there.
func (m *model) read(l *line, strict bool) {
	for _, el := range l.client.Drain() {
		from := el.SelectAttrValue("from", "")
		bare, _, _ := strings.Cut(from, "/")
		if el.Tag != "presence" || bare == l.bare || !l.told {
			continue
		}
		got, rev, err := sightOf(el)
		if err != nil {
			m.t.Fatalf("%s: %v", l.full, err)
		}
		before, had := l.seen[from]
		switch typ := el.SelectAttrValue("type", ""); {
		case typ == "" && strict && got == before && got.status == l.status[bare]:
			m.t.Errorf("%s is told twice of %s: %+v", l.full, from, got)
		case typ == "":
			l.seen[from] = got
		case typ != "unavailable" || strict && !had:
			m.t.Errorf("%s sees %q of %s, which it does not know", l.full, typ, from)
		default:
			delete(l.seen, from)
		}
		if rev < l.rev[bare] {
			m.t.Errorf("%s: revision %d of %s after %d", l.full, rev, bare, l.rev[bare])
		}
		l.status[bare], l.rev[bare] = got.status, rev
	}
}

func sightOf(el *etree.Element) (sight, uint64, error) {
	x := el.SelectElement("x")
	if x == nil || x.NamespaceURI() != project {
		return sight{}, 0, fmt.Errorf("a presence of %s without extension", el.SelectAttrValue("from", ""))
	}
	var ids []string
	for _, p := range x.SelectElements("proj") {
		ids = append(ids, p.SelectAttrValue("id", ""))
	}
	got := sight{status: x.SelectAttrValue("status", ""), projects: strings.Join(ids, " ")}
	if text := el.SelectElement("status"); text != nil {
		got.text = text.Text()
	}
	rev, err := strconv.ParseUint(x.SelectAttrValue("rev", ""), 10, 64)
	return got, rev, err
}

// check compares every view, and the store, with what should be.
func (m *model) check(strict bool) {
	m.t.Helper()
	for _, l := range m.lines {
		if l.client == nil {
			continue
		}
		m.read(l, strict)
		if !l.told {
			continue
		}
		want := make(map[string]string)
		statuses := make(map[string]string)
		for _, o := range m.lines {
			if o.bare == l.bare || m.shared(o.bare, l.bare) == "" {
				continue
			}
			if o.visible {
				want[o.full] = o.text
				statuses[o.bare] = strconv.Itoa(int(m.aggregate(o.bare)))
			}
		}
		got := make(map[string]string)
		for full, s := range l.seen {
			got[full] = s.text
		}
		if !maps.Equal(got, want) {
			m.t.Errorf("%s sees %v, want %v", l.full, got, want)
		}
		for bare, s := range l.status {
			if s != "0" && statuses[bare] == "" {
				m.t.Errorf("%s takes %s for %s, who is not there", l.full, bare, s)
			}
		}
		for bare, s := range statuses {
			if l.status[bare] != s {
				m.t.Errorf("%s takes %s for %q, want %s", l.full, bare, l.status[bare], s)
			}
		}
	}
}

// key is a user's or project's id in the store.
func (m *model) key(id, host string) string {
	if host == m.hosts[0] {
		return id
	}
	return id + "@" + host
}

func (m *model) checkStore() {
	m.t.Helper()
	for _, host := range m.hosts {
		for id, users := range m.members {
			var want []storage.OnlineUser
			for _, u := range slices.Sorted(maps.Keys(users)) {
				show := m.aggregate(u + "@" + host)
				if users[u] && show != storage.Offline {
					want = append(want, storage.OnlineUser{ID: m.key(u, host), Show: show})
				}
				if m.late[u+"@"+host].After(time.Now()) {
					continue
				}
				got, err := m.store.Status(m.t.Context(), []string{m.key(u, host)})
				if err != nil || got[0] != show {
					m.t.Errorf("status of %s at %s: %v, %v, want %d", u, host, got, err, show)
				}
			}
			got, _, err := m.store.OnlineIn(m.t.Context(), m.key(id, host))
			if err != nil || !slices.Equal(got, want) {
				m.t.Errorf("online in %s at %s: %v, %v, want %v", id, host, got, err, want)
			}
		}
	}
}
