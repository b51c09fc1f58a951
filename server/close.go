package server

import (
	"errors"

	"mellium.im/xmpp/stream"

	"rollcall/internal/ns"
	"rollcall/internal/xmlscan"
)

// Reason says why a session ended. The list is closed: a reason is the log
// field, the metric label and, through its condition, what the peer is told.
type Reason uint8

// The reasons.
const (
	// ReasonClient: the client ended its stream.
	ReasonClient Reason = iota + 1
	// ReasonLost: the connection broke, or was given up by its transport.
	ReasonLost
	// ReasonInactive: no request came for the time the transport allows.
	ReasonInactive
	// ReasonPing: no answer to a ping.
	ReasonPing
	// ReasonReplaced: a newer connection took the resource.
	ReasonReplaced
	// ReasonSlowReader: the client takes too little of what is sent to it.
	ReasonSlowReader
	// ReasonLoginTime: the client did not log in in time.
	ReasonLoginTime
	// ReasonAuth: too many failed authentications.
	ReasonAuth
	// ReasonTLS: TLS was refused, or its handshake failed.
	ReasonTLS
	// ReasonStream: the client broke the rules of streams or XML; Condition says
	// which.
	ReasonStream
	// ReasonUserRemoved: the account is gone.
	ReasonUserRemoved
	// ReasonEnded: an administrator ended it.
	ReasonEnded
	// ReasonShutdown: the server stops.
	ReasonShutdown
	// ReasonResumed: the stream was resumed on another connection (XEP-0198); this one
	// is closed, the session goes on.
	ReasonResumed
	// ReasonInternal: a defect of the server.
	ReasonInternal
)

var reasons = [...]struct {
	name      string
	condition string // of the stream error; empty for none
}{
	ReasonClient:      {"client", ""},
	ReasonLost:        {"lost", ""},
	ReasonInactive:    {"inactive", stream.ConnectionTimeout.Err},
	ReasonPing:        {"ping-timeout", stream.ConnectionTimeout.Err},
	ReasonReplaced:    {"replaced", stream.Conflict.Err},
	ReasonSlowReader:  {"slow-reader", stream.ResourceConstraint.Err},
	ReasonLoginTime:   {"login-timeout", stream.ConnectionTimeout.Err},
	ReasonAuth:        {"auth-attempts", stream.PolicyViolation.Err},
	ReasonTLS:         {"tls", ""},
	ReasonStream:      {"stream-error", stream.UndefinedCondition.Err},
	ReasonUserRemoved: {"user-removed", stream.NotAuthorized.Err},
	ReasonEnded:       {"ended-by-admin", stream.PolicyViolation.Err},
	ReasonShutdown:    {"shutdown", stream.SystemShutdown.Err},
	ReasonResumed:     {"resumed", stream.Conflict.Err},
	ReasonInternal:    {"internal", stream.InternalServerError.Err},
}

// String is the reason's name in logs and metrics.
func (r Reason) String() string {
	if int(r) < len(reasons) && reasons[r].name != "" {
		return reasons[r].name
	}
	return "unknown"
}

// Close is the end of a session: a reason and, where the reason alone does not
// say it, the condition the peer is told.
type Close struct {
	Reason Reason
	// Err overrides the reason's stream error condition (RFC 6120 section
	// 4.9.3); it carries the text for the peer.
	Err stream.Error
	// Detail is an encoded element that says more than the condition (RFC 6120 section
	// 4.9.4); empty for none.
	Detail string
	// Cause is for the log; the peer never sees it.
	Cause error
	// Cut says that only the connection ends: the client may resume the stream, and so
	// it is told neither an error nor the end of the stream.
	Cut bool
}

// passing reports whether a stream may go on after it on another connection.
func (c Close) passing() bool { return c.Reason == ReasonLost || c.Reason == ReasonPing }

// Condition is the stream error condition that the peer is told, or "" when the
// stream ends without an error.
func (c Close) Condition() string {
	if c.Err.Err != "" {
		return c.Err.Err
	}
	if int(c.Reason) < len(reasons) {
		return reasons[c.Reason].condition
	}
	return ""
}

// AppendError appends the <stream:error/> that tells the peer, or nothing. The
// prefix "stream" is declared by the stream's header; with declare it is
// declared on the element itself.
func (c Close) AppendError(dst []byte, declare bool) []byte {
	condition := c.Condition()
	if condition == "" {
		return dst
	}
	dst = append(dst, "<stream:error"...)
	if declare {
		dst = append(dst, " xmlns:stream='"+ns.Stream+"'"...)
	}
	dst = append(dst, '>', '<')
	dst = append(dst, condition...)
	dst = append(dst, " xmlns='"+ns.Streams+"'/>"...)
	for _, text := range c.Err.Text {
		dst = append(dst, "<text xmlns='"+ns.Streams+"'>"...)
		dst = xmlscan.AppendText(dst, text.Value)
		dst = append(dst, "</text>"...)
		break // one language is enough
	}
	dst = append(dst, c.Detail...)
	return append(dst, "</stream:error>"...)
}

// StreamError is the end of a session whose client broke a rule of RFC 6120
// section 4.9.3.
func StreamError(e stream.Error, cause error) Close {
	return Close{Reason: ReasonStream, Err: e, Cause: cause}
}

// BadXML is the end of a session whose input the scanner refused with err.
func BadXML(err error) Close {
	var bad *xmlscan.Error
	if errors.As(err, &bad) {
		return StreamError(stream.Error{Err: bad.Condition}, err)
	}
	return Close{Reason: ReasonInternal, Cause: err}
}
