// Command mongo is a server that speaks MongoDB's wire protocol, for tests: FerretDB
// with its SQLite backend in a folder. It is a module of its own, so that nothing of
// FerretDB is in rollcall's; internal/mongotest builds and starts it.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/FerretDB/FerretDB/ferretdb"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "`address` to listen on; port 0 is a free one")
	data := flag.String("data", ".", "`folder` of the databases, which must exist")
	leash := flag.Bool("leash", false, "end when standard input does, as it does with whoever started this")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if *leash {
		go func() {
			defer stop()
			if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
				slog.Error("standard input", "error", err)
			}
		}()
	}
	if err := run(ctx, *listen, *data); err != nil {
		slog.Error("cannot serve", "error", err)
	}
}

// run serves until ctx ends. The URI is the only line on standard output.
func run(ctx context.Context, listen, data string) error {
	f, err := ferretdb.New(&ferretdb.Config{
		Listener:  ferretdb.ListenerConfig{TCP: listen},
		Handler:   "sqlite",
		SQLiteURL: "file:" + data + "/",
		Logger:    slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	if err != nil {
		return err
	}
	fmt.Println(f.MongoDBURI())
	return f.Run(ctx)
}
