package redis

import (
	"fmt"
	"slices"
	"strings"
)

// names are the names of all keys that presence is kept in. docs/redis-keys.md
// describes them.
type names struct {
	online     string // + project: its online set
	state      string // + user: 0..3
	rows       string // + user: connections
	projects   string // + user: what the user is in
	nodesOf    string // + project: nodes with connected users of it
	nodeUsers  string // + node: users with rows of it
	nodeProjs  string // + node: projects whose node set has it
	fence      string // + node
	lease      string // + node
	nodes, rev string
}

func (k Keys) names() names {
	return names{
		online: k.OnlineUsers, state: k.Presence,
		rows: k.Prefix + "sess:", projects: k.Prefix + "user_projs:", nodesOf: k.Prefix + "proj_nodes:",
		nodeUsers: k.Prefix + "nodesess:", nodeProjs: k.Prefix + "nodeprojs:", fence: k.Prefix + "fence:",
		lease: k.Prefix + "node:", nodes: k.Prefix + "nodes", rev: k.Prefix + "rev",
	}
}

// apart refuses names under which one key could be two things.
func (k Keys) apart() error {
	n := k.names()
	families := []string{
		n.online, n.state, n.rows, n.projects, n.nodesOf, n.nodeUsers, n.nodeProjs, n.fence, n.lease,
		k.Prefix + "boot:", k.Prefix + "reap:",
	}
	for i, a := range families[:2] {
		for _, b := range slices.Concat(families[i+1:], []string{n.nodes, n.rev, k.Prefix + "epoch"}) {
			if strings.HasPrefix(b, a) || slices.Contains(families, b) && strings.HasPrefix(a, b) {
				return fmt.Errorf("redis: keys that begin with %q and with %q cannot be told apart", a, b)
			}
		}
	}
	return nil
}
