package bosh

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"strconv"
	"strings"
)

// minGzip is how long a body is that is worth compressing, in bytes.
const minGzip = 1 << 10

// encode compresses a body when that is wanted, accepted and worth it. encoding is
// empty when the body is as it was.
func (h *Handler) encode(body []byte, request http.Header) (encoded []byte, encoding string) {
	if !h.cfg.Gzip || len(body) < minGzip || !acceptsGzip(request) {
		return body, ""
	}
	w, ok := h.gzips.Get().(*gzip.Writer)
	if !ok {
		w = gzip.NewWriter(nil)
	}
	defer h.gzips.Put(w)
	var out bytes.Buffer
	w.Reset(&out)
	if _, err := w.Write(body); err != nil {
		return body, "" // a buffer takes everything
	}
	if err := w.Close(); err != nil || out.Len() >= len(body) {
		return body, ""
	}
	return out.Bytes(), "gzip"
}

// acceptsGzip obeys Accept-Encoding (RFC 9110 section 12.5.3).
func acceptsGzip(request http.Header) bool {
	any := false
	for _, item := range list(request.Values("Accept-Encoding")) {
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
