package redis

import (
	"context"
	_ "embed" // the scripts
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// bootKept is how long the epoch of a node's last process is remembered after its end.
const bootKept = 30 * 24 * time.Hour

var (
	//go:embed take.lua
	takeLua string
	//go:embed look.lua
	lookLua string
	//go:embed leave.lua
	leaveLua string
	//go:embed forget.lua
	forgetLua string
)

// lease is a node's place in Redis: the keys and what is done with them.
type lease struct {
	client redis.UniversalClient
	node   string
	prefix string
	ms     int64 // how long it lasts
	// patience is how long one visit may take.
	patience            time.Duration
	taking, looking     *redis.Script
	leaving, forgetting *redis.Script
}

func newLease(client redis.UniversalClient, c Config) lease {
	return lease{
		client: client, node: c.Node, prefix: c.Keys.Prefix, ms: c.Lease.Milliseconds(), patience: patience(c),
		taking: redis.NewScript(takeLua), looking: redis.NewScript(lookLua),
		leaving: redis.NewScript(leaveLua), forgetting: redis.NewScript(forgetLua),
	}
}

// patience is how long a command may take in all, a dial and a reply, but no longer
// than a caller may wait for storage.ErrUnavailable.
func patience(c Config) time.Duration { return min(2*c.Timeout, 900*time.Millisecond) }

func (l *lease) leaseKey(node string) string { return l.prefix + "node:" + node }
func (l *lease) bootKey(node string) string  { return l.prefix + "boot:" + node }
func (l *lease) reapKey(node string) string  { return l.prefix + "reap:" + node }
func (l *lease) nodesKey() string            { return l.prefix + "nodes" }

func (l *lease) keys() []string {
	return []string{l.leaseKey(l.node), l.bootKey(l.node), l.nodesKey(), l.prefix + "epoch"}
}

// sight is what a look at Redis showed.
type sight struct {
	life     string // changes when the server restarts or another becomes master
	sentinel string // changes when the data are new
	held     uint64 // the own lease before it was renewed; 0: there was none
	nodes    []neighbour
}

// neighbour is what Redis says of a node.
type neighbour struct {
	node      string
	epoch     uint64 // of the process that has the lease; 0: nobody
	boot      uint64 // of the last process; 0: forgotten
	listeners int    // to its channel
	member    bool   // of the set of nodes
}

// look renews the lease and sees who else lives. others are looked at even when the
// set of nodes has forgotten them.
func (l *lease) look(ctx context.Context, epoch uint64, sentinel string, others []string) (sight, error) {
	args := []any{l.node, epoch, l.ms, bootKept.Milliseconds(), sentinel, l.leaseKey(""), l.bootKey(""), busChannel(l.prefix, "")}
	for _, node := range others {
		args = append(args, node)
	}
	var s sight
	reply, err := l.visit(ctx, l.looking, args, &s.life)
	if err != nil {
		return s, err
	}
	return s, s.read(reply)
}

// visit runs a script and finds out which life of which server it ran in. All of it
// goes over one connection, so that it is one server that answers.
func (l *lease) visit(ctx context.Context, script *redis.Script, args []any, life *string) ([]any, error) {
	ctx, cancel := context.WithTimeout(ctx, l.patience)
	defer cancel()
	for try := 0; ; try++ {
		pipe := l.client.Pipeline()
		// The script comes first: the library drops a connection to a replica only
		// for the first error.
		run := script.EvalSha(ctx, pipe, l.keys(), args...)
		server, replication := pipe.Info(ctx, "server"), pipe.Info(ctx, "replication")
		cluster := pipe.Info(ctx, "cluster")
		if _, err := pipe.Exec(ctx); err != nil {
			if redis.HasErrorPrefix(err, "NOSCRIPT") && try == 0 {
				if err := script.Load(ctx, l.client).Err(); err != nil {
					return nil, err
				}
				continue
			}
			// A cluster refuses the script, for keys in several slots.
			if infoField(cluster.Val(), "cluster_enabled") != "1" {
				return nil, err
			}
		}
		if infoField(cluster.Val(), "cluster_enabled") == "1" {
			return nil, errCluster
		}
		if role := infoField(replication.Val(), "role"); role != "master" {
			return nil, fmt.Errorf("the server's role is %q", role)
		}
		*life = infoField(server.Val(), "run_id") + " " + infoField(replication.Val(), "master_replid")
		return run.Slice()
	}
}

var errCluster = errors.New("redis: Redis Cluster is not supported: the keys of one change are in many slots; see docs/redis-keys.md")

// value finds a field in the reply to INFO.
func infoField(info, name string) string {
	for line := range strings.Lines(info) {
		if n, v, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && n == name {
			return v
		}
	}
	return ""
}

func (s *sight) read(reply []any) error {
	words := make([]string, len(reply))
	for i, r := range reply {
		w, ok := r.(string)
		if !ok {
			return fmt.Errorf("redis: unexpected reply of a script: %T", r)
		}
		words[i] = w
	}
	if len(words) < 2 || (len(words)-2)%5 != 0 {
		return fmt.Errorf("redis: unexpected reply of a script: %d words", len(words))
	}
	s.sentinel, s.held = words[0], epochOf(words[1])
	for w := words[2:]; len(w) > 0; w = w[5:] {
		listeners, err := strconv.Atoi(w[3])
		if err != nil {
			return fmt.Errorf("redis: unexpected reply of a script: %w", err)
		}
		s.nodes = append(s.nodes, neighbour{
			node: w[0], epoch: epochOf(w[1]), boot: epochOf(w[2]), listeners: listeners, member: w[4] == "1",
		})
	}
	return nil
}

// epochOf reads an epoch; 0 is none, or something that nobody here has written.
func epochOf(s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// take gets the lease: of nobody, or of the process whose epoch is given. It returns
// the epoch, or the epoch that stands in the way and false.
func (l *lease) take(ctx context.Context, now time.Time, sentinel string, of uint64) (epoch uint64, s sight, ok bool, err error) {
	over := ""
	if of > 0 {
		over = strconv.FormatUint(of, 10)
	}
	args := []any{l.node, now.UnixMicro(), l.ms, bootKept.Milliseconds(), sentinel, over}
	reply, err := l.visit(ctx, l.taking, args, &s.life)
	if err != nil {
		return 0, s, false, err
	}
	if len(reply) == 0 {
		return 0, s, false, errors.New("redis: unexpected reply of a script: nothing")
	}
	text, _ := reply[0].(string) // no epoch is 0, which nobody has
	if len(reply) < 2 {          // a false ends the reply
		return epochOf(text), s, false, nil
	}
	s.sentinel, _ = reply[1].(string) // it is compared only
	return epochOf(text), s, true, nil
}

// listeners says how many processes listen on a node's channel.
func (l *lease) listeners(ctx context.Context, node string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, l.patience)
	defer cancel()
	channel := busChannel(l.prefix, node)
	n, err := l.client.PubSubNumSub(ctx, channel).Result()
	return int(n[channel]), err
}

// leave gives the lease back.
func (l *lease) leave(ctx context.Context, epoch uint64) error {
	ctx, cancel := context.WithTimeout(ctx, l.patience)
	defer cancel()
	return l.leaving.Run(ctx, l.client, []string{l.leaseKey(l.node), l.nodesKey()}, l.node, epoch).Err()
}

// reaper asks for the right to remove what a dead node left. One node at a time has it,
// and nobody when that is done.
func (l *lease) reaper(ctx context.Context, node string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, l.patience)
	defer cancel()
	set, err := l.client.SetNX(ctx, l.reapKey(node), l.node, time.Duration(l.ms)*time.Millisecond).Result()
	if err != nil || !set {
		return false, err
	}
	member, err := l.client.SIsMember(ctx, l.nodesKey(), node).Result()
	if err != nil || member {
		return member, err
	}
	return false, l.client.Del(ctx, l.reapKey(node)).Err()
}

// reaped gives that right back; the node is forgotten when all of it was removed.
func (l *lease) reaped(ctx context.Context, node string, epoch uint64, all bool) error {
	ctx, cancel := context.WithTimeout(ctx, l.patience)
	defer cancel()
	var err error
	if all {
		keys := []string{l.leaseKey(node), l.nodesKey(), l.bootKey(node)}
		err = l.forgetting.Run(ctx, l.client, keys, node, epoch).Err()
	}
	return errors.Join(err, l.client.Del(ctx, l.reapKey(node)).Err())
}
