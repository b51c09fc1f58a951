package sqlite

import (
	"context"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"io"

	driver "modernc.org/sqlite"
)

// readers answer everybody's questions, one at a time each. They do without
// database/sql, whose pool, conversions and goroutine for each context take longer than
// SQLite takes to find a row (BenchmarkRead).
type readers struct {
	free chan *reader
	all  []*reader
}

// reader is a connection and its statements, each prepared when it is first wanted.
type reader struct {
	conn       sqldriver.Conn
	statements map[string]sqldriver.StmtQueryContext
	args       [3]sqldriver.NamedValue
	row        [8]sqldriver.Value
}

// openReaders opens n connections that live as long as the store. What was opened is
// closed by close, also after an error.
func openReaders(ctx context.Context, path string, n int) (r readers, err error) {
	connector, err := driver.NewConnector(dataSource(path, readerCache, readerWait, "_pragma=query_only(1)"))
	if err != nil {
		return r, err
	}
	r.free = make(chan *reader, n)
	for range n {
		conn, err := connector.Connect(ctx)
		if err != nil {
			return r, err
		}
		x := &reader{conn: conn, statements: make(map[string]sqldriver.StmtQueryContext)}
		r.all = append(r.all, x)
		r.free <- x
	}
	return r, nil
}

// close waits for the queries that have begun.
func (r *readers) close() error {
	var errs []error
	for range r.all {
		x := <-r.free
		for _, st := range x.statements {
			errs = append(errs, st.(sqldriver.Stmt).Close())
		}
		errs = append(errs, x.conn.Close())
	}
	return errors.Join(errs...)
}

// read runs one of the queries that are constants of this package and calls f for each
// row, whose values are f's to keep. Tables are STRICT: a value has its column's type, or
// is nil. An error is made one of package storage, unless it is f's.
func (s *Store) read(ctx context.Context, query string, f func(row []sqldriver.Value) error, args ...sqldriver.Value) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var r *reader
	select {
	case r = <-s.readers.free:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.closed:
		return errClosed
	}
	defer func() { s.readers.free <- r }()
	return s.failure(ctx, r.query(ctx, query, args, f))
}

// query does not interrupt SQLite when ctx ends, which would take a goroutine: a step to
// the next row is short, and waits for no other process longer than readerWait.
func (r *reader) query(ctx context.Context, query string, args []sqldriver.Value, f func(row []sqldriver.Value) error) (err error) {
	st, err := r.prepared(ctx, query)
	if err != nil {
		return err
	}
	for i, v := range args {
		r.args[i] = sqldriver.NamedValue{Ordinal: i + 1, Value: v}
	}
	rows, err := st.QueryContext(context.Background(), r.args[:len(args)])
	if err != nil {
		return err
	}
	row := r.row[:len(rows.Columns())]
	defer func() {
		clear(row)
		err = errors.Join(err, rows.Close())
	}()
	for {
		switch err := rows.Next(row); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := f(row); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

func (r *reader) prepared(ctx context.Context, query string) (sqldriver.StmtQueryContext, error) {
	if st := r.statements[query]; st != nil {
		return st, nil
	}
	prepared, err := r.conn.(sqldriver.ConnPrepareContext).PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	st, ok := prepared.(sqldriver.StmtQueryContext)
	if !ok {
		return nil, errors.Join(fmt.Errorf("sqlite: a statement is a %T", prepared), prepared.Close())
	}
	r.statements[query] = st
	return st, nil
}

// text is a value that is a text or NULL.
func text(v sqldriver.Value) string {
	s, _ := v.(string)
	return s
}

// number is a value that is an integer or NULL.
func number(v sqldriver.Value) int64 {
	n, _ := v.(int64)
	return n
}

// blob is a value that is a blob or NULL.
func blob(v sqldriver.Value) []byte {
	b, _ := v.([]byte)
	return b
}
