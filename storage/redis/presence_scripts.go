package redis

import (
	"context"
	_ "embed" // the scripts
	"errors"

	"github.com/redis/go-redis/v9"
)

// Each event is one script, so that nobody ever reads half of it. Project keys are
// computed inside, which is why Redis Cluster cannot run them.
var (
	//go:embed aggregate.lua
	aggregateLua string
	//go:embed assert.lua
	assertLua string
	//go:embed interest.lua
	interestLua string
	//go:embed fence.lua
	fenceLua string
	//go:embed bury.lua
	buryLua string
	//go:embed online.lua
	onlineLua string
	//go:embed user.lua
	userLua string
	//go:embed members.lua
	membersLua string
	//go:embed nodes.lua
	nodesLua string
)

// scripts are what presence runs in Redis.
type scripts struct {
	assert, interest, fence, bury, online, user, members, nodes script
}

// script is what redis.Script is, which cannot be loaded within a pipeline: it takes
// the hash from the answer that is not there yet.
type script struct{ source, hash string }

func newScript(source string) script {
	return script{source, redis.NewScript(source).Hash()}
}

func newScripts() scripts {
	return scripts{
		assert:   newScript(aggregateLua + assertLua),
		interest: newScript(interestLua),
		fence:    newScript(fenceLua),
		bury:     newScript(buryLua),
		online:   newScript(onlineLua),
		user:     newScript(aggregateLua + userLua),
		members:  newScript(aggregateLua + membersLua),
		nodes:    newScript(nodesLua),
	}
}

// evaluation is one run of a script.
type evaluation struct {
	script script
	keys   []string
	args   []any
}

// pipeline runs scripts in order in one round trip, and in a second one those that
// Redis did not know.
func pipeline(ctx context.Context, client redis.UniversalClient, list []evaluation) []*redis.Cmd {
	cmds := evalSHA(ctx, client, list, nil)
	var unknown []evaluation
	var at []int
	load := make(map[script]bool)
	for i, cmd := range cmds {
		if redis.HasErrorPrefix(cmd.Err(), "NOSCRIPT") {
			unknown, at = append(unknown, list[i]), append(at, i)
			load[list[i].script] = true
		}
	}
	if len(unknown) > 0 {
		for i, cmd := range evalSHA(ctx, client, unknown, load) {
			cmds[at[i]] = cmd
		}
	}
	return cmds
}

func evalSHA(ctx context.Context, client redis.UniversalClient, list []evaluation, load map[script]bool) []*redis.Cmd {
	pipe := client.Pipeline()
	for s := range load {
		pipe.ScriptLoad(ctx, s.source)
	}
	cmds := make([]*redis.Cmd, len(list))
	for i, e := range list {
		cmds[i] = pipe.EvalSha(ctx, e.script.hash, e.keys, e.args...)
	}
	// Each command has its own error; this is the first of them.
	_, err := pipe.Exec(ctx)
	for _, cmd := range cmds {
		// A pipeline that could not be sent leaves its commands as they were.
		if err != nil && cmd.Err() == nil && cmd.Val() == nil {
			cmd.SetErr(err)
		}
	}
	return cmds
}

// errShape says that a script answered what this version does not know.
var errShape = errors.New("redis: unknown answer of a script")

// numbers reads an answer's elements from the first on, up to n integers.
func numbers(cmd *redis.Cmd, n int) ([]int64, []any, error) {
	list, err := cmd.Slice()
	if err != nil {
		return nil, nil, err
	}
	out := make([]int64, 0, n)
	for _, v := range list[:min(n, len(list))] {
		i, ok := v.(int64)
		if !ok {
			return nil, nil, errShape
		}
		out = append(out, i)
	}
	return out, list[len(out):], nil
}
