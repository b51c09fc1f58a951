package roster

import (
	"encoding/hex"
	"hash/fnv"
	"slices"

	"rollcall/internal/ns"
	"rollcall/internal/xmlscan"
	"rollcall/storage"
)

const (
	queryStart = "<query xmlns='" + ns.Roster + "' ver='"
	queryEnd   = "</query>"
	// versionSize is that of a version in hexadecimal digits.
	versionSize = 16
)

// itemSize is about what an item takes besides its texts; it only saves growing.
const itemSize = len("<item jid='@' name='' subscription='both'></item>") + 16

// appendQuery appends the start of a query of a version.
func appendQuery(dst []byte, version uint64) []byte {
	return append(appendVersion(append(dst, queryStart...), version), "'>"...)
}

func appendVersion(dst []byte, version uint64) []byte {
	var raw [versionSize / 2]byte
	for i := range raw {
		raw[i] = byte(version >> (56 - 8*i))
	}
	return hex.AppendEncode(dst, raw[:])
}

// hash is what an encoded item adds to the version of its roster.
func hash(item []byte) uint64 {
	if len(item) == 0 {
		return 0
	}
	h := fnv.New64a()
	_, _ = h.Write(item) // never fails
	return h.Sum64()
}

// version is the version of the user's roster; the cache is locked, for reading at least.
func (u *user) version() uint64 {
	if !u.summed.Load() {
		appendRoster(nil, u)
	}
	return u.sum.Load()
}

// appendRoster appends a user's whole roster (RFC 6121 section 2.1.4): who shares a
// project with the user, ordered by id, then the user's own contacts. The projects'
// lists of members are ordered, so they are merged. The cache is locked, for reading at
// least.
func appendRoster(dst []byte, u *user) []byte {
	domain := u.bare.Domain()
	var few [4][]storage.User // that many need no memory
	rest, size, groupSize := few[:0], 0, 0
	for _, p := range u.projects {
		rest = append(rest, p.members)
		size = max(size, p.size(domain))
		groupSize += len(p.members) * (len("<group></group>") + len(p.group()))
	}
	dst = slices.Grow(dst, len(queryStart)+versionSize+size+groupSize+len(queryEnd))
	start := len(dst)
	dst = appendQuery(dst, 0)
	summed, sum := u.summed.Load(), uint64(0)
	var fewGroups [4]string
	groups := fewGroups[:0]
	for {
		next, ok := first(rest)
		if !ok {
			break
		}
		groups = groups[:0]
		for i, members := range rest {
			if len(members) > 0 && members[0].ID == next.ID {
				groups = addGroup(groups, u.projects[i])
				rest[i] = members[1:]
			}
		}
		if next.ID != u.id() {
			at := len(dst)
			dst = appendMember(dst, next, domain, groups)
			if !summed {
				sum += hash(dst[at:])
			}
		}
	}
	for _, i := range u.own.list() {
		if i.Listed && !u.with(i.jid) {
			at := len(dst)
			dst = appendContact(dst, i)
			if !summed {
				sum += hash(dst[at:])
			}
		}
	}
	if !summed {
		// Whoever else does so now finds the same.
		u.sum.Store(sum)
		u.summed.Store(true)
	}
	appendVersion(dst[:start+len(queryStart)], u.sum.Load())
	return append(dst, queryEnd...)
}

// size is about how long the items of a project are without groups.
func (p *project) size(domain string) int {
	n := len(p.members) * (itemSize + len(domain))
	for i := range p.members {
		n += len(p.members[i].ID) + len(p.members[i].Name)
	}
	return n
}

// first is the user of the lowest id at the head of any list.
func first(lists [][]storage.User) (lowest storage.User, ok bool) {
	for _, l := range lists {
		if len(l) > 0 && (!ok || l[0].ID < lowest.ID) {
			lowest, ok = l[0], true
		}
	}
	return lowest, ok
}

// addGroup adds a project's group; two projects of one name are one group (RFC
// 6121 section 2.1.2.6 has no duplicates).
func addGroup(groups []string, p *project) []string {
	if g := p.group(); !slices.Contains(groups, g) {
		return append(groups, g)
	}
	return groups
}

// address is a contact's, in two parts since those of projects have one of them in
// common.
type address struct{ local, domain string }

// appendShown appends the item of somebody as u's roster has it now, or nothing. Who
// shares a project with the user is shown as the project says, whatever else the user
// keeps about them.
func appendShown(dst []byte, u *user, a address) []byte {
	if a.domain == u.bare.Domain() {
		var about storage.User
		var groups []string
		for _, p := range u.projects {
			if member, ok := p.member(a.local); ok {
				about = member
				groups = addGroup(groups, p)
			}
		}
		if len(groups) > 0 {
			return appendMember(dst, about, a.domain, groups)
		}
	}
	if i := u.own.find(a); i != nil && i.Listed {
		return appendContact(dst, i)
	}
	return dst
}

// appendPush appends the query of a roster push (RFC 6121 section 2.1.6): an item, or
// the removal of what was there.
func appendPush(dst []byte, version uint64, a address, item []byte) []byte {
	dst = appendQuery(dst, version)
	if len(item) > 0 {
		dst = append(dst, item...)
	} else {
		dst = appendAddress(append(dst, "<item jid='"...), a)
		dst = append(dst, "' subscription='remove'/>"...)
	}
	return append(dst, queryEnd...)
}

func appendMember(dst []byte, u storage.User, domain string, groups []string) []byte {
	dst = appendAddress(append(dst, "<item jid='"...), address{u.ID, domain})
	if u.Name != "" {
		dst = append(dst, "' name='"...)
		dst = xmlscan.AppendAttr(dst, u.Name)
	}
	dst = append(dst, "' subscription='both'>"...)
	return append(appendGroups(dst, groups), "</item>"...)
}

// subscriptions are the values of the attribute (RFC 6121 section 2.1.2.5).
var subscriptions = [...]string{
	storage.SubscriptionNone: "none", storage.SubscriptionTo: "to",
	storage.SubscriptionFrom: "from", storage.SubscriptionBoth: "both",
}

func appendContact(dst []byte, i *item) []byte {
	dst = append(dst, "<item jid='"...)
	dst = xmlscan.AppendAttr(dst, i.Contact)
	if i.Name != "" {
		dst = append(dst, "' name='"...)
		dst = xmlscan.AppendAttr(dst, i.Name)
	}
	dst = append(dst, "' subscription='"...)
	dst = append(dst, subscriptions[i.Subscription]...)
	if i.Ask {
		dst = append(dst, "' ask='subscribe"...)
	}
	if i.Approved {
		dst = append(dst, "' approved='true"...)
	}
	if len(i.Groups) == 0 {
		return append(dst, "'/>"...)
	}
	dst = append(dst, "'>"...)
	return append(appendGroups(dst, i.Groups), "</item>"...)
}

func appendGroups(dst []byte, groups []string) []byte {
	for _, g := range groups {
		dst = append(dst, "<group>"...)
		dst = xmlscan.AppendText(dst, g)
		dst = append(dst, "</group>"...)
	}
	return dst
}

// appendAddress appends a bare address for an attribute.
func appendAddress(dst []byte, a address) []byte {
	if a.local != "" {
		dst = xmlscan.AppendAttr(dst, a.local)
		dst = append(dst, '@')
	}
	return xmlscan.AppendAttr(dst, a.domain)
}
