package bosh

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rollcall/internal/servertest"
	"rollcall/server"
)

const testKey = "5f0c8e3b9d7a4412a6c1d8e7f3b2905c"

// answer is what a prebind request was answered.
type answer struct {
	*httptest.ResponseRecorder
	JID   string `json:"jid"`
	SID   string `json:"sid"`
	RID   int64  `json:"rid"`
	Error string `json:"error"`
}

func prebindWith(t *testing.T, h http.Handler, r *http.Request) *answer {
	t.Helper()
	a := &answer{ResponseRecorder: httptest.NewRecorder()}
	h.ServeHTTP(a, r)
	if a.Code == http.StatusNoContent {
		return a
	}
	if got := a.Header().Get("Content-Type"); got != "application/json" || a.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("the header is %v", a.Header())
	}
	if err := json.Unmarshal(a.Body.Bytes(), a); err != nil {
		t.Fatalf("answered %q: %v", a.Body, err)
	}
	if a.Header().Get("Access-Control-Allow-Origin") != "" {
		t.Error("other origins may read the answer")
	}
	if (a.Code == http.StatusOK) == (a.Error != "") {
		t.Errorf("%d with %q", a.Code, a.Body)
	}
	return a
}

func jsonRequest(body string, header ...string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/prebind", strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

func formRequest(body string, header ...string) *http.Request {
	return jsonRequest(body, append(header, "Content-Type", "application/x-www-form-urlencoded")...)
}

func basic(user, password string) (name, value string) {
	r := &http.Request{Header: http.Header{}}
	r.SetBasicAuth(user, password)
	return "Authorization", r.Header.Get("Authorization")
}

func (r *rig) prebinder() http.Handler {
	return r.h.Prebind(PrebindConfig{Domain: "example.com", Key: testKey, Attempts: 5})
}

// attach goes on with a session as Strophe.attach does: its first request has the rid
// of the answer.
func (r *rig) attach(a *answer) *boshClient {
	return &boshClient{rig: r, sid: a.SID, rid: a.RID - 1}
}

// wrongs are requests that come from a stranger.
func TestPrebindUnauthorized(t *testing.T) {
	name, wrong := basic("alice", "wrong")
	_, nobody := basic("nobody", servertest.Password)
	_, empty := basic("", "")
	inBubble(t, func(r *rig) {
		var same string
		for what, req := range map[string]*http.Request{
			"nothing":        jsonRequest(""),
			"no password":    jsonRequest(`{"user": "alice"}`),
			"wrong password": jsonRequest(`{"user": "alice", "password": "wrong"}`),
			"unknown user":   jsonRequest(`{"user": "nobody", "password": "` + servertest.Password + `"}`),
			"no such host":   jsonRequest(`{"user": "alice@example.net", "password": "` + servertest.Password + `"}`),
			"no user at all": jsonRequest(`{"user": "@", "password": "` + servertest.Password + `"}`),
			"long password":  jsonRequest(`{"user": "alice", "password": "` + strings.Repeat("x", 15000) + `"}`),
			"Basic":          jsonRequest("", name, wrong),
			"Basic, unknown": jsonRequest("", name, nobody),
			"Basic, empty":   jsonRequest("", name, empty),
			"Basic, broken":  jsonRequest("", name, "Basic %%%"),
			"wrong key":      jsonRequest(`{"user": "bob"}`, name, "Bearer "+strings.ToUpper(testKey)),
			"part of a key":  jsonRequest(`{"user": "bob"}`, name, "Bearer "+testKey[:31]),
			"no key":         jsonRequest(`{"user": "bob"}`, name, "Bearer "),
			"other scheme":   jsonRequest(`{"user": "bob"}`, name, "Digest "+testKey),
		} {
			a := prebindWith(r.t, r.prebinder(), req)
			challenges := strings.Join(a.Header().Values("WWW-Authenticate"), ", ")
			if a.Code != http.StatusUnauthorized || !strings.Contains(challenges, "Bearer ") {
				r.t.Errorf("%s: %d %v", what, a.Code, a.Header())
			}
			// A browser that has the password from the page does not ask for it.
			if asks := strings.Contains(challenges, "Basic "); asks != (req.Header.Get("Authorization") != "" || what == "nothing") {
				r.t.Errorf("%s: the challenges are %s", what, challenges)
			}
			if same == "" {
				same = a.Body.String()
			}
			if a.Body.String() != same {
				r.t.Errorf("%s is told from others: %s", what, a.Body)
			}
		}
		closed := r.h.Prebind(PrebindConfig{Domain: "example.com", Attempts: 5})
		for _, key := range []string{testKey, "x"} {
			if a := prebindWith(r.t, closed, jsonRequest(`{"user": "alice"}`, name, "Bearer "+key)); a.Code != http.StatusUnauthorized {
				r.t.Errorf("without a key %q is answered %d", key, a.Code)
			}
		}
		if n := len(r.h.known()); n != 0 {
			r.t.Errorf("%d sessions are left", n)
		}
	})
}

func TestPrebindAttempts(t *testing.T) {
	inBubble(t, func(r *rig) {
		p := r.prebinder()
		try := func(remote, user, password string) int {
			req := jsonRequest(fmt.Sprintf(`{"user": %q, "password": %q}`, user, password))
			req.RemoteAddr = remote
			return prebindWith(r.t, p, req).Code
		}
		// However the name is written, it is the same user.
		for i, user := range []string{"alice", "ALICE", "alice@example.com", "Alice@EXAMPLE.com", "ａlice"} {
			if got := try("192.0.2.1:1", user, "wrong"); got != http.StatusUnauthorized {
				r.t.Fatalf("attempt %d: %d", i, got)
			}
		}
		for what, c := range map[string]struct {
			remote, user string
			want         int
		}{
			"the same":        {"192.0.2.1:2", "alice", http.StatusTooManyRequests},
			"another user":    {"192.0.2.1:3", "bob", http.StatusOK},
			"another address": {"192.0.2.2:1", "alice", http.StatusOK},
		} {
			if got := try(c.remote, c.user, servertest.Password); got != c.want {
				r.t.Errorf("%s: %d, want %d", what, got, c.want)
			}
		}
		key := jsonRequest(`{"user": "alice"}`, "Authorization", "Bearer "+testKey)
		key.RemoteAddr = "192.0.2.1:1"
		if a := prebindWith(r.t, p, key); a.Code != http.StatusOK {
			r.t.Errorf("the key does not help: %d", a.Code)
		}
		// Nor can one try one password with everybody.
		for i := range perAddress * 5 {
			try("192.0.2.7:1", fmt.Sprint("user", i), "wrong")
		}
		if got := try("192.0.2.7:1", "alice", servertest.Password); got != http.StatusTooManyRequests {
			r.t.Errorf("after failures of many users: %d", got)
		}
		r.pass(2 * failurePeriod)
		for range 20 { // who gets in has no limit
			if got := try("192.0.2.1:1", "bob", servertest.Password); got != http.StatusOK {
				r.t.Fatalf("a minute later: %d", got)
			}
		}
		if got := try("192.0.2.1:1", "alice", servertest.Password); got != http.StatusOK {
			r.t.Errorf("a minute later: %d", got)
		}
	})
}

func TestFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f failures
		a := [2]string{"a user at an address", "an address"}
		for range 2 {
			if !f.begin(a, 2) {
				t.Fatal("refused too early")
			}
		}
		time.Sleep(failurePeriod) // they are of the period before
		if f.begin(a, 2) {
			t.Error("forgotten too early")
		}
		f.forgive(a)
		if !f.begin(a, 2) || f.begin(a, 2) {
			t.Error("an attempt of the period before cannot be forgiven")
		}
		time.Sleep(2 * failurePeriod)
		if !f.begin(a, 1) {
			t.Error("remembered for too long")
		}
		for i := range 3 * maxFailures {
			f.begin([2]string{fmt.Sprint(i), fmt.Sprint(i, "/64")}, 1)
			if n := len(f.now) + len(f.before); n > 2*maxFailures+2 {
				t.Fatalf("%d sources are remembered", n)
			}
		}
	})
	if a, b := failureSources("[2001:db8::1]:1", "a", "b"), failureSources("[2001:db8::2]:9", "A", "B"); a != b {
		t.Errorf("%q is not %q", a, b)
	}
	if a, b := failureSources("[2001:db8:0:1::1]:1", "a", "b"), failureSources("[2001:db8:0:2::1]:1", "a", "b"); a[0] == b[0] || a[1] == b[1] {
		t.Errorf("%q is another network", a)
	}
}

