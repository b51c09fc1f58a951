package bosh

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
)

// maxPrebindBody is how long a request may be, in bytes.
const maxPrebindBody = 16 << 10

// prebindRequest is what somebody who prebinds says: a key or a password.
type prebindRequest struct {
	user     string // as typed, perhaps with a domain
	password string
	key      string
	resource string // empty for one that the server makes
	secure   bool
}

// readPrebind reads a request. The error is a *refused.
func readPrebind(w http.ResponseWriter, r *http.Request) (*prebindRequest, error) {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPrebindBody))
	var tooLong *http.MaxBytesError
	switch {
	case errors.As(err, &tooLong):
		return nil, &refused{http.StatusRequestEntityTooLarge, "The request is too long"}
	case err != nil:
		w.Header().Set("Connection", "close")
		return nil, &refused{http.StatusBadRequest, "The request is not complete"}
	}
	ask := new(prebindRequest)
	if len(text) > 0 {
		if err := ask.body(r.Header.Get("Content-Type"), text); err != nil {
			return nil, err
		}
	}
	if err := ask.authorization(r); err != nil {
		return nil, err
	}
	// A message of PLAIN cannot carry it (RFC 4616 section 2).
	if strings.Contains(ask.user+ask.password, "\x00") {
		return nil, badPrebind("A name or password cannot have a NUL")
	}
	return ask, nil
}

func badPrebind(text string) error { return &refused{http.StatusBadRequest, text} }

func (ask *prebindRequest) body(contentType string, text []byte) error {
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		kind = ""
	}
	switch kind {
	case "application/json":
		return ask.json(text)
	case "application/x-www-form-urlencoded":
		return ask.form(string(text))
	}
	return &refused{http.StatusUnsupportedMediaType, "Send application/json or application/x-www-form-urlencoded"}
}

func (ask *prebindRequest) json(text []byte) error {
	var object struct {
		User     string `json:"user"`
		Password string `json:"password"`
		Resource string `json:"resource"`
		Secure   bool   `json:"secure"`
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if d.Decode(&object) != nil {
		return badPrebind("The body is not a JSON object of user, password, resource and secure")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return badPrebind("Something follows the JSON object")
	}
	ask.user, ask.password, ask.resource, ask.secure = object.User, object.Password, object.Resource, object.Secure
	return nil
}

func (ask *prebindRequest) form(text string) error {
	fields, err := url.ParseQuery(text)
	if err != nil {
		return badPrebind("The body is not a form")
	}
	for name, values := range fields {
		if len(values) != 1 {
			return badPrebind("A field comes twice")
		}
		switch name {
		case "user":
			ask.user = values[0]
		case "password":
			ask.password = values[0]
		case "resource":
			ask.resource = values[0]
		case "secure":
			ask.secure = values[0] == "true"
			if !ask.secure && values[0] != "false" {
				return badPrebind("secure is true or false")
			}
		default:
			return badPrebind("The fields are user, password, resource and secure")
		}
	}
	return nil
}

// authorization takes the header into account (RFC 7617, RFC 6750 section 2.1).
func (ask *prebindRequest) authorization(r *http.Request) error {
	switch len(r.Header.Values("Authorization")) {
	case 0:
		if ask.user == "" || ask.password == "" {
			return errUnauthorized
		}
		return nil
	case 1:
	default:
		return badPrebind("There are two Authorization headers")
	}
	if ask.password != "" {
		return badPrebind("There is a password beside the Authorization header")
	}
	scheme, rest, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	switch {
	case strings.EqualFold(scheme, "Bearer"):
		if ask.user == "" {
			return badPrebind("Who is the user?")
		}
		if ask.key = strings.TrimSpace(rest); ask.key == "" {
			return errUnauthorized
		}
		return nil
	case strings.EqualFold(scheme, "Basic"):
		user, password, ok := r.BasicAuth()
		switch {
		case ask.user != "" && ask.user != user:
			return badPrebind("The body names another user than the Authorization header")
		case !ok || user == "" || password == "":
			return errUnauthorized
		}
		ask.user, ask.password = user, password
		return nil
	}
	return errUnauthorized
}
