package sqlite

import (
	"context"
	"errors"
	"fmt"

	"rollcall/storage"
)

// AddUser implements storage.Admin.
func (s *Store) AddUser(ctx context.Context, u storage.UserRecord) error {
	if err := s.checkUser(u); err != nil {
		return err
	}
	if u.Credentials == nil {
		return invalid("user %q: no credentials", u.ID)
	}
	return s.write(ctx, func(st *statements) error { return st.insertUser(u) })
}

// SetCredentials implements storage.Admin.
func (s *Store) SetCredentials(ctx context.Context, userID string, c storage.Credentials) error {
	if err := s.checkCredentials(userID, c); err != nil {
		return err
	}
	return s.write(ctx, func(st *statements) error {
		name, found, err := nameOf(st.user, userID)
		if err != nil {
			return err
		}
		if !found {
			return notFound("user", userID)
		}
		return st.updateUser(name, storage.UserRecord{User: storage.User{ID: userID, Name: name}, Credentials: &c})
	})
}

// RemoveUser implements storage.Admin.
func (s *Store) RemoveUser(ctx context.Context, userID string) error {
	return s.write(ctx, func(st *statements) error {
		n, err := exec(st.removeUser, userID)
		if err == nil && n == 0 {
			return notFound("user", userID)
		}
		return err
	})
}

// AddProject implements storage.Admin.
func (s *Store) AddProject(ctx context.Context, p storage.Project) error {
	if err := checkProject(p); err != nil {
		return err
	}
	return s.write(ctx, func(st *statements) error { return st.insertProject(p) })
}

// RemoveProject implements storage.Admin.
func (s *Store) RemoveProject(ctx context.Context, projectID string) error {
	return s.write(ctx, func(st *statements) error {
		n, err := exec(st.removeProject, projectID)
		if err == nil && n == 0 {
			return notFound("project", projectID)
		}
		return err
	})
}

// Join implements storage.Admin.
func (s *Store) Join(ctx context.Context, projectID, userID string) error {
	return s.write(ctx, func(st *statements) error {
		if _, found, err := nameOf(st.project, projectID); err != nil {
			return err
		} else if !found {
			return notFound("project", projectID)
		}
		if _, found, err := nameOf(st.user, userID); err != nil {
			return err
		} else if !found {
			return notFound("user", userID)
		}
		_, err := exec(st.addMember, projectID, userID)
		return err
	})
}

// Leave implements storage.Admin.
func (s *Store) Leave(ctx context.Context, projectID, userID string) error {
	return s.write(ctx, func(st *statements) error {
		n, err := exec(st.leave, projectID, userID)
		if err == nil && n == 0 {
			return fmt.Errorf("%w: user %q in project %q", storage.ErrNotFound, userID, projectID)
		}
		return err
	})
}

func (s *statements) insertUser(u storage.UserRecord) error {
	if _, err := exec(s.addUser, u.ID, u.Name, u.Credentials.Plain); err != nil {
		if errors.Is(kindOf(err), storage.ErrExists) {
			return exists("user", u.ID)
		}
		return err
	}
	return s.insertKeys(u.ID, u.Credentials.SCRAM)
}

func (s *statements) insertKeys(userID string, keys []storage.SCRAMKeys) error {
	for _, k := range keys {
		if _, err := exec(s.addKeys, userID, k.Mechanism, k.Salt, k.Iterations, k.StoredKey, k.ServerKey); err != nil {
			return err
		}
	}
	return nil
}

// updateUser gives an existing user, whose name was oldName, what is new in u.
func (s *statements) updateUser(oldName string, u storage.UserRecord) error {
	old, err := credentialsOf(s.credentials, u.ID)
	if err != nil {
		return err
	}
	c, replaced := old, 0
	if u.Credentials != nil && !sameCredentials(old, *u.Credentials) {
		c, replaced = *u.Credentials, 1
	}
	if replaced == 0 && u.Name == oldName {
		return nil
	}
	if _, err := exec(s.changeUser, u.Name, c.Plain, replaced, u.ID); err != nil {
		return err
	}
	if replaced == 0 {
		return nil
	}
	if _, err := exec(s.removeKeys, u.ID); err != nil {
		return err
	}
	return s.insertKeys(u.ID, c.SCRAM)
}

func (s *statements) insertProject(p storage.Project) error {
	_, err := exec(s.addProject, p.ID, p.Name)
	if errors.Is(kindOf(err), storage.ErrExists) {
		return exists("project", p.ID)
	}
	return err
}
