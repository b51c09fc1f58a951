package main

import (
	"errors"
	"os"

	"rollcall/cmd/rollcall/app"
	"rollcall/internal/transcript"
	"rollcall/server"
)

// recordTo makes a tap that writes a transcript to a file; done ends it.
func recordTo(path string) (tap func(server.TapEvent), done func() error, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, nil, err
	}
	r := transcript.NewRecorder(f)
	return app.Record(r), func() error { return errors.Join(r.Close(), f.Close()) }, nil
}
