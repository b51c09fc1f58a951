package projects_test

import (
	"fmt"
	"strings"
	"testing"

	"rollcall/internal/servertest"
)

func iqError(id, from, condition, typ string) string {
	return "<iq type='error' id='" + id + "' from='" + from + "' to='{any}'><error type='" + typ + "'><" + condition + " xmlns='" + stanzas + "'/>...</error></iq>"
}

// Whatever comes to the service host gets an answer.
func TestEveryRequestIsAnswered(t *testing.T) {
	w := newWorld(t, 0)
	alice := w.Online("alice/web")
	alice.Drain()
	const host = "wtmuc.example.com"
	for i, test := range []struct{ to, typ, payload, condition, kind string }{
		{host, "get", "<unknown xmlns='urn:x'/>", "service-unavailable", "cancel"},
		{host, "set", "<projects xmlns='" + project + "'/>", "service-unavailable", "cancel"},
		{host, "get", "<online xmlns='" + project + "'/>", "service-unavailable", "cancel"},
		{host, "get", "<query xmlns='http://jabber.org/protocol/disco#info' node='x'/>", "item-not-found", "cancel"},
		{host, "get", "<status xmlns='" + project + "'>" + strings.Repeat("<user jid='bob@example.com'/>", 201) + "</status>", "policy-violation", "modify"},
		{host, "get", "<status xmlns='" + project + "'><user jid='@'/></status>", "jid-malformed", "modify"},
		{host + "/x", "get", "<projects xmlns='" + project + "'/>", "service-unavailable", "cancel"},
		{"p1@" + host, "set", "<online xmlns='" + project + "'/>", "service-unavailable", "cancel"},
		{"p1@" + host, "get", "<online xmlns='" + project + "' since='yesterday'/>", "bad-request", "modify"},
		{"p1@" + host, "get", "<online xmlns='" + project + "'><set xmlns='http://jabber.org/protocol/rsm'><max>x</max></set></online>", "bad-request", "modify"},
		{"p1@" + host + "/bob", "get", "<online xmlns='" + project + "'/>", "service-unavailable", "cancel"},
		{"p2@" + host, "get", "<online xmlns='" + project + "'/>", "forbidden", "auth"},
		{"p2@" + host, "get", "<ping xmlns='urn:xmpp:ping'/>", "forbidden", "auth"},
		{"p9@" + host, "get", "<online xmlns='" + project + "'/>", "item-not-found", "cancel"},
	} {
		id := fmt.Sprint("q", i)
		alice.Send("<iq type='" + test.typ + "' id='" + id + "' to='" + test.to + "'>" + test.payload + "</iq>")
		alice.Expect(iqError(id, test.to, test.condition, test.kind))
	}
	alice.Send("<message type='chat' to='p1@" + host + "' id='m1'><body>x</body></message>")
	alice.Expect("<message type='error' id='m1' from='p1@" + host + "' to='{alice}'><error type='modify'><not-acceptable xmlns='" + stanzas + "'/>...</error></message>")
	alice.Send("<message type='groupchat' to='p2@" + host + "' id='m2'/><message type='groupchat' to='p9@" + host + "' id='m3'/><message to='" + host + "' id='m4'/>")
	for _, want := range [][2]string{{"m2", "forbidden"}, {"m3", "item-not-found"}, {"m4", "service-unavailable"}} {
		alice.Expect("<message type='error' id='" + want[0] + "' from='{any}' to='{alice}'><error type='{any}'><" + want[1] + " xmlns='" + stanzas + "'/>...</error></message>")
	}
	alice.Send("<presence to='p1@" + host + "/nick' id='p'/><presence type='unavailable' to='p1@" + host + "/nick'/><presence type='subscribe' to='p1@" + host + "'/>")
	alice.Expect("<presence type='error' id='p' from='p1@" + host + "/nick' to='{alice}'><error type='cancel'><feature-not-implemented xmlns='" + stanzas + "'/>...</error></presence>")
	alice.Expect("<presence type='unsubscribed' from='p1@" + host + "' to='alice@example.com'/>")
	alice.Send("<message type='error' to='p1@" + host + "'/><iq type='result' id='r' to='" + host + "'/>")
	alice.ExpectNothing()
}

