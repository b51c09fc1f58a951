package roster

import (
	"slices"

	"rollcall/internal/ns"
	"rollcall/internal/xmlscan"
	"rollcall/storage"
)

const (
	queryStart = "<query xmlns='" + ns.Roster + "'>"
	queryEnd   = "</query>"
)

// itemSize is about what an item takes besides its texts; it only saves growing.
const itemSize = len("<item jid='@' name='' subscription='both'></item>") + 16

// appendRoster appends a user's whole roster (RFC 6121 section 2.1.4), ordered
// by id. The projects' lists of members are ordered, so they are merged.
func appendRoster(dst []byte, u *user, domain string) []byte {
	var few [4][]storage.User // that many need no memory
	rest, size, groupSize := few[:0], 0, 0
	for _, p := range u.projects {
		rest = append(rest, p.members)
		size = max(size, p.size(domain))
		groupSize += len(p.members) * (len("<group></group>") + len(p.group()))
	}
	dst = slices.Grow(dst, len(queryStart)+size+groupSize+len(queryEnd))
	dst = append(dst, queryStart...)
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
		if next.ID != u.id {
			dst = appendItem(dst, next, domain, groups)
		}
	}
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

// appendPush appends the query of a roster push (RFC 6121 section 2.1.6): the
// item of another user as u's roster has it now, or its removal.
func appendPush(dst []byte, u *user, id, domain string) []byte {
	var about storage.User
	var groups []string
	for _, p := range u.projects {
		if member, ok := p.member(id); ok {
			about = member
			groups = addGroup(groups, p)
		}
	}
	dst = append(dst, queryStart...)
	if len(groups) > 0 {
		dst = appendItem(dst, about, domain, groups)
	} else {
		dst = appendAddress(append(dst, "<item jid='"...), id, domain)
		dst = append(dst, "' subscription='remove'/>"...)
	}
	return append(dst, queryEnd...)
}

func appendItem(dst []byte, u storage.User, domain string, groups []string) []byte {
	dst = appendAddress(append(dst, "<item jid='"...), u.ID, domain)
	if u.Name != "" {
		dst = append(dst, "' name='"...)
		dst = xmlscan.AppendAttr(dst, u.Name)
	}
	dst = append(dst, "' subscription='both'>"...)
	for _, g := range groups {
		dst = append(dst, "<group>"...)
		dst = xmlscan.AppendText(dst, g)
		dst = append(dst, "</group>"...)
	}
	return append(dst, "</item>"...)
}

// appendAddress appends a bare address for an attribute.
func appendAddress(dst []byte, id, domain string) []byte {
	dst = xmlscan.AppendAttr(dst, id)
	dst = append(dst, '@')
	return xmlscan.AppendAttr(dst, domain)
}
