package sqlite

import "database/sql"

const (
	queryKeptTotals = `SELECT messages, bytes FROM kept_totals WHERE user = ?`
	// LIMIT ? alone would have SQLite prepare the statement anew for each value, since it
	// plans by it (BenchmarkWaiting/call=Waiting/none: 9 us, not 42).
	queryWaiting = `SELECT id, at, data FROM kept WHERE user = ? AND id > ? ORDER BY id LIMIT ? + 0`

	rosterColumns   = `contact, name, in_groups, subscription, ask, approved, hidden, request`
	queryRoster     = `SELECT ` + rosterColumns + ` FROM roster WHERE user = ? ORDER BY contact`
	queryRosterItem = `SELECT ` + rosterColumns + ` FROM roster WHERE user = ? AND contact = ?`

	queryDocument      = `SELECT data FROM documents WHERE user = ? AND key = ?`
	queryDocumentsOf   = `SELECT user, data FROM documents WHERE key = ?`
	queryDocumentSize  = `SELECT length(data) FROM documents WHERE user = ? AND key = ?`
	queryDocumentsSize = `SELECT count(*), coalesce(sum(length(data)), 0) FROM documents WHERE user = ? AND key <> ?`
)

// ownStatements are the writing connection's for what users own.
type ownStatements struct {
	keptTotals, isKept, keep, dropOldest, discard, discardAll *sql.Stmt

	rosterItem, rosterSize, putRosterItem, removeRosterItem, removeRoster *sql.Stmt

	documentSize, documentsSize, putDocument, removeDocument, removeDocuments *sql.Stmt
}

func (s *ownStatements) prepare(p *preparing) {
	p.add(&s.keptTotals, queryKeptTotals)
	p.add(&s.isKept, `SELECT 1 FROM kept WHERE user = ? AND id = ?`)
	p.add(&s.keep, `INSERT INTO kept (user, id, at, data) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING`)
	p.add(&s.dropOldest, `DELETE FROM kept WHERE seq = (SELECT seq FROM kept WHERE user = ? ORDER BY id LIMIT 1)`)
	p.add(&s.discard, `DELETE FROM kept WHERE user = ? AND id = ?`)
	p.add(&s.discardAll, `DELETE FROM kept WHERE user = ?`)

	p.add(&s.rosterItem, queryRosterItem)
	// No more of them are looked at than matter.
	p.add(&s.rosterSize, `SELECT count(*) FROM (SELECT 1 FROM roster WHERE user = ? LIMIT ? + 0)`)
	p.add(&s.putRosterItem, `INSERT INTO roster (user, `+rosterColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (user, contact) DO UPDATE SET name = excluded.name, in_groups = excluded.in_groups,
			subscription = excluded.subscription, ask = excluded.ask, approved = excluded.approved,
			hidden = excluded.hidden, request = excluded.request`)
	p.add(&s.removeRosterItem, `DELETE FROM roster WHERE user = ? AND contact = ?`)
	p.add(&s.removeRoster, `DELETE FROM roster WHERE user = ?`)

	p.add(&s.documentSize, queryDocumentSize)
	p.add(&s.documentsSize, queryDocumentsSize)
	p.add(&s.putDocument, `INSERT INTO documents (user, key, data) VALUES (?, ?, ?)
		ON CONFLICT (user, key) DO UPDATE SET data = excluded.data`)
	p.add(&s.removeDocument, `DELETE FROM documents WHERE user = ? AND key = ?`)
	p.add(&s.removeDocuments, `DELETE FROM documents WHERE user = ?`)
}