func TestQueries(t *testing.T) {
	w := newWorld(t, 0)
	alice := w.Online("alice/web")
	bob := w.Login("bob/web")
	bob.Send("<presence><show>away</show></presence>")
	alice.Drain()
	alice.Match("<iq type='result' id='{any}' from='wtmuc.example.com' to='{alice}'><projects xmlns='"+project+"'>"+
		"<project id='p1' jid='p1@wtmuc.example.com' name='Apollo' members='2' online='2'/>"+
		"<project id='p3' jid='p3@wtmuc.example.com' name='Cygnus' members='2' online='2'/></projects></iq>",
		alice.Ask("get", "wtmuc.example.com", "<projects xmlns='"+project+"'/>"))
	alice.Match("<iq type='result' id='{any}' from='wtmuc.example.com' to='{alice}'><status xmlns='"+project+"'>"+
		"<user jid='bob@example.com' status='3'/><user jid='alice@example.com' status='1'/></status></iq>",
		alice.Ask("get", "wtmuc.example.com", "<status xmlns='"+project+"'><user jid='bob@example.com'/><user jid='carol@example.com'/>"+
			"<user jid='nobody@example.com'/><user jid='bob@example.org'/><user jid='alice@example.com/web'/></status>"))
	alice.Match("<iq type='result' id='{any}' from='p1@wtmuc.example.com' to='{alice}'><online xmlns='"+project+"' rev='{any}' total='2'>"+
		"<user jid='alice@example.com' status='1'/><user jid='bob@example.com' status='3'/></online></iq>",
		alice.Ask("get", "p1@wtmuc.example.com", "<online xmlns='"+project+"'/>"))
	alice.Match("<iq type='result' id='{any}' from='p1@wtmuc.example.com' to='{alice}'><online xmlns='"+project+"' rev='{any}' total='2'>"+
		"<user jid='bob@example.com' status='3'/><set xmlns='http://jabber.org/protocol/rsm'><first index='1'>bob</first><last>bob</last><count>2</count></set></online></iq>",
		alice.Ask("get", "p1@wtmuc.example.com", "<online xmlns='"+project+"'><set xmlns='http://jabber.org/protocol/rsm'><max>1</max><after>alice</after></set></online>"))
	alice.Match("<iq type='result' id='{any}' from='p1@wtmuc.example.com' to='{alice}'><online xmlns='"+project+"' rev='{any}' total='2'>"+
		"<user jid='bob@example.com' status='3'/><set xmlns='http://jabber.org/protocol/rsm'><first index='1'>bob</first><last>bob</last><count>2</count></set></online></iq>",
		alice.Ask("get", "p1@wtmuc.example.com", "<online xmlns='"+project+"'><set xmlns='http://jabber.org/protocol/rsm'><max>1</max><before/></set></online>"))
	alice.Match("<iq type='result' id='{any}' from='p1@wtmuc.example.com' to='{alice}'><online xmlns='"+project+"' rev='{any}' total='2'>"+
		"<set xmlns='http://jabber.org/protocol/rsm'><count>2</count></set></online></iq>",
		alice.Ask("get", "p1@wtmuc.example.com", "<online xmlns='"+project+"'><set xmlns='http://jabber.org/protocol/rsm'><max>0</max></set></online>"))
	alice.Match("<iq type='result' id='{any}' from='p1@wtmuc.example.com' to='{alice}'><query xmlns='http://jabber.org/protocol/disco#items' node='online'>"+
		"<item jid='alice@example.com' name='Alice'/><item jid='bob@example.com' name='Bob'/></query></iq>",
		alice.Ask("get", "p1@wtmuc.example.com", "<query xmlns='http://jabber.org/protocol/disco#items' node='online'/>"))
	alice.Match("<iq type='result' id='{any}' from='p1@wtmuc.example.com' to='{alice}'><query xmlns='http://jabber.org/protocol/disco#items'>"+
		"<item jid='p1@wtmuc.example.com' node='online' name='Online'/></query></iq>",
		alice.Ask("get", "p1@wtmuc.example.com", "<query xmlns='http://jabber.org/protocol/disco#items'/>"))
	alice.Match("<iq type='result' id='{any}' from='wtmuc.example.com' to='{alice}'><query xmlns='http://jabber.org/protocol/disco#items'>"+
		"<item jid='p1@wtmuc.example.com' name='Apollo'/><item jid='p3@wtmuc.example.com' name='Cygnus'/></query></iq>",
		alice.Ask("get", "wtmuc.example.com", "<query xmlns='http://jabber.org/protocol/disco#items'/>"))
	for _, to := range []string{"wtmuc.example.com", "p1@wtmuc.example.com"} {
		info := alice.Ask("get", to, "<query xmlns='http://jabber.org/protocol/disco#info'/>")
		if id := info.FindElement("./query/identity"); id == nil || id.SelectAttrValue("category", "") != "component" || id.SelectAttrValue("type", "") != "generic" {
			t.Errorf("%s: identity %v", to, id)
		}
		if info.FindElement("./query/feature[@var='"+project+"']") == nil {
			t.Errorf("%s does not list its feature", to)
		}
		alice.Match("<iq type='result' id='{any}' from='"+to+"' to='{alice}'/>", alice.Ask("get", to, "<ping xmlns='urn:xmpp:ping'/>"))
	}
}

func TestGroupMessage(t *testing.T) {
	w := newWorld(t, 0)
	alice, phone, bob, carol := w.Online("alice/web"), w.Login("alice/phone"), w.Online("bob/web"), w.Online("carol/web")
	phone.Send("<presence/>")
	for _, c := range []*servertest.Client{alice, phone, bob, carol} {
		c.Drain()
	}
	alice.Send("<message type='groupchat' to='p1@wtmuc.example.com' id='g'><body>hi</body>" +
		"<stanza-id xmlns='urn:xmpp:sid:0' id='forged' by='p1@wtmuc.example.com'/><x xmlns='urn:y'/></message>")
	copyFor := func(user string) string {
		return "<message type='groupchat' from='p1@wtmuc.example.com/alice' to='" + user + "@example.com' id='g'><body>hi</body>" +
			"<x xmlns='urn:y'/><stanza-id xmlns='urn:xmpp:sid:0' id='{id}' by='p1@wtmuc.example.com'/></message>"
	}
	alice.Expect(copyFor("alice"))
	phone.Expect(copyFor("alice"))
	bob.Expect(copyFor("bob"))
	carol.ExpectNothing()
}
