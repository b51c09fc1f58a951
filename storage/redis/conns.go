package redis

import (
	"context"
	"crypto/tls"
	"net"
	"sync"

	"github.com/redis/go-redis/v9"
)

// conns are the open connections of a client. When another server has become master
// they may lead to the old one, which goes on answering some commands: a message
// published there reaches nobody. They are cut then, for the library keeps them.
type conns struct {
	mu   sync.Mutex
	open map[net.Conn]struct{}
}

func newConns() *conns { return &conns{open: make(map[net.Conn]struct{})} }

// dialer connects as the library would, and remembers what it made.
func (cs *conns) dialer(c Config) func(ctx context.Context, network, addr string) (net.Conn, error) {
	dial := redis.NewDialer(&redis.Options{DialTimeout: c.Timeout, TLSConfig: c.TLS})
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		// The library looks whether an idle connection is alive, if it knows the kind.
		switch conn := conn.(type) {
		case *net.TCPConn:
			return cs.add(&plainConn{conn, cs}), nil
		case *tls.Conn:
			return cs.add(&secureConn{conn, cs}), nil
		default:
			return conn, nil
		}
	}
}

func (cs *conns) add(c net.Conn) net.Conn {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.open[c] = struct{}{}
	return c
}

func (cs *conns) remove(c net.Conn) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	delete(cs.open, c)
}

// cut closes all connections. Commands that wait for an answer fail.
func (cs *conns) cut() {
	cs.mu.Lock()
	open := cs.open
	cs.open = make(map[net.Conn]struct{})
	cs.mu.Unlock()
	for c := range open {
		_ = c.Close() // the library closes it again, and does not mind either
	}
}

type plainConn struct {
	*net.TCPConn
	conns *conns
}

// Close implements net.Conn.
func (c *plainConn) Close() error {
	c.conns.remove(c)
	return c.TCPConn.Close()
}

type secureConn struct {
	*tls.Conn
	conns *conns
}

// Close implements net.Conn.
func (c *secureConn) Close() error {
	c.conns.remove(c)
	return c.Conn.Close()
}
