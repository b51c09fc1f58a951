package servertest

import (
	"bytes"
	"context"
	"maps"
	"sync"

	"rollcall/storage"
)

// Documents keeps documents in memory.
type Documents struct {
	mu      sync.Mutex
	users   map[string]map[string][]byte
	failure error
	writes  int
}

var _ storage.Documents = (*Documents)(nil)

// NewDocuments returns an empty store.
func NewDocuments() *Documents { return &Documents{users: make(map[string]map[string][]byte)} }

// Fail makes every call return err, or succeed again when it is nil.
func (d *Documents) Fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failure = err
}

// fails is the error of a call; d.mu is held.
func (d *Documents) fails(ctx context.Context) error {
	if d.failure != nil {
		return d.failure
	}
	return ctx.Err()
}

// Writes is how often a document was put.
func (d *Documents) Writes() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.writes
}

// Document implements storage.Documents.
func (d *Documents) Document(ctx context.Context, user, key string) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.fails(ctx); err != nil {
		return nil, err
	}
	data, ok := d.users[user][key]
	if !ok {
		return nil, storage.ErrNotFound
	}
	return bytes.Clone(data), nil
}

// PutDocument implements storage.Documents.
func (d *Documents) PutDocument(ctx context.Context, user, key string, data []byte, limit storage.DocumentLimit) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.fails(ctx); err != nil {
		return err
	}
	if err := storage.CheckDocument(user, key); err != nil {
		return err
	}
	d.writes++
	all := d.users[user]
	if len(data) == 0 {
		delete(all, key)
		return nil
	}
	had, replaces := all[key]
	count, size := len(all)+1, int64(len(data)-len(had))
	for _, other := range all {
		size += int64(len(other))
	}
	if replaces {
		count--
	}
	if !(replaces && len(had) >= len(data)) && !limit.Fits(count, size) {
		return storage.ErrFull
	}
	if all == nil {
		all = make(map[string][]byte)
		d.users[user] = all
	}
	all[key] = bytes.Clone(data)
	return nil
}

// EachDocument implements storage.Documents.
func (d *Documents) EachDocument(ctx context.Context, key string, f func(user string, data []byte)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.fails(ctx); err != nil {
		return err
	}
	for user, all := range maps.All(d.users) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if data, ok := all[key]; ok {
			f(user, bytes.Clone(data))
		}
	}
	return nil
}

// RemoveDocuments implements storage.Documents.
func (d *Documents) RemoveDocuments(ctx context.Context, user string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.fails(ctx); err != nil {
		return err
	}
	delete(d.users, user)
	return nil
}
