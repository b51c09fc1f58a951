package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"rollcall/cmd/rollcall/app"
	"rollcall/conf"
	"rollcall/internal/auth"
	"rollcall/storage"
	"rollcall/storage/importfile"
	"rollcall/storage/sqlite"
)

func importCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Add or update users and projects from a JSON file: all of it, or nothing",
		Long: `Adds or updates the users and projects that a JSON file lists:

  {"users":    [{"id": "alice", "name": "Alice", "password": "secret"}],
   "projects": [{"id": "p1", "name": "Apollo", "members": ["alice"]}]}

A project's members become exactly those listed. Users and projects that the
file does not name stay as they are; a user without a password keeps the old
one. Importing a file twice changes nothing. The server may be running.`,
		Args: cobra.ExactArgs(1),
	}
	path := configFlag(cmd)
	cmd.RunE = withStore(path, func(ctx context.Context, cmd *cobra.Command, c *conf.Config, s *sqlite.Store, args []string) error {
		file, err := readImport(ctx, args[0], s)
		if err != nil {
			return err
		}
		records, err := importRecords(ctx, file, c, s)
		if err != nil {
			return err
		}
		if err := s.Import(ctx, records); err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d users, %d projects\n", len(file.Users), len(file.Projects))
		return err
	})
	return cmd
}

// readImport reads the file and holds it against the store; every problem is
// reported.
func readImport(ctx context.Context, name string, s *sqlite.Store) (importfile.File, error) {
	f, err := os.Open(name)
	if err != nil {
		return importfile.File{}, err
	}
	defer f.Close()
	file, problems, err := importfile.Read(name, f)
	if err != nil {
		return file, err
	}
	stored, err := s.Users(ctx)
	if err != nil {
		return file, err
	}
	known := make(map[string]bool, len(stored)+len(file.Users))
	for _, u := range stored {
		known[u.ID] = true
	}
	for _, u := range file.Users {
		if u.Password == nil && !known[u.ID] {
			problems.Add(u.Place, "user %q is new and has no password", u.ID)
		}
	}
	for _, u := range file.Users {
		known[u.ID] = true
	}
	for _, p := range file.Projects {
		for _, m := range p.Members {
			if !known[m.ID] {
				problems.Add(m.Place, "member %q is no user", m.ID)
			}
		}
	}
	return file, problems.Err()
}

// importRecords turns the file into records; deriving keys uses every processor.
func importRecords(ctx context.Context, file importfile.File, c *conf.Config, s *sqlite.Store) ([]storage.Record, error) {
	records := make([]storage.Record, len(file.Users), len(file.Users)+len(file.Projects))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, u := range file.Users {
		g.Go(func() error {
			credentials, err := newCredentials(ctx, u, c, s)
			if err != nil {
				return fmt.Errorf("user %s at line %d: %w", u.ID, u.Line, err)
			}
			records[i].User = &storage.UserRecord{
				User: storage.User{ID: u.ID, Name: u.Name}, Credentials: credentials,
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for _, p := range file.Projects {
		r := &storage.ProjectRecord{Project: storage.Project{ID: p.ID, Name: p.Name}}
		for _, m := range p.Members {
			r.Members = append(r.Members, m.ID)
		}
		records = append(records, storage.Record{Project: r})
	}
	return records, nil
}

// newCredentials are nil when the user's password stays what it is.
func newCredentials(ctx context.Context, u importfile.User, c *conf.Config, s *sqlite.Store) (*storage.Credentials, error) {
	if u.Password == nil {
		return nil, nil
	}
	had, err := s.Credentials(ctx, u.ID)
	switch {
	case err == nil && auth.Verify(had, *u.Password):
		return nil, nil
	case err != nil && !errors.Is(err, storage.ErrNotFound):
		return nil, err
	}
	made, err := app.Credentials(c, *u.Password)
	return &made, err
}
