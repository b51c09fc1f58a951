package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	goredis "github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"rollcall/cmd/rollcall/app"
)

func serveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the server",
		Long: "Runs the server until SIGINT or SIGTERM; then every client is told, and the\n" +
			"process ends within session.shutdown_time. SIGHUP reads the certificates again.",
		Args: cobra.NoArgs,
	}
	path := configFlag(cmd)
	record := cmd.Flags().String("record", "", "a file to write what clients say as a transcript, for reporting a defect; without passwords")
	ready := cmd.Flags().String("ready", "", "a file to make as soon as clients can connect")
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		c, err := loadConfig(*path)
		if err != nil {
			return err
		}
		log := newLog(stderr(), c.Log)
		app.SetUp(c, os.Getenv, log)
		goredis.SetLogger(redisLog{log})
		o := app.Options{Config: c, Log: log, Getenv: os.Getenv}
		if *record != "" {
			recorder, done, err := recordTo(*record)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, done()) }()
			o.Tap = recorder
		}
		a, err := app.Start(cmd.Context(), o)
		if err != nil {
			return err
		}
		reloadOnHangup(cmd.Context(), a, log)
		if *ready != "" {
			if err := os.WriteFile(*ready, nil, 0o644); err != nil {
				return errors.Join(err, a.Shutdown(cmd.Context()))
			}
		}
		return a.Run(cmd.Context())
	}
	return cmd
}

// redisLog takes what the client for Redis says by itself, each failed dial for example.
// What matters of it comes back as errors.
type redisLog struct{ *slog.Logger }

// Printf implements the client's own interface.
func (l redisLog) Printf(ctx context.Context, format string, v ...any) {
	l.DebugContext(ctx, "redis client: "+fmt.Sprintf(format, v...))
}

// reloadOnHangup reads the certificates again on SIGHUP, until ctx ends.
func reloadOnHangup(ctx context.Context, a *app.App, log *slog.Logger) {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	go func() {
		defer signal.Stop(hangup)
		for {
			select {
			case <-ctx.Done():
				return
			case <-hangup:
				if err := a.Certificates().Reload(); err != nil {
					log.Error("certificates stay as they were", "err", err)
					continue
				}
				log.Info("certificates were read again")
			}
		}
	}()
}
