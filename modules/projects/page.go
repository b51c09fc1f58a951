package projects

import (
	"slices"
	"strconv"
	"strings"

	"github.com/beevik/etree"
	"mellium.im/xmpp/stanza"

	"rollcall/internal/ns"
	"rollcall/server"
)

// page picks the part of a sorted list that a request's result set asks for
// (XEP-0059), and describes it; without a result set it is the whole list.
func page(request *etree.Element, ids []string) (first, last int, set *etree.Element, err error) {
	var ask *etree.Element
	for _, el := range request.SelectElements("set") {
		if el.NamespaceURI() == ns.RSM {
			ask = el
		}
	}
	if ask == nil {
		return 0, len(ids), nil, nil
	}
	limit := len(ids)
	if el := ask.SelectElement("max"); el != nil {
		if limit, err = strconv.Atoi(strings.TrimSpace(el.Text())); err != nil || limit < 0 {
			return 0, 0, nil, server.Error(stanza.BadRequest, "max is a number")
		}
		limit = min(limit, len(ids)) // nothing overflows below
	}
	last = len(ids)
	if el := ask.SelectElement("index"); el != nil { // section 2.6
		if first, err = strconv.Atoi(strings.TrimSpace(el.Text())); err != nil || first < 0 {
			return 0, 0, nil, server.Error(stanza.BadRequest, "index is a number")
		}
		if first > len(ids) {
			return 0, 0, nil, server.Error(stanza.ItemNotFound, "there are fewer")
		}
	}
	if el := ask.SelectElement("after"); el != nil {
		// An item that is gone meanwhile still marks its place (section 2.4 lets
		// a server refuse it).
		i, found := slices.BinarySearch(ids, el.Text())
		if found {
			i++
		}
		first = i
	}
	backwards := false
	if el := ask.SelectElement("before"); el != nil {
		backwards = true
		if el.Text() != "" {
			last, _ = slices.BinarySearch(ids, el.Text())
		}
	}
	last = max(first, last)
	switch {
	case backwards:
		first = max(first, last-limit)
	default:
		last = min(last, first+limit)
	}
	set = tree(ns.RSM, "set")
	if first < last {
		el := set.CreateElement("first")
		el.CreateAttr("index", strconv.Itoa(first))
		el.SetText(ids[first])
		set.CreateElement("last").SetText(ids[last-1])
	}
	set.CreateElement("count").SetText(strconv.Itoa(len(ids)))
	return first, last, set, nil
}
