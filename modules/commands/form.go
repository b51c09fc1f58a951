package commands

import (
	"fmt"
	"strings"

	"github.com/beevik/etree"

	"rollcall/internal/jid"
	"rollcall/internal/ns"
)

// form is what an administrator fills in (XEP-0004), of the type of XEP-0133.
type form struct {
	title, instructions string
	fields              []field
}

// field is one of a form's fields; its names and kinds are those of XEP-0133.
type field struct {
	name, kind, label string
	required          bool
	options           []string
}

// values are what was filled in, by field.
type values map[string][]string

// text is the only value of a field; empty when there is none.
func (v values) text(name string) string {
	if len(v[name]) == 0 {
		return ""
	}
	return v[name][0]
}

// about tells the log whom a command was about.
func (v values) about() string {
	return strings.Join(append(v["accountjids"], v["accountjid"]...), " ")
}

// element is the form to be filled in.
func (f *form) element() *etree.Element {
	x := newForm("form")
	x.CreateElement("title").SetText(f.title)
	x.CreateElement("instructions").SetText(f.instructions)
	addType(x)
	for _, field := range f.fields {
		el := x.CreateElement("field")
		el.CreateAttr("var", field.name)
		el.CreateAttr("type", field.kind)
		el.CreateAttr("label", field.label)
		for _, o := range field.options {
			option := el.CreateElement("option")
			option.CreateAttr("label", o)
			option.CreateElement("value").SetText(o)
		}
		if field.required {
			el.CreateElement("required")
		}
	}
	return x
}

func newForm(kind string) *etree.Element {
	x := etree.NewElement("x")
	x.CreateAttr("xmlns", ns.DataForms)
	x.CreateAttr("type", kind)
	return x
}

// addType says which form it is (XEP-0068).
func addType(x *etree.Element) {
	el := x.CreateElement("field")
	el.CreateAttr("var", "FORM_TYPE")
	el.CreateAttr("type", "hidden")
	el.CreateElement("value").SetText(ns.Admin)
}

// read takes what was filled in from a request.
func (f *form) read(request *etree.Element) (values, error) {
	var x *etree.Element
	for _, c := range request.ChildElements() {
		if c.Tag == "x" && c.NamespaceURI() == ns.DataForms {
			x = c
			break
		}
	}
	if x == nil {
		return nil, badPayload("the form is missing")
	}
	// XEP-0050 section 3.5.1: a form of type cancel counts like one of type submit.
	if t := x.SelectAttrValue("type", ""); t != "submit" && t != "cancel" {
		return nil, badPayload("the form is not submitted")
	}
	all := make(values)
	for _, el := range x.ChildElements() {
		name := el.SelectAttrValue("var", "")
		if el.Tag != "field" || name == "" {
			continue
		}
		if _, twice := all[name]; twice {
			return nil, badPayload("a field is there twice")
		}
		all[name] = []string{}
		for _, v := range el.ChildElements() {
			if v.Tag == "value" {
				all[name] = append(all[name], v.Text())
			}
		}
	}
	if t, ok := all["FORM_TYPE"]; ok && (len(t) != 1 || t[0] != ns.Admin) {
		return nil, badPayload("the form is of another type")
	}
	return all, f.check(all)
}

// check compares what was filled in with the form.
func (f *form) check(all values) error {
	for _, field := range f.fields {
		list := all[field.name]
		if field.required && strings.Join(list, "") == "" {
			return badPayload(field.name + " is missing")
		}
		if !strings.HasSuffix(field.kind, "-multi") && len(list) > 1 {
			return badPayload(field.name + " has more than one value")
		}
	}
	return nil
}

// maxAddresses bounds what one command is about.
const maxAddresses = 1000

// addresses reads the addresses of accounts at a virtual host, or of connections where
// full ones are permitted.
func (v values) addresses(name, host string, full bool) (list []jid.JID, err error) {
	if len(v[name]) > maxAddresses {
		return nil, badPayload(fmt.Sprintf("more than %d addresses", maxAddresses))
	}
	for _, text := range v[name] {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		j, err := jid.Parse(text)
		switch {
		case err != nil:
			return nil, badPayload(fmt.Sprintf("%.100q is no address", text))
		case j.Local() == "" || j.IsFull() && !full:
			return nil, badPayload(fmt.Sprintf("%.100q is no address of an account", text))
		case j.Domain() != host:
			return nil, badPayload(fmt.Sprintf("%.100q is not at %s", text, host))
		}
		list = append(list, j)
	}
	if len(list) == 0 {
		return nil, badPayload(name + " is missing")
	}
	return list, nil
}
