package tsung

import (
	"context"
	"fmt"
	"io"
	"iter"
	"net"
	"os"
	"strconv"
	"strings"

	"rollcall/storage"
	"rollcall/test/performance/subject"
)

// profile is the bench profile, as seen from this package's folder.
const profile = "../../deploy/tsung/rollcall.yml"

// bench starts a server with the bench profile on free ports, which serves the hosts and
// has the users.
func bench(ctx context.Context, program string, hosts []string, users iter.Seq2[storage.User, storage.Credentials], log io.Writer) (*subject.Server, error) {
	data, err := os.ReadFile(profile)
	if err != nil {
		return nil, err
	}
	return subject.Start(ctx, program, subject.Options{
		People: users, Log: log,
		Config: func(dir, network string) string {
			replaced := []string{
				"hosts: [localhost]", "hosts: [" + strings.Join(hosts, ", ") + "]",
				"data_dir: data", "data_dir: " + dir,
			}
			for i, port := range []int{5222, 5280, 9280, 6060} {
				replaced = append(replaced, fmt.Sprintf("127.0.0.1:%d", port), fmt.Sprintf("%s%d:0", network, i+1))
			}
			return strings.NewReplacer(replaced...).Replace(string(data))
		},
	})
}

// numbered are users as tsung names them: a prefix and a number from 1 on, for the
// password as well.
func numbered(user, password string, count int) iter.Seq2[storage.User, storage.Credentials] {
	return func(yield func(storage.User, storage.Credentials) bool) {
		for i := 1; i <= count; i++ {
			n := strconv.Itoa(i)
			if !yield(storage.User{ID: user + n}, storage.Credentials{Plain: password + n}) {
				return
			}
		}
	}
}

// split takes an address apart.
func split(address string) (host string, port int, err error) {
	host, p, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	port, err = strconv.Atoi(p)
	return host, port, err
}
