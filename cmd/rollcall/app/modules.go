package app

import (
	"rollcall/conf"
	"rollcall/internal/jid"
	"rollcall/modules/blocking"
	"rollcall/modules/caps"
	"rollcall/modules/carbons"
	"rollcall/modules/csi"
	"rollcall/modules/disco"
	"rollcall/modules/example"
	"rollcall/modules/last"
	"rollcall/modules/offline"
	"rollcall/modules/ping"
	"rollcall/modules/projects"
	"rollcall/modules/roster"
	"rollcall/modules/stanzaid"
	entitytime "rollcall/modules/time"
	"rollcall/modules/version"
	"rollcall/server"
	"rollcall/storage"
)

// directory is who there is.
type directory interface {
	storage.Users
	storage.Projects
}

// modules lists the modules that a configuration turns on.
func modules(all *conf.Config, s *stores) []server.Module {
	c := all.Modules
	var list []server.Module
	d := s.directory
	add := func(on bool, m server.Module) {
		if on {
			list = append(list, m)
		}
	}
	contacts := roster.New(roster.Options{
		Projects: d, Users: d, Rosters: s.rosters, Owners: s.owners, Items: c.Roster.Items,
		LegacyShows: c.Projects.LegacyShows, ByProjects: c.Projects.Enabled,
	})
	var ended func(*server.Batch, *server.Session, jid.JID)
	if c.Roster.Enabled {
		ended = contacts.Ended
	}
	add(c.Roster.Enabled, contacts)
	add(c.Projects.Enabled, projects.New(projects.Options{
		ServiceHost: c.Projects.Host, Grace: c.Projects.Grace, LegacyShows: c.Projects.LegacyShows,
		Directory: d, Presence: s.presence, Ended: ended,
	}))
	add(c.Disco.Enabled, disco.New())
	add(c.Ping.Enabled, ping.New(ping.Options{Interval: c.Ping.Interval, Timeout: c.Ping.Timeout}))
	add(c.Version.Enabled, version.New(version.Options{ShowOS: c.Version.ShowOS}))
	add(c.Time.Enabled, entitytime.New())
	add(c.Carbons.Enabled, carbons.New())
	add(c.Blocking.Enabled, blocking.New(blocking.Options{Contacts: c.Blocking.Contacts, Documents: s.documents, Owners: s.owners}))
	add(c.Last.Enabled, last.New(last.Options{Documents: s.documents, Owners: s.owners}))
	add(c.CSI.Enabled, csi.New())
	add(c.Caps.Enabled, caps.New())
	add(c.StanzaID.Enabled, stanzaid.New())
	add(c.Offline.Enabled, offline.New(offline.Options{
		Spool: s.spool, Users: d, Owners: s.owners,
		Limit: storage.KeepLimit{
			Messages: c.Offline.Messages, Bytes: int64(c.Offline.Bytes), DropOldest: c.Offline.Overflow == conf.OverflowDropOldest,
		},
		PageBytes: int(min(all.Limits.OutboxBytes, all.StreamManagement.QueueBytes) / 4),
		StanzaIDs: c.StanzaID.Enabled,
	}))
	add(c.Example.Enabled, example.New(example.Options{Greeting: c.Example.Greeting}))
	return list
}
