package bosh

import (
	"bytes"
	"compress/gzip"
	"strconv"
	"strings"

	"rollcall/internal/forwarded"
)

// minGzip is how long a body is that is worth compressing, in bytes.
const minGzip = 1 << 10

// pack compresses a body when it is worth it.
func (h *Handler) pack(body []byte) (packed []byte, ok bool) {
	if len(body) < minGzip {
		return nil, false
	}
	w, ok := h.gzips.Get().(*gzip.Writer)
	if !ok {
		w = gzip.NewWriter(nil)
	}
	defer h.gzips.Put(w)
	var out bytes.Buffer
	w.Reset(&out)
	if _, err := w.Write(body); err != nil {
		return nil, false // a buffer takes everything
	}
	if err := w.Close(); err != nil || out.Len() >= len(body) {
		return nil, false
	}
	return out.Bytes(), true
}

// acceptsGzip obeys Accept-Encoding (RFC 9110 section 12.5.3).
func acceptsGzip(values []string) bool {
	any := false
	for _, item := range forwarded.List(values) {
		name, params, _ := strings.Cut(item, ";")
		key, value, _ := strings.Cut(params, "=")
		q, err := strconv.ParseFloat(strings.TrimSpace(value), 32)
		accepted := !strings.EqualFold(strings.TrimSpace(key), "q") || err == nil && q > 0
		switch name = strings.TrimSpace(name); {
		case strings.EqualFold(name, "gzip"):
			return accepted
		case name == "*":
			any = accepted
		}
	}
	return any
}
