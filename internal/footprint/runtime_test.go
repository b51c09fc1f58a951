package footprint

import (
	"math"
	"runtime/debug"
	"testing"
	"testing/fstest"
)

func TestLimit(t *testing.T) {
	const top = "sys/fs/cgroup/"
	for name, c := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"not Linux":       {nil, 0},
		"container":       {map[string]string{"proc/self/cgroup": "0::/\n", top + "memory.max": "1000000\n"}, 900_000},
		"no limit":        {map[string]string{"proc/self/cgroup": "0::/\n", top + "memory.max": "max\n"}, 0},
		"service":         {map[string]string{"proc/self/cgroup": "0::/system.slice/rollcall.service\n", top + "system.slice/rollcall.service/memory.max": "2000000\n"}, 1_800_000},
		"slice":           {map[string]string{"proc/self/cgroup": "0::/a.slice/b\n", top + "a.slice/b/memory.max": "max\n", top + "a.slice/memory.max": "3000000\n"}, 2_700_000},
		"the least":       {map[string]string{"proc/self/cgroup": "0::/a/b\n", top + "a/b/memory.max": "5000000\n", top + "a/memory.max": "4000000\n"}, 3_600_000},
		"both versions":   {map[string]string{"proc/self/cgroup": "4:memory:/x\n0::/y\n", top + "y/memory.max": "100\n"}, 90},
		"version 1 alone": {map[string]string{"proc/self/cgroup": "4:memory:/x\n", top + "x/memory.max": "100\n"}, 0},
		"nonsense":        {map[string]string{"proc/self/cgroup": "0::../../etc\n", top + "etc/memory.max": "-x\n"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			system := fstest.MapFS{}
			for path, text := range c.files {
				system[path] = &fstest.MapFile{Data: []byte(text)}
			}
			if got := Limit(system); got != c.want {
				t.Errorf("%d, want %d", got, c.want)
			}
		})
	}
}

func TestTune(t *testing.T) {
	const before, percent = 123, 45
	oldPercent, oldLimit := debug.SetGCPercent(before), debug.SetMemoryLimit(-1)
	defer func() {
		debug.SetGCPercent(oldPercent)
		debug.SetMemoryLimit(oldLimit)
	}()
	none := fstest.MapFS{}
	container := fstest.MapFS{"sys/fs/cgroup/memory.max": &fstest.MapFile{Data: []byte("10000000000")}}
	for name, c := range map[string]struct {
		limit   int64
		system  fstest.MapFS
		env     map[string]string
		percent int
		want    int64
		told    Tuned
	}{
		"defaults":       {0, none, nil, percent, math.MaxInt64, Tuned{Percent: "45"}},
		"container":      {0, container, nil, percent, 9e9, Tuned{Percent: "45", Limit: "9000000000"}},
		"limit":          {5e9, container, nil, percent, 5e9, Tuned{Percent: "45", Limit: "5000000000"}},
		"GOGC":           {5e9, none, map[string]string{"GOGC": "200"}, before, 5e9, Tuned{Percent: "200", Limit: "5000000000"}},
		"GOMEMLIMIT":     {5e9, none, map[string]string{"GOMEMLIMIT": "1GiB"}, percent, math.MaxInt64, Tuned{Percent: "45", Limit: "1GiB"}},
		"GOMEMLIMIT off": {0, container, map[string]string{"GOMEMLIMIT": "off"}, percent, math.MaxInt64, Tuned{Percent: "45", Limit: "off"}},
		"both variables": {0, container, map[string]string{"GOMEMLIMIT": "1GiB", "GOGC": "off"}, before, math.MaxInt64, Tuned{Percent: "off", Limit: "1GiB"}},
	} {
		t.Run(name, func(t *testing.T) {
			debug.SetGCPercent(before)
			debug.SetMemoryLimit(math.MaxInt64)
			got := Tune(Settings{Percent: percent, Limit: c.limit, System: c.system, Getenv: func(name string) string { return c.env[name] }})
			if got != c.told {
				t.Errorf("told %+v, want %+v", got, c.told)
			}
			if limit := debug.SetMemoryLimit(-1); limit != c.want {
				t.Errorf("limit %d, want %d", limit, c.want)
			}
			if holds := debug.SetGCPercent(before); holds != c.percent {
				t.Errorf("percent %d, want %d", holds, c.percent)
			}
		})
	}
}
