package sqlite

import (
	"context"
	"fmt"

	"rollcall/storage"
)

// Import implements storage.Admin. The order of the records does not matter; an
// id that two of them name is storage.ErrInvalid.
func (s *Store) Import(ctx context.Context, records []storage.Record) error {
	users := make(map[string]bool)
	projects := make(map[string]bool)
	for i, r := range records {
		if err := s.checkRecord(r, users, projects); err != nil {
			return fmt.Errorf("record %d: %w", i+1, err)
		}
	}
	return s.write(ctx, func(st *statements) error {
		for _, r := range records {
			if err := ctx.Err(); err != nil {
				return err
			}
			if r.User != nil {
				if err := st.putUser(*r.User); err != nil {
					return err
				}
			}
		}
		for _, r := range records {
			if r.Project != nil {
				if err := st.putProject(ctx, *r.Project); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// checkRecord checks a record by itself and against those before it.
func (s *Store) checkRecord(r storage.Record, users, projects map[string]bool) error {
	switch {
	case (r.User == nil) == (r.Project == nil):
		return invalid("not either a user or a project")
	case r.User != nil:
		if users[r.User.ID] {
			return invalid("user %q is there twice", r.User.ID)
		}
		users[r.User.ID] = true
		return s.checkUser(*r.User)
	default:
		if projects[r.Project.ID] {
			return invalid("project %q is there twice", r.Project.ID)
		}
		projects[r.Project.ID] = true
		return checkProject(r.Project.Project)
	}
}

func (s *statements) putUser(u storage.UserRecord) error {
	name, found, err := nameOf(s.user, u.ID)
	switch {
	case err != nil:
		return err
	case found:
		return s.updateUser(name, u)
	case u.Credentials == nil:
		return invalid("user %q is new and has no credentials", u.ID)
	default:
		return s.insertUser(u)
	}
}

func (s *statements) putProject(ctx context.Context, p storage.ProjectRecord) error {
	name, found, err := nameOf(s.project, p.ID)
	switch {
	case err != nil:
		return err
	case !found:
		err = s.insertProject(p.Project)
	case name != p.Name:
		_, err = exec(s.renameProject, p.Name, p.ID)
	}
	if err != nil {
		return err
	}
	had, err := s.membersOf(p.ID)
	if err != nil {
		return err
	}
	want := make(map[string]bool, len(p.Members))
	for _, u := range p.Members {
		want[u] = true
	}
	for u := range had {
		if !want[u] {
			if _, err := exec(s.leave, p.ID, u); err != nil {
				return err
			}
		}
	}
	for _, u := range p.Members {
		if had[u] {
			continue
		}
		if err := s.importMember(ctx, p.ID, u); err != nil {
			return err
		}
	}
	return nil
}

func (s *statements) importMember(ctx context.Context, projectID, userID string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if _, found, err := nameOf(s.user, userID); err != nil {
		return err
	} else if !found {
		return invalid("project %q: member %q is no user", projectID, userID)
	}
	_, err := exec(s.addMember, projectID, userID)
	return err
}

func (s *statements) membersOf(projectID string) (members map[string]bool, err error) {
	rows, err := s.memberIDs.Query(projectID)
	if err != nil {
		return nil, err
	}
	defer closeRows(rows, &err)
	members = make(map[string]bool)
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		members[id] = true
	}
	return members, nil
}
