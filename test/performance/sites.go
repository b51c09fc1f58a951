package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/pprof/profile"

	"rollcall/test/performance/subject"
)

// mostSites is how many sites of the heap a table has.
const mostSites = 15

// heapSites prints where the bytes of a session are on the live heap, in a server that
// samples nearly every allocation.
func (s *settings) heapSites(ctx context.Context, transport string, group int) (err error) {
	srv, err := subject.Start(ctx, s.program, subject.Options{
		Users: s.sites, Group: group, TLS: s.tls, Environment: []string{"GODEBUG=memprofilerate=512"},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, srv.Stop()) }()
	before, err := srv.Profile(ctx, "heap?gc=1")
	if err != nil {
		return err
	}
	o := loginOptions(srv, transport)
	o.Roster = group > 1
	all, err := gather(ctx, srv, 0, s.sites, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, leave(all)) }()
	if group > 1 {
		err = errors.Join(quiet(ctx, all), storm(all, rounds), quiet(ctx, all))
	}
	if err := errors.Join(err, pause(ctx, s.settle)); err != nil {
		return err
	}
	// What was freed in the last cycle is still counted after one collection.
	if err := srv.Collect(ctx); err != nil {
		return err
	}
	after, err := srv.Profile(ctx, "heap?gc=1")
	if err != nil {
		return err
	}
	title := fmt.Sprintf("Where the live heap of a session is, in bytes: %s, %d sessions", transport, s.sites)
	if group > 1 {
		title += fmt.Sprintf(" in projects of %d", group)
	}
	rows, err := siteRows(before, after, s.sites)
	s.table(title+s.secure(), []string{"site", "what", "bytes", "objects"}, rows)
	return err
}

// site is a place in rollcall's code, with what it called to allocate.
type site struct{ place, what string }

type amount struct{ bytes, objects int64 }

func siteRows(before, after *profile.Profile, sessions int) ([][]string, error) {
	now, err1 := amounts(after)
	then, err2 := amounts(before)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	var all amount
	for k, a := range now {
		a.bytes -= then[k].bytes
		a.objects -= then[k].objects
		now[k] = a
		all.bytes += a.bytes
		all.objects += a.objects
	}
	keys := slices.SortedFunc(maps.Keys(now), func(a, b site) int { return cmp.Compare(now[b].bytes, now[a].bytes) })
	row := func(k site, a amount) []string {
		n := float64(sessions)
		return []string{k.place, k.what, fmt.Sprintf("%.0f", float64(a.bytes)/n), fmt.Sprintf("%.2f", float64(a.objects)/n)}
	}
	var rows [][]string
	rest := all
	for _, k := range keys[:min(mostSites, len(keys))] {
		rows = append(rows, row(k, now[k]))
		rest.bytes -= now[k].bytes
		rest.objects -= now[k].objects
	}
	return append(rows, row(site{"all others", ""}, rest), row(site{"sum", ""}, all)), nil
}

// amounts is what is in use, by site.
func amounts(p *profile.Profile) (map[site]amount, error) {
	space := slices.IndexFunc(p.SampleType, func(t *profile.ValueType) bool { return t.Type == "inuse_space" })
	objects := slices.IndexFunc(p.SampleType, func(t *profile.ValueType) bool { return t.Type == "inuse_objects" })
	if space < 0 || objects < 0 {
		return nil, errors.New("no heap profile")
	}
	found := make(map[site]amount)
	for _, sample := range p.Sample {
		k := siteOf(sample)
		a := found[k]
		a.bytes += sample.Value[space]
		a.objects += sample.Value[objects]
		found[k] = a
	}
	return found, nil
}

// siteOf is the innermost place in rollcall's code, or the outermost function there is.
func siteOf(sample *profile.Sample) site {
	frames := framesOf(sample)
	if len(frames) == 0 {
		return site{"unknown", ""}
	}
	what := frames[0].name
	for _, f := range frames {
		if !strings.HasPrefix(f.name, "runtime.") {
			what = f.name
			break
		}
	}
	for _, f := range frames {
		if short, ours := strings.CutPrefix(f.name, "rollcall/"); ours {
			place := fmt.Sprintf("%s (%s:%d)", short, filepath.Base(f.file), f.line)
			if f.name == what {
				what = ""
			}
			return site{place, what}
		}
	}
	return site{frames[len(frames)-1].name, what} // goroutines, for example
}

// frame is one function of a stack.
type frame struct {
	name, file string
	line       int64
}

// framesOf are a sample's functions, innermost first, those that were inlined included.
func framesOf(sample *profile.Sample) []frame {
	var all []frame
	for _, l := range sample.Location {
		for _, line := range l.Line {
			if line.Function != nil {
				all = append(all, frame{plain(line.Function.Name), line.Function.Filename, line.Line})
			}
		}
	}
	return all
}

// plain is a function's name without type arguments, which may be long.
func plain(name string) string {
	before, rest, generic := strings.Cut(name, "[")
	if !generic {
		return name
	}
	return before + rest[strings.LastIndexByte(rest, ']')+1:]
}
