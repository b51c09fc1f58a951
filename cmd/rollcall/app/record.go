package app

import (
	"rollcall/internal/transcript"
	"rollcall/server"
)

// Record makes a tap that writes what clients say as a transcript.
func Record(r *transcript.Recorder) func(server.TapEvent) {
	kinds := map[server.TapKind]transcript.Kind{
		server.TapOpen: transcript.Connect, server.TapIn: transcript.In, server.TapOut: transcript.Out,
		server.TapClose: transcript.Close,
	}
	return func(e server.TapEvent) {
		out := transcript.Event{
			Conn: e.Conn, Actor: e.JID.String(), Kind: kinds[e.Kind], Data: e.Data, Condition: e.Close.Condition(),
		}
		if e.Close.Reason == server.ReasonLost || e.Close.Reason == server.ReasonInactive {
			out.Kind, out.Condition = transcript.Lost, ""
		}
		r.Event(out)
	}
}
