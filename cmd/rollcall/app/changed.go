package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"rollcall/conf"
	"rollcall/storage"
	"rollcall/storage/redis"
)

// doorFile is the socket by which commands on this machine reach a server that has no
// Redis. Who may open the data folder may use it.
const doorFile = "control.sock"

// changedPath is where the door takes projects that changed.
const changedPath = "/projects/changed"

// doorTime bounds one request at the door.
const doorTime = 30 * time.Second

// doorBytes bounds its size.
const doorBytes = 1 << 20

// hearChanges lets the product, or `rollcall project changed`, say which projects
// changed, so that nobody waits for the next look at MongoDB. The embedded store needs
// nothing of the kind.
func (a *App) hearChanges() error {
	switch {
	case a.stores.mongo == nil:
		return nil
	case a.stores.redis != nil:
		a.background("listening for projects that changed", func() error {
			return a.stores.redis.Announcements(a.stopping, func(project string) {
				err := a.changed(a.stopping, project)
				if err != nil && !errors.Is(err, storage.ErrNotFound) && a.stopping.Err() == nil {
					a.o.Log.Warn("a project changed, and cannot be read", "project", project, "err", err)
				}
			})
		})
		return nil
	}
	return a.openDoor()
}

// changed is told which project changed, or "" for any.
func (a *App) changed(ctx context.Context, project string) error {
	if project == "" {
		return a.stores.mongo.Refresh(ctx)
	}
	return a.stores.mongo.Changed(ctx, project)
}

func doorPath(c *conf.Config) string { return filepath.Join(c.DataDir, doorFile) }

// openDoor listens on the socket until the server stops.
func (a *App) openDoor() error {
	path := doorPath(a.o.Config)
	if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
		return errors.Join(fmt.Errorf("another server uses the folder %s", a.o.Config.DataDir), conn.Close())
	}
	// What a killed server left behind.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		// The paths of sockets are short on some systems: not worth refusing to serve.
		a.o.Log.Warn("`rollcall project changed` cannot reach this server", "err", err)
		return nil
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return errors.Join(err, ln.Close())
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+changedPath, a.takeChanged)
	srv := &http.Server{Handler: mux, ReadTimeout: doorTime, WriteTimeout: doorTime}
	a.closers = append(a.closers, closer{close: func(ctx context.Context) error {
		// Closes the listener, which removes the socket.
		return srv.Shutdown(ctx)
	}})
	a.background("serving "+path, func() error {
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	return nil
}

// takeChanged answers a form with any number of projects.
func (a *App) takeChanged(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, doorBytes)
	if err := r.ParseForm(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	for _, project := range r.PostForm["project"] {
		if err := a.changed(r.Context(), project); err != nil {
			code := http.StatusServiceUnavailable
			if errors.Is(err, storage.ErrNotFound) {
				code = http.StatusNotFound
			}
			http.Error(w, fmt.Sprintf("project %q: %v", project, err), code)
			return
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

// ProjectsChanged tells the servers that run with a configuration which projects
// changed, "" standing for any, and returns a sentence about it.
func ProjectsChanged(ctx context.Context, c *conf.Config, getenv func(string) string, projects []string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, doorTime)
	defer cancel()
	switch {
	case c.Storage.Users == conf.UsersSQLite:
		return "servers notice what changes in the embedded store by themselves", nil
	case c.Storage.Presence == conf.PresenceRedis:
		return announce(ctx, Options{Config: c, Getenv: getenv}, projects)
	}
	return "told the server", knock(ctx, doorPath(c), projects)
}

// announce tells all servers through Redis.
func announce(ctx context.Context, o Options, projects []string) (string, error) {
	c, err := redisConfig(o)
	if err != nil {
		return "", err
	}
	at := strings.Join(c.Addresses, ", ")
	n, err := redis.Announce(ctx, c, projects...)
	switch {
	case err != nil:
		return "", fmt.Errorf("redis at %s: %w", at, err)
	case n == 0:
		return "", fmt.Errorf("no server listens on the redis at %s", at)
	case n == 1:
		return "told 1 server", nil
	}
	return fmt.Sprintf("told %d servers", n), nil
}

// knock tells the server that has a door.
func knock(ctx context.Context, path string, projects []string) (err error) {
	client := http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
		DisableKeepAlives: true,
	}}
	form := url.Values{"project": projects}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://door"+changedPath, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := client.Do(r)
	if err != nil {
		return fmt.Errorf("no server runs here with this configuration: %w", err)
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	if resp.StatusCode == http.StatusNoContent {
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if err != nil {
		return err
	}
	return fmt.Errorf("the server says: %s", strings.TrimSpace(string(text)))
}
