package subject

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"time"

	"github.com/google/pprof/profile"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/procfs"
)

// Usage is what the process has taken from the machine, as the kernel counts.
type Usage struct {
	CPU            time.Duration // user and system, in hundredths of a second
	RSS            uint64        // bytes
	Anonymous      uint64        // of RSS: heap, stacks and the runtime
	File           uint64        // of RSS: the program itself
	Waited         time.Duration // of threads that could have run, for a processor
	KernelSocketKB uint64        // of the whole machine, by /proc/net/sockstat; 0 where it cannot be seen
}

// Usage looks at /proc.
func (s *Server) Usage() (Usage, error) {
	p, err := procfs.NewProc(s.PID())
	if err != nil {
		return Usage{}, err
	}
	stat, err1 := p.Stat()
	status, err2 := p.NewStatus()
	waited, err3 := s.waited()
	if err := errors.Join(err1, err2, err3); err != nil {
		return Usage{}, err
	}
	return Usage{
		CPU: time.Duration(stat.UTime+stat.STime) * (time.Second / 100),
		RSS: status.VmRSS, Anonymous: status.RssAnon, File: status.RssFile,
		Waited: waited, KernelSocketKB: socketMemory(),
	}, nil
}

// waited is for how long threads have stood in the kernel's queues.
func (s *Server) waited() (sum time.Duration, err error) {
	threads, err := procfs.AllThreads(s.PID())
	if err != nil {
		return 0, err
	}
	for _, t := range threads {
		stat, err := t.Schedstat()
		if errors.Is(err, fs.ErrNotExist) {
			continue // it ended meanwhile
		}
		if err != nil {
			return 0, err
		}
		sum += time.Duration(stat.WaitingNanoseconds)
	}
	return sum, nil
}

// socketMemory is what TCP sockets take in the kernel, both ends together, in KB.
func socketMemory() uint64 {
	machine, err := procfs.NewDefaultFS()
	if err != nil {
		return 0
	}
	stat, err := machine.NetSockstat()
	if err != nil {
		return 0
	}
	for _, p := range stat.Protocols {
		if p.Protocol == "TCP" && p.Mem != nil {
			return uint64(*p.Mem) * 4 // pages
		}
	}
	return 0
}

// Samples are metrics by name and labels, as in rollcall_closes_total{reason="lost",transport="tcp"}.
type Samples map[string]float64

// Sample fetches the metrics.
func (s *Server) Sample(ctx context.Context) (Samples, error) {
	body, err := get(ctx, "http://"+s.Metrics+"/metrics")
	if err != nil {
		return nil, err
	}
	defer body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(body)
	if err != nil {
		return nil, err
	}
	samples := make(Samples)
	for _, f := range families {
		// Histograms are of no use here, and what cannot be extracted is left out.
		vector, err := expfmt.ExtractSamples(&expfmt.DecodeOptions{}, f)
		if err != nil {
			return nil, err
		}
		for _, v := range vector {
			samples[v.Metric.String()] = float64(v.Value)
		}
	}
	return samples, nil
}

// Closes is how many connections of a transport ended for a reason.
func (m Samples) Closes(transport, reason string) int {
	kind := map[string]string{"ws": "websocket"}[transport]
	if kind == "" {
		kind = transport
	}
	return int(m[fmt.Sprintf("rollcall_closes_total{reason=%q, transport=%q}", reason, kind)])
}

// Collect has the server collect its garbage.
func (s *Server) Collect(ctx context.Context) error {
	_, err := s.Profile(ctx, "heap?gc=1")
	return err
}

// Profile fetches a profile of net/http/pprof, by its name and parameters.
func (s *Server) Profile(ctx context.Context, name string) (*profile.Profile, error) {
	body, err := get(ctx, "http://"+s.Profiles+"/debug/pprof/"+name)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return profile.Parse(body)
}

func get(ctx context.Context, url string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("%s: %s", url, resp.Status), resp.Body.Close())
	}
	return resp.Body, nil
}
