package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"rollcall/cmd/rollcall/app"
	"rollcall/conf"
	"rollcall/storage"
	"rollcall/storage/sqlite"
)

// withStore runs a command on the embedded store of a configuration. The server
// may be running: it sees what changes.
func withStore(path *string, f func(ctx context.Context, cmd *cobra.Command, c *conf.Config, s *sqlite.Store, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) (err error) {
		c, err := loadConfig(*path)
		if err != nil {
			return err
		}
		s, err := app.OpenStore(cmd.Context(), c, newLog(stderr(), conf.Log{Level: conf.LogWarn}))
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.Close()) }()
		return f(cmd.Context(), cmd, c, s, args)
	}
}

func userCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "user", Short: "Manage users of the embedded store, also while the server runs"}
	path := configFlag(cmd)
	var name string
	add := &cobra.Command{
		Use: "add ID", Short: "Add a user; the password is read from the terminal or standard input", Args: cobra.ExactArgs(1),
		RunE: withStore(path, func(ctx context.Context, cmd *cobra.Command, c *conf.Config, s *sqlite.Store, args []string) error {
			credentials, err := askCredentials(cmd, c)
			if err != nil {
				return err
			}
			return s.AddUser(ctx, storage.UserRecord{User: storage.User{ID: args[0], Name: name}, Credentials: &credentials})
		}),
	}
	add.Flags().StringVar(&name, "name", "", "the name others see")
	cmd.AddCommand(add, &cobra.Command{
		Use: "passwd ID", Short: "Set a user's password", Args: cobra.ExactArgs(1),
		RunE: withStore(path, func(ctx context.Context, cmd *cobra.Command, c *conf.Config, s *sqlite.Store, args []string) error {
			credentials, err := askCredentials(cmd, c)
			if err != nil {
				return err
			}
			return s.SetCredentials(ctx, args[0], credentials)
		}),
	}, &cobra.Command{
		Use: "remove ID", Short: "Remove a user; their connections are closed", Args: cobra.ExactArgs(1),
		RunE: withStore(path, func(ctx context.Context, _ *cobra.Command, _ *conf.Config, s *sqlite.Store, args []string) error {
			return s.RemoveUser(ctx, args[0])
		}),
	}, &cobra.Command{
		Use: "list", Short: "List the users", Args: cobra.NoArgs,
		RunE: withStore(path, func(ctx context.Context, cmd *cobra.Command, _ *conf.Config, s *sqlite.Store, _ []string) error {
			users, err := s.Users(ctx)
			if err != nil {
				return err
			}
			return table(cmd.OutOrStdout(), len(users), func(i int) (string, string) { return users[i].ID, users[i].Name })
		}),
	})
	return cmd
}

func projectCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "project", Short: "Manage projects, also while the server runs"}
	path := configFlag(cmd)
	var name string
	add := &cobra.Command{
		Use: "add ID", Short: "Add a project", Args: cobra.ExactArgs(1),
		RunE: withStore(path, func(ctx context.Context, _ *cobra.Command, _ *conf.Config, s *sqlite.Store, args []string) error {
			return s.AddProject(ctx, storage.Project{ID: args[0], Name: name})
		}),
	}
	add.Flags().StringVar(&name, "name", "", "the name members see")
	cmd.AddCommand(add, &cobra.Command{
		Use: "remove ID", Short: "Remove a project", Args: cobra.ExactArgs(1),
		RunE: withStore(path, func(ctx context.Context, _ *cobra.Command, _ *conf.Config, s *sqlite.Store, args []string) error {
			return s.RemoveProject(ctx, args[0])
		}),
	}, &cobra.Command{
		Use: "list", Short: "List the projects and their members", Args: cobra.NoArgs,
		RunE: withStore(path, listProjects),
	}, &cobra.Command{
		Use: "join PROJECT USER", Short: "Make a user a member", Args: cobra.ExactArgs(2),
		RunE: withStore(path, func(ctx context.Context, _ *cobra.Command, _ *conf.Config, s *sqlite.Store, args []string) error {
			return s.Join(ctx, args[0], args[1])
		}),
	}, &cobra.Command{
		Use: "leave PROJECT USER", Short: "End a membership", Args: cobra.ExactArgs(2),
		RunE: withStore(path, func(ctx context.Context, _ *cobra.Command, _ *conf.Config, s *sqlite.Store, args []string) error {
			return s.Leave(ctx, args[0], args[1])
		}),
	}, changedCommand(path))
	return cmd
}

// changedCommand is for users and projects that belong to the product.
func changedCommand(path *string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "changed ID...",
		Short: "Tell the servers that projects of your product have changed",
		Long: `Tells every server that runs with this configuration that the name or the members
of projects have changed in your product's MongoDB, so that nobody waits until
storage.mongo.watch looks there again. ID is what stands before the @ in the
project's address.

With storage.presence: redis all servers on that Redis are told, from wherever
this runs. Otherwise it has to run on the server's own machine, as its own user.
Servers notice what changes in the embedded store by themselves.`,
	}
	all := cmd.Flags().Bool("all", false, "any project may have changed, or any user")
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if *all {
			return cobra.NoArgs(cmd, args)
		}
		return cobra.MinimumNArgs(1)(cmd, args)
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := loadConfig(*path)
		if err != nil {
			return err
		}
		if *all {
			args = []string{""}
		}
		said, err := app.ProjectsChanged(cmd.Context(), c, os.Getenv, args)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), said)
		return err
	}
	return cmd
}

func listProjects(ctx context.Context, cmd *cobra.Command, _ *conf.Config, s *sqlite.Store, _ []string) error {
	projects, err := s.Projects(ctx)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	for _, p := range projects {
		members, err := s.Members(ctx, p.ID)
		if err != nil {
			return err
		}
		ids := make([]string, len(members))
		for i, u := range members {
			ids[i] = u.ID
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", p.ID, p.Name, strings.Join(ids, " "))
	}
	return w.Flush()
}

func table(out io.Writer, n int, row func(int) (string, string)) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for i := range n {
		a, b := row(i)
		fmt.Fprintf(w, "%s\t%s\n", a, b)
	}
	return w.Flush()
}

// askCredentials reads a password and derives what the store keeps of it.
func askCredentials(cmd *cobra.Command, c *conf.Config) (storage.Credentials, error) {
	password, err := askPassword(cmd)
	if err != nil {
		return storage.Credentials{}, err
	}
	return app.Credentials(c, password)
}

// askPassword reads a password: twice without echo from a terminal, or one line
// of standard input.
func askPassword(cmd *cobra.Command) (string, error) {
	in, ok := cmd.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		line, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", err
		}
		if line = strings.TrimRight(line, "\r\n"); line == "" {
			return "", errors.New("standard input holds no password")
		}
		return line, nil
	}
	var answers [2]string
	for i, prompt := range []string{"Password: ", "Again: "} {
		fmt.Fprint(stderr(), prompt)
		b, err := term.ReadPassword(int(in.Fd()))
		fmt.Fprintln(stderr())
		if err != nil {
			return "", err
		}
		answers[i] = string(b)
	}
	if answers[0] != answers[1] {
		return "", errors.New("the passwords differ")
	}
	return answers[0], nil
}
