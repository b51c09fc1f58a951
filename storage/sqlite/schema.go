package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// applicationID marks the file as rollcall's ("RCLL"), for file(1) and for the
// check that a path does not name another program's database.
const applicationID = 0x52434c4c

// migrations are the steps from each schema version to the next; version 0 is
// the empty file. Steps that were released are never changed: new ones follow.
func migrations() []string { return []string{version1, version2} }

// version1 holds users, projects and memberships. Triggers note the changes, so
// that nothing that writes to the file can forget to. Every MemberRemoved comes
// before the UserRemoved or ProjectRemoved that caused it because those rows
// are deleted by triggers that fire before.
//
// users.password_rev counts new credentials: one UPDATE can so change name and
// credentials and be noted once.
const version1 = `
CREATE TABLE users (
	id TEXT PRIMARY KEY,
	name TEXT NOT NULL,
	plain TEXT NOT NULL,
	password_rev INTEGER NOT NULL DEFAULT 1
) STRICT, WITHOUT ROWID;

CREATE TABLE scram_keys (
	user TEXT NOT NULL REFERENCES users (id),
	mechanism TEXT NOT NULL,
	salt BLOB NOT NULL,
	iterations INTEGER NOT NULL,
	stored_key BLOB NOT NULL,
	server_key BLOB NOT NULL,
	PRIMARY KEY (user, mechanism)
) STRICT, WITHOUT ROWID;

CREATE TABLE projects (
	id TEXT PRIMARY KEY,
	name TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE members (
	project TEXT NOT NULL REFERENCES projects (id),
	user TEXT NOT NULL REFERENCES users (id),
	PRIMARY KEY (project, user)
) STRICT, WITHOUT ROWID;
CREATE INDEX members_by_user ON members (user, project);

CREATE TABLE changes (
	seq INTEGER PRIMARY KEY AUTOINCREMENT,
	at INTEGER NOT NULL DEFAULT (unixepoch()),
	kind TEXT NOT NULL,
	user TEXT NOT NULL DEFAULT '',
	project TEXT NOT NULL DEFAULT ''
) STRICT;

CREATE TRIGGER member_added AFTER INSERT ON members BEGIN
	INSERT INTO changes (kind, user, project) VALUES ('member-added', NEW.user, NEW.project);
END;
CREATE TRIGGER member_removed AFTER DELETE ON members BEGIN
	INSERT INTO changes (kind, user, project) VALUES ('member-removed', OLD.user, OLD.project);
END;
CREATE TRIGGER user_leaves BEFORE DELETE ON users BEGIN
	DELETE FROM members WHERE user = OLD.id;
	DELETE FROM scram_keys WHERE user = OLD.id;
END;
CREATE TRIGGER user_removed AFTER DELETE ON users BEGIN
	INSERT INTO changes (kind, user) VALUES ('user-removed', OLD.id);
END;
CREATE TRIGGER user_changed AFTER UPDATE ON users
WHEN OLD.name <> NEW.name OR OLD.password_rev <> NEW.password_rev BEGIN
	INSERT INTO changes (kind, user) VALUES ('user-changed', NEW.id);
END;
CREATE TRIGGER project_empties BEFORE DELETE ON projects BEGIN
	DELETE FROM members WHERE project = OLD.id;
END;
CREATE TRIGGER project_removed AFTER DELETE ON projects BEGIN
	INSERT INTO changes (kind, project) VALUES ('project-removed', OLD.id);
END;
CREATE TRIGGER project_changed AFTER UPDATE ON projects WHEN OLD.name <> NEW.name BEGIN
	INSERT INTO changes (kind, project) VALUES ('project-changed', NEW.id);
END;
`

