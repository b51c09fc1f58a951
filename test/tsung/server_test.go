//go:build clients

package tsung

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"rollcall/storage"
	"rollcall/test/performance/subject"
)

// profile is the bench profile, as seen from this package's folder.
const profile = "../../deploy/tsung/rollcall.yml"

// bench starts a server with the bench profile on free ports, which serves the host and
// has the users and projects.
func bench(ctx context.Context, program, host string, records []storage.Record, level string, log io.Writer) (*subject.Server, error) {
	data, err := os.ReadFile(profile)
	if err != nil {
		return nil, err
	}
	return subject.Start(ctx, program, subject.Options{
		Records: records, Log: log,
		Config: func(dir, network string) string {
			replaced := []string{"hosts: [localhost]", "hosts: [" + host + "]", "data_dir: data", "data_dir: " + dir,
				"level: warn", "level: " + level}
			for i, port := range []int{5222, 5280, 9280, 6060} {
				replaced = append(replaced, fmt.Sprintf("127.0.0.1:%d", port), fmt.Sprintf("%s%d:0", network, i+1))
			}
			return strings.NewReplacer(replaced...).Replace(string(data))
		},
	})
}

// numbered are users as tsung names them: a prefix and a number from 1 on, for the
// password as well. Each of them share a project, unless that is 0.
func numbered(user, password string, count, each int) (records []storage.Record) {
	for i := 1; i <= count; i++ {
		n := strconv.Itoa(i)
		records = append(records, storage.Record{User: &storage.UserRecord{
			User: storage.User{ID: user + n}, Credentials: &storage.Credentials{Plain: password + n},
		}})
	}
	for i := 1; each > 0 && i <= count; i += each {
		p := &storage.ProjectRecord{Project: storage.Project{ID: "p" + strconv.Itoa(i)}}
		for k := i; k < i+each && k <= count; k++ {
			p.Members = append(p.Members, user+strconv.Itoa(k))
		}
		records = append(records, storage.Record{Project: p})
	}
	return records
}

// split takes an address apart.
func split(address string) (p Place, err error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return Place{}, err
	}
	p.Host = host
	p.Port, err = strconv.Atoi(port)
	return p, err
}

// watch looks at what the server takes from the machine while it runs.
type watch struct {
	srv   *subject.Server
	begin subject.Usage
	quit  chan struct{}
	ended chan struct{}
	most  uint64 // RSS
	err   error
}

func startWatch(srv *subject.Server) (*watch, error) {
	u, err := srv.Usage()
	if err != nil {
		return nil, err
	}
	w := &watch{srv: srv, begin: u, most: u.RSS, quit: make(chan struct{}), ended: make(chan struct{})}
	go w.run()
	return w, nil
}

func (w *watch) run() {
	defer close(w.ended)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-w.quit:
			return
		case <-tick.C:
		}
		u, err := w.srv.Usage()
		if err != nil {
			w.err = err
			return
		}
		w.most = max(w.most, u.RSS)
	}
}

// stop returns the processor time since the beginning, and the most memory in bytes.
func (w *watch) stop() (cpu time.Duration, rss uint64, err error) {
	close(w.quit)
	<-w.ended
	u, err := w.srv.Usage()
	if w.err != nil {
		err = w.err
	}
	return u.CPU - w.begin.CPU, max(w.most, u.RSS), err
}
