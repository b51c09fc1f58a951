//go:build clients

package tsung

import (
	"errors"
	"fmt"

	"github.com/beevik/etree"
)

// mendDigest leaves the session that logs in with digests, and makes a text of the
// stream's id: tsung 1.7.0 finds it as a binary, and fails with it.
func mendDigest(root *etree.Element) error {
	sessions := root.SelectElement("sessions")
	if sessions == nil {
		return errors.New("no sessions")
	}
	var digest *etree.Element
	for _, s := range sessions.SelectElements("session") {
		if s.SelectAttrValue("name", "") == "jabber-digest" {
			digest = s
		} else {
			sessions.RemoveChild(s)
		}
	}
	if digest == nil {
		return errors.New("no session jabber-digest")
	}
	digest.CreateAttr("probability", "100")
	pause := digest.SelectElement("thinktime")
	if pause == nil {
		return errors.New("jabber-digest does not think")
	}
	text := etree.NewElement("setdynvars")
	text.CreateAttr("sourcetype", "eval")
	text.CreateAttr("code", "fun({_,Vars}) -> {ok,ID} = ts_dynvars:lookup(sid,Vars), [binary_to_list(ID)] end.")
	text.CreateElement("var").CreateAttr("name", "sid")
	digest.InsertChildAt(pause.Index(), text)
	return nil
}

// only leaves the server of one type, or of all types for both.
func only(transport string) func(*etree.Element) error {
	return func(root *etree.Element) error {
		left := 0
		for _, s := range root.FindElements("./servers/server") {
			if transport == "both" || s.SelectAttrValue("type", "") == transport {
				left++
			} else {
				s.Parent().RemoveChild(s)
			}
		}
		if left == 0 {
			return fmt.Errorf("no server of type %s", transport)
		}
		return nil
	}
}