func TestPrebindRequests(t *testing.T) {
	name, value := basic("alice", servertest.Password)
	bearer := "Bearer " + testKey
	with := func(r *http.Request, change func(*http.Request)) *http.Request { change(r); return r }
	for what, c := range map[string]struct {
		r    *http.Request
		want int
	}{
		"not JSON":          {jsonRequest(`{"user": `), 400},
		"an array":          {jsonRequest(`["alice"]`), 400},
		"unknown field":     {jsonRequest(`{"user": "alice", "pass": "x"}`), 400},
		"two objects":       {jsonRequest(`{"user": "alice", "password": "x"} {}`), 400},
		"a number":          {jsonRequest(`{"user": 1, "password": "x"}`), 400},
		"NUL":               {jsonRequest(`{"user": "alice\u0000bob", "password": "x"}`), 400},
		"not a form":        {formRequest("user=%zz"), 400},
		"field twice":       {formRequest("user=alice&user=bob&password=x"), 400},
		"unknown in form":   {formRequest("user=alice&pass=x"), 400},
		"secure":            {formRequest("user=alice&secure=maybe"), 400},
		"key without user":  {jsonRequest("", name, bearer), 400},
		"key with password": {jsonRequest(`{"user": "alice", "password": "x"}`, name, bearer), 400},
		"two users":         {jsonRequest(`{"user": "bob"}`, name, value), 400},
		"two headers":       {with(jsonRequest("", name, value), func(r *http.Request) { r.Header.Add(name, bearer) }), 400},
		"bad resource":      {jsonRequest(`{"user": "alice", "resource": "\u0007"}`, name, bearer), 400},
		"long resource":     {jsonRequest(`{"user": "alice", "resource": "`+strings.Repeat("x", 1024)+`"}`, name, bearer), 400},
		"unknown user":      {jsonRequest(`{"user": "nobody"}`, name, bearer), 404},
		"unknown host":      {jsonRequest(`{"user": "alice@example.net"}`, name, bearer), 404},
		"no user's name":    {jsonRequest(`{"user": "a b"}`, name, bearer), 404},
		"GET":               {httptest.NewRequest(http.MethodGet, "/prebind", nil), 405},
		"HEAD":              {httptest.NewRequest(http.MethodHead, "/prebind", nil), 405},
		"preflight":         {httptest.NewRequest(http.MethodOptions, "/prebind", nil), 204},
		"too long":          {jsonRequest(`{"user": "` + strings.Repeat("x", maxPrebindBody) + `"}`), 413},
		"XML":               {jsonRequest("<user/>", "Content-Type", "text/xml"), 415},
		"no type":           {jsonRequest(`{"user": "alice"}`, "Content-Type", ""), 415},
		"another origin":    {jsonRequest("", name, value, "Sec-Fetch-Site", "cross-site"), 403},
		"an old browser":    {jsonRequest("", name, value, "Origin", "https://evil.example"), 403},
		"the same origin":   {jsonRequest("", name, value, "Sec-Fetch-Site", "same-origin"), 200},
		"in the query":      {httptest.NewRequest(http.MethodPost, "/prebind?user=alice&password="+servertest.Password, nil), 401},
	} {
		t.Run(what, func(t *testing.T) {
			inBubble(t, func(r *rig) {
				a := prebindWith(r.t, r.prebinder(), c.r)
				if a.Code != c.want {
					r.t.Errorf("%d %s, want %d", a.Code, a.Body, c.want)
				}
				if allow := a.Header().Get("Allow"); (c.want == 405 || c.want == 204) && allow != "OPTIONS, POST" {
					r.t.Errorf("allowed is %q", allow)
				}
				if n := len(r.h.known()); n != 0 && c.want != 200 {
					r.t.Errorf("%d sessions are left", n)
				}
			})
		})
	}
}

