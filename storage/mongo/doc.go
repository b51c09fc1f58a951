// Package mongo reads users and projects from the product's own MongoDB, and tells
// what changes there. It writes nothing to the product's collections. What users own,
// messages that wait, roster items and documents, is in collections of rollcall's own
// beside them.
//
// # Ids
//
// The local part of a JID stands for a user's id, or for the login name when one is
// configured: an ObjectID is its 24 hexadecimal digits, an integer its decimal
// digits, and a string is itself, with what a local part cannot hold escaped
// (XEP-0106). A document whose id has no local part, such as a string with capitals,
// is left out, counted and logged once.
//
// # Who is there
//
// A member without a user's document, or with one that is blocked or that the filter
// leaves out, is nobody: such members are in no roster, and a user who becomes one is
// told to watchers as removed from each project and then as removed.
package mongo