// version2 holds what users own: messages that wait, roster items and documents. None of
// it needs a row in users, since a write may be late; but whoever is removed leaves
// nothing behind for another user of that id, and whoever is added finds nothing.
//
// The rosters of others keep no more of a removed user than a name and groups: what was
// allowed to that user is not allowed to the next one of that id. Rosters are those of
// accounts, USER or USER@HOST, and name contacts by address; '@' sorts just before 'A'.
//
// kept_totals follows kept by triggers, so that no limit needs a look at all messages.
const version2 = `
CREATE TABLE kept (
	seq INTEGER PRIMARY KEY,
	user TEXT NOT NULL,
	id TEXT NOT NULL,
	at INTEGER NOT NULL,
	data BLOB NOT NULL,
	UNIQUE (user, id)
) STRICT;
CREATE TABLE kept_totals (
	user TEXT PRIMARY KEY,
	messages INTEGER NOT NULL,
	bytes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TRIGGER kept_added AFTER INSERT ON kept BEGIN
	INSERT INTO kept_totals (user, messages, bytes) VALUES (NEW.user, 1, length(NEW.data))
		ON CONFLICT (user) DO UPDATE SET messages = messages + 1, bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER kept_removed AFTER DELETE ON kept BEGIN
	UPDATE kept_totals SET messages = messages - 1, bytes = bytes - length(OLD.data) WHERE user = OLD.user;
	DELETE FROM kept_totals WHERE user = OLD.user AND messages = 0;
END;

CREATE TABLE roster (
	user TEXT NOT NULL,
	contact TEXT NOT NULL,
	name TEXT NOT NULL,
	in_groups TEXT NOT NULL, -- a JSON array
	subscription INTEGER NOT NULL,
	ask INTEGER NOT NULL,
	approved INTEGER NOT NULL,
	hidden INTEGER NOT NULL,
	request BLOB,
	PRIMARY KEY (user, contact)
) STRICT, WITHOUT ROWID;
CREATE INDEX roster_by_contact ON roster (contact);

CREATE TABLE documents (
	seq INTEGER PRIMARY KEY,
	user TEXT NOT NULL,
	key TEXT NOT NULL,
	data BLOB NOT NULL,
	UNIQUE (user, key)
) STRICT;
CREATE INDEX documents_by_key ON documents (key);

CREATE TRIGGER user_forgotten AFTER DELETE ON users BEGIN
	DELETE FROM kept WHERE user = OLD.id;
	DELETE FROM roster WHERE user = OLD.id OR user >= OLD.id || '@' AND user < OLD.id || 'A';
	DELETE FROM roster WHERE contact >= OLD.id || '@' AND contact < OLD.id || 'A' AND (hidden OR name = '' AND in_groups = '[]');
	UPDATE roster SET subscription = 0, ask = 0, approved = 0, request = NULL
		WHERE contact >= OLD.id || '@' AND contact < OLD.id || 'A';
	DELETE FROM documents WHERE user = OLD.id;
END;
CREATE TRIGGER user_begins AFTER INSERT ON users BEGIN
	DELETE FROM kept WHERE user = NEW.id;
	DELETE FROM roster WHERE user = NEW.id OR user >= NEW.id || '@' AND user < NEW.id || 'A';
	DELETE FROM documents WHERE user = NEW.id;
END;
`

// migrate brings the file to the version that the steps end with.
func migrate(ctx context.Context, db *sql.DB, steps []string) error {
	// Look before touching: another program's file stays as it is.
	version, err := schemaVersion(ctx, db, len(steps))
	if err != nil {
		return err
	}
	if err := useWAL(ctx, db); err != nil {
		return err
	}
	if version == len(steps) {
		return nil
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := migrateIn(ctx, tx, steps); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

func migrateIn(ctx context.Context, tx *sql.Tx, steps []string) error {
	// Another process may have been faster.
	version, err := schemaVersion(ctx, tx, len(steps))
	if err != nil {
		return err
	}
	for i, step := range steps[version:] {
		if _, err := tx.ExecContext(ctx, step); err != nil {
			return fmt.Errorf("schema version %d: %w", version+i+1, err)
		}
	}
	_, err = tx.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d", applicationID, len(steps)))
	return err
}

type queryer interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// schemaVersion returns the version of the file's tables, 0 for an empty file.
func schemaVersion(ctx context.Context, q queryer, known int) (int, error) {
	var id, version, objects int
	err := q.QueryRowContext(ctx, `SELECT application_id, user_version, (SELECT count(*) FROM sqlite_schema)
		FROM pragma_application_id, pragma_user_version`).Scan(&id, &version, &objects)
	switch {
	case err != nil:
		return 0, err
	case id != applicationID && (id != 0 || version != 0 || objects != 0):
		return 0, errors.New("the file is another program's SQLite database")
	case version > known:
		return 0, fmt.Errorf("the file has schema version %d, and this program knows versions up to %d: use a newer rollcall", version, known)
	}
	return version, nil
}

// useWAL turns the write-ahead log on. SQLite does not wait for other
// connections there, so it is tried again while one is in the way.
func useWAL(ctx context.Context, db *sql.DB) error {
	ctx, cancel := context.WithTimeout(ctx, busyTimeout)
	defer cancel()
	retry := time.NewTicker(10 * time.Millisecond)
	defer retry.Stop()
	for {
		var mode string
		err := db.QueryRowContext(ctx, "PRAGMA journal_mode = WAL").Scan(&mode)
		if err == nil && mode != "wal" {
			return fmt.Errorf("the file system has no write-ahead log for it (journal mode %q)", mode)
		}
		if err == nil || !isBusy(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-retry.C:
		}
	}
}
