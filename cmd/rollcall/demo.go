package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"rollcall/cmd/rollcall/app"
	"rollcall/cmd/rollcall/demo"
	"rollcall/conf"
	"rollcall/internal/auth"
	"rollcall/storage"
)

// demoPassword is every demo user's.
const demoPassword = "rollcall"

// demoPeople are the users of the demo and their projects.
var demoPeople = struct {
	users    []storage.User
	projects []storage.ProjectRecord
}{
	users: []storage.User{{ID: "alice", Name: "Alice Moreau"}, {ID: "bob", Name: "Bob Tanaka"}, {ID: "carol", Name: "Carol Osei"}},
	projects: []storage.ProjectRecord{
		{Project: storage.Project{ID: "apollo", Name: "Apollo"}, Members: []string{"alice", "bob"}},
		{Project: storage.Project{ID: "borealis", Name: "Borealis"}, Members: []string{"bob", "carol"}},
	},
}

func demoCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run a server with demo users on this machine, with nothing to install",
		Long: "Starts a server on loopback with embedded stores in a scratch folder, three users\n" +
			"in two projects, and a web page to try it with.",
		Args: cobra.NoArgs,
	}
	httpPort := cmd.Flags().Int("http", 5280, "port of the page, of BOSH and of WebSocket; 0 for any free one")
	tcpPort := cmd.Flags().Int("tcp", 5222, "port of XMPP over TCP; 0 for any free one")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return runDemo(cmd.Context(), cmd.OutOrStdout(), *httpPort, *tcpPort)
	}
	return cmd
}

func runDemo(ctx context.Context, out io.Writer, httpPort, tcpPort int) (err error) {
	dir, err := os.MkdirTemp("", "rollcall-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	c := conf.Default()
	c.DataDir = dir
	c.Log.Level = conf.LogWarn
	c.Listen.TCP = []conf.TCPListener{{Address: fmt.Sprintf("127.0.0.1:%d", tcpPort), TLS: conf.TLSStartTLS, RequireTLS: true}}
	c.Listen.HTTP = []conf.HTTPListener{{Address: fmt.Sprintf("127.0.0.1:%d", httpPort), TLS: conf.TLSNone, BOSH: true, WebSocket: true, HostMeta: true, Demo: true}}
	c.Listen.Metrics = "127.0.0.1:0"
	log := newLog(stderr(), c.Log)
	app.SetUp(c, os.Getenv, log)
	var users []demo.User
	for _, u := range demoPeople.users {
		users = append(users, demo.User{ID: u.ID, Name: u.Name, Password: demoPassword})
	}
	a, err := app.Start(ctx, app.Options{Config: c, Log: log, Users: users})
	if err != nil {
		return err
	}
	if err := fillDemo(ctx, a.Store(), c.Auth.SCRAMIterations); err != nil {
		return errors.Join(err, a.Shutdown(ctx))
	}
	if err := describeDemo(out, a, dir); err != nil {
		return errors.Join(err, a.Shutdown(ctx))
	}
	return a.Run(ctx)
}

func fillDemo(ctx context.Context, store storage.Admin, iterations int) error {
	var records []storage.Record
	for _, u := range demoPeople.users {
		c, err := auth.NewCredentials(demoPassword, iterations)
		if err != nil {
			return err
		}
		records = append(records, storage.Record{User: &storage.UserRecord{User: u, Credentials: &c}})
	}
	for i := range demoPeople.projects {
		records = append(records, storage.Record{Project: &demoPeople.projects[i]})
	}
	return store.Import(ctx, records)
}

func describeDemo(out io.Writer, a *app.App, dir string) error {
	tcp, http := a.Addresses()
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "rollcall is running. Open this page in two tabs, as two users:\n\n")
	for _, u := range demoPeople.users {
		fmt.Fprintf(w, "  http://%s/?user=%s\t%s\n", http[0], u.ID, u.Name)
	}
	fmt.Fprintf(w, "\nOr bring your own client; every password is %q:\n\n", demoPassword)
	for _, u := range demoPeople.users {
		fmt.Fprintf(w, "  %s@localhost\t%s\n", u.ID, u.Name)
	}
	fmt.Fprintf(w, "\n  XMPP over TCP, STARTTLS\t%s\n", tcp[0])
	fmt.Fprintf(w, "  BOSH\thttp://%s/http-bind\n", http[0])
	fmt.Fprintf(w, "  WebSocket\tws://%s/xmpp-websocket\n", http[0])
	fmt.Fprintf(w, "  Metrics\thttp://%s/metrics\n", a.MetricsAddress())
	fmt.Fprintf(w, "  Data (removed at the end)\t%s\n\n", dir)
	for _, p := range demoPeople.projects {
		fmt.Fprintf(w, "  project %s\t%v\n", p.Name, p.Members)
	}
	fmt.Fprintf(w, "\nCtrl-C ends it.\n")
	return w.Flush()
}
