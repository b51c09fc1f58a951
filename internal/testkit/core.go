package testkit

import (
	"context"
	"log/slog"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// Closes are the reasons of the closes that a core logs.
type Closes chan string

// NewCloses has room for as many closes as a test can cause before it looks.
func NewCloses() Closes { return make(Closes, 10_000) }

// Log is a logger for a core; what is no close goes nowhere.
func (c Closes) Log() *slog.Logger { return slog.New(closeLog{slog.DiscardHandler, c}) }

type closeLog struct {
	slog.Handler
	closes Closes
}

// Enabled implements slog.Handler.
func (l closeLog) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler.
func (l closeLog) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "closed" {
		r.Attrs(func(a slog.Attr) bool {
			if a.Key == "reason" {
				select {
				case l.closes <- a.Value.String():
				default: // nobody looks
				}
			}
			return true
		})
	}
	return nil
}

// Panics is how many panics a core has caught.
func Panics(t testing.TB, metrics prometheus.Gatherer) int {
	t.Helper()
	families, err := metrics.Gather()
	if err != nil {
		t.Error(err)
	}
	for _, f := range families {
		if f.GetName() == "rollcall_panics_total" {
			return int(f.GetMetric()[0].GetCounter().GetValue())
		}
	}
	t.Error("nobody counts panics")
	return 0
}
