package server

import (
	"context"

	"rollcall/internal/jid"
	"rollcall/storage"
)

// DirectoryChange is the event of directory_changed: somebody changed users,
// projects or memberships, and it is committed. Handlers run one change at a
// time, in the order of commits, on no session's turn.
type DirectoryChange struct {
	Batch *Batch
	storage.Change
}

// Watch tells modules what changes in the directory, until ctx ends. The
// sessions of removed users are closed, and logins that are under way come to
// nothing.
func (srv *Server) Watch(ctx context.Context, w storage.Watcher) error {
	return w.Watch(ctx, func(c storage.Change) {
		b := &Batch{srv: srv}
		defer b.Flush()
		srv.hooks.directoryChanged.fire(srv, &DirectoryChange{Batch: b, Change: c})
		if c.Kind == storage.UserRemoved {
			for _, host := range srv.cfg.Hosts {
				if bare, err := jid.New(c.User, host, ""); err == nil {
					// First this: who binds after the one is told by the other.
					srv.removals.add(bare, srv.cfg.Limits.LoginTime+2*replaceTime)
					srv.KickUser(bare, Close{Reason: ReasonUserRemoved})
				}
			}
		}
	})
}

// OnDirectoryChange adds a handler of directory_changed.
func (h *Host) OnDirectoryChange(priority int, f func(context.Context, *DirectoryChange)) {
	on(h, &h.srv.hooks.directoryChanged, priority, f)
}
