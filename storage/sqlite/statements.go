package sqlite

import (
	"context"
	"database/sql"
	sqldriver "database/sql/driver"
	"errors"
	"time"

	"rollcall/storage"
)

const (
	queryUser    = `SELECT name FROM users WHERE id = ?`
	queryProject = `SELECT name FROM projects WHERE id = ?`
	// One row per SCRAM mechanism, or one with NULLs; none for an unknown user.
	queryCredentials = `SELECT plain, mechanism, salt, iterations, stored_key, server_key
		FROM users LEFT JOIN scram_keys ON user = id WHERE id = ? ORDER BY mechanism`
	queryProjectsOf = `SELECT id, name FROM members JOIN projects ON id = project WHERE user = ? ORDER BY project`
	// One row per member, or one with NULLs; none for an unknown project.
	queryMembers = `SELECT u.id, u.name FROM projects p LEFT JOIN members m ON m.project = p.id
		LEFT JOIN users u ON u.id = m.user WHERE p.id = ? ORDER BY m.user`
	queryMemberIDs = `SELECT user FROM members WHERE project = ?`
	queryUsers     = `SELECT id, name FROM users ORDER BY id`
	queryProjects  = `SELECT id, name FROM projects ORDER BY id`

	queryLastChange   = `SELECT coalesce(max(seq), 0) FROM changes`
	queryOldestChange = `SELECT coalesce(min(seq), 0) FROM changes`
	queryChanges      = `SELECT seq, kind, user, project FROM changes WHERE seq > ? ORDER BY seq LIMIT ? + 0` // see queryWaiting

	// How many users lack the keys for a mechanism.
	queryLacking = `SELECT count(*) FROM users
		WHERE NOT EXISTS (SELECT 1 FROM scram_keys WHERE user = users.id AND mechanism = ?)`
)

// preparing collects the error of several preparations.
type preparing struct {
	ctx context.Context
	on  *sql.Conn
	all []*sql.Stmt
	err error
}

func (p *preparing) add(to **sql.Stmt, query string) {
	if p.err != nil {
		return
	}
	if *to, p.err = p.on.PrepareContext(p.ctx, query); p.err == nil {
		p.all = append(p.all, *to)
	}
}

// statements are those of the writing connection. They run without a deadline
// (see committer.exec). SQLite does not close a connection that has statements
// left, and database/sql does not know those that belong to one connection.
type statements struct {
	user, credentials, addUser, changeUser, removeUser, addKeys, removeKeys        *sql.Stmt
	project, memberIDs, addProject, renameProject, removeProject, addMember, leave *sql.Stmt
	forget, savepoint, release                                                     *sql.Stmt
	own                                                                            ownStatements
	all                                                                            []*sql.Stmt
}

func (s *statements) close() error {
	var errs []error
	for _, st := range s.all {
		errs = append(errs, st.Close())
	}
	return errors.Join(errs...)
}

func prepareStatements(ctx context.Context, conn *sql.Conn) (*statements, error) {
	var s statements
	p := preparing{ctx: ctx, on: conn}
	p.add(&s.user, queryUser)
	p.add(&s.credentials, queryCredentials)
	p.add(&s.addUser, `INSERT INTO users (id, name, plain) VALUES (?, ?, ?)`)
	p.add(&s.changeUser, `UPDATE users SET name = ?, plain = ?, password_rev = password_rev + ? WHERE id = ?`)
	p.add(&s.removeUser, `DELETE FROM users WHERE id = ?`)
	p.add(&s.addKeys, `INSERT INTO scram_keys (user, mechanism, salt, iterations, stored_key, server_key)
		VALUES (?, ?, ?, ?, ?, ?)`)
	p.add(&s.removeKeys, `DELETE FROM scram_keys WHERE user = ?`)
	p.add(&s.project, queryProject)
	p.add(&s.memberIDs, queryMemberIDs)
	p.add(&s.addProject, `INSERT INTO projects (id, name) VALUES (?, ?)`)
	p.add(&s.renameProject, `UPDATE projects SET name = ? WHERE id = ?`)
	p.add(&s.removeProject, `DELETE FROM projects WHERE id = ?`)
	p.add(&s.addMember, `INSERT INTO members (project, user) VALUES (?, ?) ON CONFLICT DO NOTHING`)
	p.add(&s.leave, `DELETE FROM members WHERE project = ? AND user = ?`)
	p.add(&s.forget, `DELETE FROM changes WHERE seq <= (SELECT max(seq) FROM changes) - ? AND at < unixepoch() - ?`)
	p.add(&s.savepoint, `SAVEPOINT w`)
	p.add(&s.release, `RELEASE w`)
	s.own.prepare(&p)
	s.all = p.all
	if p.err != nil {
		return nil, errors.Join(p.err, s.close())
	}
	return &s, nil
}

// nameOf runs one of the queries for a name. It reports whether there is a row.
func nameOf(st *sql.Stmt, id string) (name string, found bool, err error) {
	err = st.QueryRow(id).Scan(&name)
	if errors.Is(err, sql.ErrNoRows) {
		return "", false, nil
	}
	return name, err == nil, err
}

// exec returns how many rows were affected, those of triggers not counted.
func exec(st *sql.Stmt, args ...any) (int64, error) {
	r, err := st.Exec(args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// prune forgets changes that are neither among the last rows nor younger than
// age.
func (s *statements) prune(rows int, age time.Duration) error {
	_, err := exec(s.forget, rows, int64(age/time.Second))
	return err
}

// credentialsOf runs queryCredentials. There are none for an unknown user.
func credentialsOf(st *sql.Stmt, id string) (c storage.Credentials, err error) {
	rows, err := st.Query(id)
	if err != nil {
		return c, err
	}
	defer closeRows(rows, &err)
	row, to := make([]sqldriver.Value, 6), make([]any, 6)
	for i := range row {
		to[i] = (*any)(&row[i])
	}
	for rows.Next() {
		if err := rows.Scan(to...); err != nil {
			return c, err
		}
		addCredentials(&c, row)
	}
	return c, nil
}

// closeRows ends a query and adds what went wrong with it to err.
func closeRows(rows *sql.Rows, err *error) {
	*err = errors.Join(*err, rows.Err(), rows.Close())
}
