package sqlite

import (
	"context"
	sqldriver "database/sql/driver"
	"errors"

	"rollcall/storage"
)

// User implements storage.Users.
func (s *Store) User(ctx context.Context, id string) (storage.User, error) {
	name, err := s.name(ctx, queryUser, "user", id)
	if err != nil {
		return storage.User{}, err
	}
	return storage.User{ID: id, Name: name}, nil
}

// UserExists implements storage.Owners.
func (s *Store) UserExists(ctx context.Context, id string) (bool, error) {
	_, err := s.name(ctx, queryUser, "user", id)
	if errors.Is(err, storage.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Project implements storage.Projects.
func (s *Store) Project(ctx context.Context, id string) (storage.Project, error) {
	name, err := s.name(ctx, queryProject, "project", id)
	if err != nil {
		return storage.Project{}, err
	}
	return storage.Project{ID: id, Name: name}, nil
}

func (s *Store) name(ctx context.Context, query, what, id string) (name string, err error) {
	found := false
	err = s.read(ctx, query, func(row []sqldriver.Value) error {
		name, found = text(row[0]), true
		return nil
	}, id)
	if err == nil && !found {
		err = notFound(what, id)
	}
	return name, err
}

// Credentials implements storage.Users.
func (s *Store) Credentials(ctx context.Context, id string) (storage.Credentials, error) {
	var c storage.Credentials
	found := false
	err := s.read(ctx, queryCredentials, func(row []sqldriver.Value) error {
		found = true
		addCredentials(&c, row)
		return nil
	}, id)
	if err == nil && !found {
		err = notFound("user", id)
	}
	if err != nil {
		return storage.Credentials{}, err
	}
	return c, nil
}

// addCredentials adds a row of queryCredentials.
func addCredentials(c *storage.Credentials, row []sqldriver.Value) {
	c.Plain = text(row[0])
	if row[1] != nil {
		c.SCRAM = append(c.SCRAM, storage.SCRAMKeys{
			Mechanism: text(row[1]), Salt: blob(row[2]), Iterations: int(number(row[3])),
			StoredKey: blob(row[4]), ServerKey: blob(row[5]),
		})
	}
}

// Members implements storage.Projects.
func (s *Store) Members(ctx context.Context, projectID string) (users []storage.User, err error) {
	found := false
	err = s.read(ctx, queryMembers, func(row []sqldriver.Value) error {
		found = true
		if row[0] != nil {
			users = append(users, storage.User{ID: text(row[0]), Name: text(row[1])})
		}
		return nil
	}, projectID)
	switch {
	case err != nil:
		return nil, err
	case !found:
		return nil, notFound("project", projectID)
	}
	return users, nil
}

// ProjectsOf implements storage.Projects.
func (s *Store) ProjectsOf(ctx context.Context, userID string) ([]storage.Project, error) {
	return s.projects(ctx, queryProjectsOf, userID)
}

// Projects implements storage.Admin.
func (s *Store) Projects(ctx context.Context) ([]storage.Project, error) {
	return s.projects(ctx, queryProjects)
}

func (s *Store) projects(ctx context.Context, query string, args ...sqldriver.Value) (projects []storage.Project, err error) {
	err = s.read(ctx, query, func(row []sqldriver.Value) error {
		projects = append(projects, storage.Project{ID: text(row[0]), Name: text(row[1])})
		return nil
	}, args...)
	if err != nil {
		return nil, err
	}
	return projects, nil
}

// Users implements storage.Admin.
func (s *Store) Users(ctx context.Context) (users []storage.User, err error) {
	err = s.read(ctx, queryUsers, func(row []sqldriver.Value) error {
		users = append(users, storage.User{ID: text(row[0]), Name: text(row[1])})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return users, nil
}

// number runs a query for one number.
func (s *Store) number(ctx context.Context, query string, args ...sqldriver.Value) (n int64, err error) {
	err = s.read(ctx, query, func(row []sqldriver.Value) error {
		n = number(row[0])
		return nil
	}, args...)
	return n, err
}