// Passwords and keys are not taken in the clear.
func TestPrebindInTheClear(t *testing.T) {
	key := func(change func(*http.Request)) *http.Request {
		r := jsonRequest(`{"user": "alice"}`, "Authorization", "Bearer "+testKey)
		change(r)
		return r
	}
	inBubble(t, func(r *rig) {
		c := testConfig()
		c.Log = r.h.cfg.Log
		c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		r.h = New(r.srv.Server, server.Listener{}, c)
		for what, c := range map[string]struct {
			change func(*http.Request)
			want   int
		}{
			"in the clear": {func(*http.Request) {}, 403},
			"over TLS":     {func(r *http.Request) { r.TLS = new(tls.ConnectionState) }, 200},
			"a proxy with TLS": {func(r *http.Request) {
				r.RemoteAddr = "10.0.0.1:1"
				r.Header.Set("X-Forwarded-Proto", "https")
			}, 200},
			"a proxy without TLS": {func(r *http.Request) { r.RemoteAddr = "10.0.0.1:1" }, 403},
			"a liar":              {func(r *http.Request) { r.Header.Set("X-Forwarded-Proto", "https") }, 403},
			"this machine":        {func(r *http.Request) { r.RemoteAddr = "127.0.0.1:1" }, 200},
			"this machine, IPv6":  {func(r *http.Request) { r.RemoteAddr = "[::1]:1" }, 200},
			"a proxy on this machine": {func(r *http.Request) {
				r.RemoteAddr = "127.0.0.1:1"
				r.Header.Set("X-Forwarded-For", "192.0.2.1")
			}, 403},
		} {
			if a := prebindWith(r.t, r.prebinder(), key(c.change)); a.Code != c.want {
				r.t.Errorf("%s: %d %s, want %d", what, a.Code, a.Body, c.want)
			}
		}
	})
}

func FuzzPrebind(f *testing.F) {
	f.Add("application/json", `{"user":"alice","password":"x","resource":"r","secure":true}`, "")
	f.Add("application/x-www-form-urlencoded", "user=alice&password=x&secure=false", "Basic YTpi")
	f.Add("text/plain", "x", "Bearer x")
	f.Fuzz(func(t *testing.T, kind, body, authorization string) {
		r := httptest.NewRequest(http.MethodPost, "/prebind", strings.NewReader(body))
		r.Header = http.Header{"Content-Type": {kind}, "Authorization": {authorization}}
		ask, err := readPrebind(httptest.NewRecorder(), r)
		var why *refused
		switch {
		case err != nil && !errors.As(err, &why):
			t.Errorf("refused with %v", err)
		case err == nil && (ask.user == "" || (ask.password == "") == (ask.key == "")):
			t.Errorf("accepted %+v", ask)
		}
	})
}
