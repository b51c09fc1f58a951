package front

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A connection may break before Serve has said who wants to know.
func TestGoneBeforeServed(t *testing.T) {
	x := newExchange(httptest.NewRequest(http.MethodPost, "/", strings.NewReader("")))
	x.tell(false)
	var told []bool
	x.Done = func(written bool) { told = append(told, written) }
	x.setServed()
	x.Reply(http.StatusOK, nil, nil)
	x.tell(true)
	if len(told) != 1 || told[0] {
		t.Error(told)
	}
}
