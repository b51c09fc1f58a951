package jid

import "strings"

// XEP-0106 section 3.2 lists what a local part cannot hold and what stands for it.
// The backslash itself is escaped only where it would begin one of the sequences
// (section 5.1); mellium's transformer escapes it everywhere, so that what clients
// write by the rules would not be found.
var (
	escaper = strings.NewReplacer(
		`\20`, `\5c20`, `\22`, `\5c22`, `\26`, `\5c26`, `\27`, `\5c27`, `\2f`, `\5c2f`, `\3a`, `\5c3a`,
		`\3c`, `\5c3c`, `\3e`, `\5c3e`, `\40`, `\5c40`, `\5c`, `\5c5c`,
		" ", `\20`, `"`, `\22`, "&", `\26`, "'", `\27`, "/", `\2f`, ":", `\3a`, "<", `\3c`, ">", `\3e`, "@", `\40`)
	unescaper = strings.NewReplacer(
		`\20`, " ", `\22`, `"`, `\26`, "&", `\27`, "'", `\2f`, "/", `\3a`, ":",
		`\3c`, "<", `\3e`, ">", `\40`, "@", `\5c`, `\`)
)

// Escape returns the local part that stands for a name of any kind (XEP-0106 section
// 5.1), and whether there is one: a name that a local part would have to change, such
// as one with capitals, has none, nor has one that begins or ends with a space
// (section 3.2).
func Escape(name string) (local string, ok bool) {
	if name == "" || len(name) > maxPart || name[0] == ' ' || name[len(name)-1] == ' ' {
		return "", false
	}
	local = escaper.Replace(name)
	j, err := New(local, "x", "")
	return local, err == nil && j.Local() == local
}

// Unescape returns the name that a local part stands for, and whether it stands for
// any: the reverse of Escape.
func Unescape(local string) (name string, ok bool) {
	name = unescaper.Replace(local)
	back, ok := Escape(name)
	return name, ok && back == local
}
