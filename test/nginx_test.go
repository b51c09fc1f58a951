//go:build clients

package test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/coder/websocket"

	"rollcall/conf"
	"rollcall/internal/redistest"
)

// The lines of deploy/nginx/rollcall.conf that everybody has to change, as its
// comments say. Nothing else of it is changed here.
const (
	nginxListen = "\n    listen 80; "
	nginxNode   = "\n    server 127.0.0.1:5280 max_fails=0; "
)

// nginxMain is what Debian's nginx.conf has, as far as it matters.
const nginxMain = `daemon off;
worker_processes 2;
pid %[1]s/nginx.pid;
error_log stderr notice;
%[2]s
events { worker_connections 1024; }
http {
	access_log off;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	include %[1]s/rollcall.conf;
}
`

// nginxFiles writes a configuration of nginx that includes ours, and returns its
// folder.
func nginxFiles(t *testing.T, listen net.Addr, nodes []net.Addr) string {
	t.Helper()
	raw, err := os.ReadFile("../deploy/nginx/rollcall.conf")
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	var servers strings.Builder
	for _, node := range nodes {
		fmt.Fprintf(&servers, "\n    server %s max_fails=0; ", node)
	}
	for _, change := range []struct{ line, by string }{
		{nginxListen, fmt.Sprintf("\n    listen %s; ", listen)}, {nginxNode, servers.String()},
	} {
		if n := strings.Count(text, change.line); n != 1 {
			t.Fatalf("rollcall.conf has %d lines %q, want 1", n, change.line)
		}
		text = strings.Replace(text, change.line, change.by, 1)
	}
	dir := t.TempDir()
	// The workers run as somebody else if nginx is started by root.
	as := ""
	if os.Getuid() == 0 {
		u, err := user.Current()
		if err != nil {
			t.Fatal(err)
		}
		as = "user " + u.Username + " " + u.Username + ";"
	}
	for name, content := range map[string]string{"rollcall.conf": text, "nginx.conf": fmt.Sprintf(nginxMain, dir, as)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func nginxCommand(ctx context.Context, dir string, args ...string) *exec.Cmd {
	args = append([]string{"-p", dir, "-c", filepath.Join(dir, "nginx.conf"), "-e", "stderr"}, args...)
	path, err := exec.LookPath("nginx")
	if err != nil {
		path = "/usr/sbin/nginx" // not in everybody's PATH
	}
	return exec.CommandContext(ctx, path, args...)
}

// startNginx starts the real nginx with deploy/nginx/rollcall.conf in front of nodes,
// and returns its URL.
func startNginx(t *testing.T, nodes ...net.Addr) string {
	t.Helper()
	// nginx takes over sockets that are open already, as when its binary is
	// replaced. So the port is certainly free, and nobody has to wait for it.
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	socket, err := ln.File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	// The context of the test ends before its cleanup.
	cmd := nginxCommand(context.Background(), nginxFiles(t, ln.Addr(), nodes))
	cmd.ExtraFiles = []*os.File{socket}
	cmd.Env = append(os.Environ(), "NGINX=3;")
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// Handing it over has made it a blocking one, in which a worker of nginx would
	// wait for a connection that another worker has taken.
	if err := syscall.SetNonblock(int(socket.Fd()), true); err != nil {
		t.Error(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Errorf("stopping nginx: %v", err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("nginx: %v", err)
		}
	})
	return "http://" + ln.Addr().String()
}

// TestNginxConfiguration is nginx's own opinion of the file.
func TestNginxConfiguration(t *testing.T) {
	some := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}
	ln, err := net.ListenTCP("tcp", some)
	if err != nil {
		t.Fatal(err)
	}
	listen := ln.Addr()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	nodes := []net.Addr{&net.TCPAddr{IP: some.IP, Port: 1}, &net.TCPAddr{IP: some.IP, Port: 2}}
	out, err := nginxCommand(t.Context(), nginxFiles(t, listen, nodes), "-t").CombinedOutput()
	if err != nil || strings.Contains(string(out), "[warn]") {
		t.Errorf("nginx -t: %v\n%s", err, out)
	}
}

// behindNginx is how rollcall.conf wants a node to be.
func behindNginx(c *conf.Config) {
	c.Listen.HTTP[0].TrustedProxies = []string{"127.0.0.1"}
}

// TestNginxLargeRequests shows that rollcall sees whatever it would take, and that
// nginx keeps the rest away.
func TestNginxLargeRequests(t *testing.T) {
	n := startNode(t)
	url := startNginx(t, n.http())
	for size, want := range map[int]int{1: http.StatusOK, 1_200_000: http.StatusOK, 3_000_000: http.StatusRequestEntityTooLarge} {
		body := "<body xmlns='http://jabber.org/protocol/httpbind' sid='unknown' rid='1'>" + strings.Repeat(" ", size) + "</body>"
		resp, err := http.Post(url+"/http-bind", "text/xml", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Error(err)
		}
		if resp.StatusCode != want {
			t.Errorf("%d bytes: status %d, want %d", size, resp.StatusCode, want)
		}
	}
}

// TestNginxStrophe is what TestStrophe is, through nginx.
func TestNginxStrophe(t *testing.T) {
	t.Parallel()
	a := startForClients(t, behindNginx)
	_, http := a.Addresses()
	strophe(t, startNginx(t, http[0]))
}

// TestNginxStropheNodes is strophe.js with two servers on one Redis behind nginx: its
// pages are on both.
func TestNginxStropheNodes(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	onRedis := func(name string) func(*conf.Config) {
		return func(c *conf.Config) {
			c.Storage.Presence, c.Storage.Redis.Addresses, c.Cluster.Node = conf.PresenceRedis, []string{redis.Addr()}, name
		}
	}
	_, first := startForClients(t, behindNginx, onRedis("one")).Addresses()
	_, second := startForClients(t, behindNginx, onRedis("two")).Addresses()
	strophe(t, startNginx(t, first[0], second[0]))
}

// TestNginxReload is what TestStropheReload is, through nginx.
func TestNginxReload(t *testing.T) {
	t.Parallel()
	a := startForClients(t, behindNginx)
	_, http := a.Addresses()
	reload(t, startNginx(t, http[0]))
}

// TestNginxStropheWebSocket is strophe.js over WebSocket, through nginx.
func TestNginxStropheWebSocket(t *testing.T) {
	t.Parallel()
	a := startForClients(t, behindNginx, func(c *conf.Config) {
		c.Listen.HTTP[0].WebSocket = true
		c.WebSocket.Origins = []string{"*"} // the page comes from elsewhere
	})
	_, http := a.Addresses()
	strophe(t, strings.Replace(startNginx(t, http[0]), "http", "ws", 1), "--path", "/xmpp-websocket")
}

// TestNginxWeb is what web clients need beside BOSH: the way to it (XEP-0156), and
// WebSocket for pages of the same site only.
func TestNginxWeb(t *testing.T) {
	n := startNode(t)
	url := startNginx(t, n.http())
	socket := strings.Replace(url, "http", "ws", 1) + "/xmpp-websocket"

	for _, name := range []string{"host-meta", "host-meta.json"} {
		resp, err := http.Get(url + "/.well-known/" + name)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err := errors.Join(err, resp.Body.Close()); err != nil {
			t.Fatal(err)
		}
		// What the client used, not what nginx did.
		for _, address := range []string{url + "/http-bind", socket} {
			if resp.StatusCode != http.StatusOK || !strings.Contains(string(body), address) {
				t.Errorf("%s: %s, want %s in it:\n%s", name, resp.Status, address, body)
			}
		}
	}

	for origin, want := range map[string]int{"": http.StatusSwitchingProtocols, url: http.StatusSwitchingProtocols, "https://elsewhere.example": http.StatusForbidden} {
		head := http.Header{}
		if origin != "" {
			head.Set("Origin", origin)
		}
		// Somebody who would like to be taken for somebody else.
		head.Set("X-Forwarded-Host", "elsewhere.example")
		head.Set("X-Forwarded-Proto", "https")
		conn, resp, err := websocket.Dial(t.Context(), socket, &websocket.DialOptions{
			HTTPHeader: head, Subprotocols: []string{"xmpp"},
		})
		if resp == nil || resp.StatusCode != want {
			t.Errorf("WebSocket from %q: %v (%v), want status %d", origin, resp, err, want)
		}
		if err == nil {
			if err := conn.CloseNow(); err != nil {
				t.Error(err)
			}
		}
	}
}
