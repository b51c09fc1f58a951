package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"rollcall/cmd/rollcall/app"
	"rollcall/conf"
)

// root is the command line.
func root() *cobra.Command {
	cmd := &cobra.Command{
		Use:           "rollcall",
		Short:         "A presence and notification server",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	cmd.AddCommand(serveCommand(), demoCommand(), checkConfigCommand(), defaultConfigCommand(),
		userCommand(), projectCommand(), importCommand())
	return cmd
}

// configFlag adds --config to a command.
func configFlag(cmd *cobra.Command) *string {
	return cmd.PersistentFlags().StringP("config", "c", "", "configuration file (default: the built-in configuration)")
}

// loadConfig reads a configuration file; no name means the defaults.
func loadConfig(path string) (*conf.Config, error) {
	if path == "" {
		return conf.Default(), nil
	}
	return conf.Load(path)
}

// newLog makes the logger that a configuration asks for.
func newLog(w io.Writer, c conf.Log) *slog.Logger {
	level := map[conf.LogLevel]slog.Level{
		conf.LogDebug: slog.LevelDebug, conf.LogInfo: slog.LevelInfo,
		conf.LogWarn: slog.LevelWarn, conf.LogError: slog.LevelError,
	}[c.Level]
	o := &slog.HandlerOptions{Level: level}
	if c.Format == conf.LogJSON {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

func defaultConfigCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "default-config",
		Short: "Print the whole configuration with its defaults, explained",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := cmd.OutOrStdout().Write(conf.DefaultYAML())
			return err
		},
	}
}

func checkConfigCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check-config [FILE]",
		Short: "Report everything that is wrong with a configuration",
		Long: "Reads a configuration and the certificates, keys and secrets it names, those in the\n" +
			"environment included. It asks no store and opens no port.",
		Args: cobra.MaximumNArgs(1),
	}
	path := configFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			*path = args[0]
		}
		if *path == "" {
			return fmt.Errorf("which file? rollcall check-config FILE")
		}
		c, err := conf.Load(*path)
		if err != nil {
			return err
		}
		if err := app.Check(c, os.Getenv); err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: no problems\n", *path)
		return err
	}
	return cmd
}

// stderr is where logs go.
func stderr() io.Writer { return os.Stderr }
