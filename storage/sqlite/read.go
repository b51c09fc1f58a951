package sqlite

import (
	"context"
	"database/sql"
	"errors"

	"rollcall/storage"
)

// User implements storage.Users.
func (s *Store) User(ctx context.Context, id string) (storage.User, error) {
	u := storage.User{ID: id}
	if err := s.one(ctx, s.reads.user, "user", id, &u.Name); err != nil {
		return storage.User{}, err
	}
	return u, nil
}

// Project implements storage.Projects.
func (s *Store) Project(ctx context.Context, id string) (storage.Project, error) {
	p := storage.Project{ID: id}
	if err := s.one(ctx, s.reads.project, "project", id, &p.Name); err != nil {
		return storage.Project{}, err
	}
	return p, nil
}

func (s *Store) one(ctx context.Context, st *sql.Stmt, what, id string, name *string) error {
	err := st.QueryRowContext(ctx, id).Scan(name)
	if errors.Is(err, sql.ErrNoRows) {
		return notFound(what, id)
	}
	return s.failure(ctx, err)
}

// Credentials implements storage.Users.
func (s *Store) Credentials(ctx context.Context, id string) (storage.Credentials, error) {
	c, found, err := credentialsOf(ctx, s.reads.credentials, id)
	if err != nil {
		return storage.Credentials{}, s.failure(ctx, err)
	}
	if !found {
		return storage.Credentials{}, notFound("user", id)
	}
	return c, nil
}

// pair is an id with its name, NULLs where an outer join found nothing.
type pair struct{ id, name sql.NullString }

func pairs(ctx context.Context, st *sql.Stmt, args ...any) (all []pair, err error) {
	rows, err := st.QueryContext(ctx, args...)
	if err != nil {
		return nil, err
	}
	defer closeRows(rows, &err)
	for rows.Next() {
		var p pair
		if err := rows.Scan(&p.id, &p.name); err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// Members implements storage.Projects.
func (s *Store) Members(ctx context.Context, projectID string) ([]storage.User, error) {
	all, err := pairs(ctx, s.reads.members, projectID)
	if err != nil {
		return nil, s.failure(ctx, err)
	}
	if len(all) == 0 {
		return nil, notFound("project", projectID)
	}
	if !all[0].id.Valid {
		return nil, nil
	}
	return toUsers(all), nil
}

// ProjectsOf implements storage.Projects.
func (s *Store) ProjectsOf(ctx context.Context, userID string) ([]storage.Project, error) {
	all, err := pairs(ctx, s.reads.projectsOf, userID)
	return toProjects(all), s.failure(ctx, err)
}

// Users implements storage.Admin.
func (s *Store) Users(ctx context.Context) ([]storage.User, error) {
	all, err := pairs(ctx, s.reads.users)
	return toUsers(all), s.failure(ctx, err)
}

// Projects implements storage.Admin.
func (s *Store) Projects(ctx context.Context) ([]storage.Project, error) {
	all, err := pairs(ctx, s.reads.projects)
	return toProjects(all), s.failure(ctx, err)
}

func toUsers(all []pair) []storage.User {
	users := make([]storage.User, len(all))
	for i, p := range all {
		users[i] = storage.User{ID: p.id.String, Name: p.name.String}
	}
	return users
}

func toProjects(all []pair) []storage.Project {
	projects := make([]storage.Project, len(all))
	for i, p := range all {
		projects[i] = storage.Project{ID: p.id.String, Name: p.name.String}
	}
	return projects
}
