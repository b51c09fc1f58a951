package sqlite

import (
	"context"
	"database/sql"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"

	"rollcall/storage"
)

// Document implements storage.Documents.
func (s *Store) Document(ctx context.Context, user, key string) (data []byte, err error) {
	err = s.read(ctx, queryDocument, func(row []sqldriver.Value) error {
		data = blob(row[0])
		return nil
	}, user, key)
	switch {
	case err != nil:
		return nil, err
	case data == nil:
		return nil, notFound("document", key)
	}
	return data, nil
}

// PutDocument implements storage.Documents.
func (s *Store) PutDocument(ctx context.Context, user, key string, data []byte, limit storage.DocumentLimit) error {
	if err := storage.CheckDocument(user, key); err != nil {
		return err
	}
	return s.write(ctx, func(st *statements) error {
		if len(data) == 0 {
			_, err := exec(st.own.removeDocument, user, key)
			return err
		}
		if err := st.own.fits(user, key, int64(len(data)), limit); err != nil {
			return err
		}
		_, err := exec(st.own.putDocument, user, key, data)
		return err
	})
}

// fits says whether a document of that size may take the place of the one before.
func (s *ownStatements) fits(user, key string, size int64, limit storage.DocumentLimit) error {
	if limit == (storage.DocumentLimit{}) {
		return nil
	}
	var before int64
	if err := s.documentSize.QueryRow(user, key).Scan(&before); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	if size <= before {
		return nil
	}
	documents, bytes, err := twoNumbers(s.documentsSize, user, key)
	if err != nil {
		return err
	}
	if !limit.Fits(documents+1, bytes+size) {
		return fmt.Errorf("%w: documents of %q", storage.ErrFull, user)
	}
	return nil
}

// EachDocument implements storage.Documents.
func (s *Store) EachDocument(ctx context.Context, key string, f func(user string, data []byte)) error {
	return s.read(ctx, queryDocumentsOf, func(row []sqldriver.Value) error {
		f(text(row[0]), blob(row[1]))
		return nil
	}, key)
}

// RemoveDocuments implements storage.Documents.
func (s *Store) RemoveDocuments(ctx context.Context, user string) error {
	return s.write(ctx, func(st *statements) error {
		_, err := exec(st.own.removeDocuments, user)
		return err
	})
}
