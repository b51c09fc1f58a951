package auth

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

var (
	errPlus      = errors.New("SCRAM: channel binding is not offered")
	errMandatory = errors.New("SCRAM: mandatory extension")
)

// clientFirst is client-first-message (RFC 5802 section 7).
type clientFirst struct {
	gs2     string // gs2-header, with its last comma
	authzid string // decoded; empty if absent
	user    string // decoded
	nonce   string
	bare    string // client-first-message-bare
}

func parseClientFirst(s string) (clientFirst, error) {
	if err := checkText(s); err != nil {
		return clientFirst{}, err
	}
	flag, rest, ok := strings.Cut(s, ",")
	authzid, bare, ok2 := strings.Cut(rest, ",")
	if !ok || !ok2 {
		return clientFirst{}, errors.New("SCRAM: no gs2-header")
	}
	m := clientFirst{gs2: s[:len(s)-len(bare)], bare: bare}
	switch {
	case flag == "n", flag == "y": // "y" is right: no -PLUS mechanism is offered
	case strings.HasPrefix(flag, "p="):
		return clientFirst{}, errPlus
	default:
		return clientFirst{}, errors.New("SCRAM: unknown gs2-cbind-flag")
	}
	var err error
	if authzid != "" {
		if m.authzid, err = saslname(authzid, "a="); err != nil {
			return clientFirst{}, err
		}
	}
	fields := strings.Split(bare, ",")
	if strings.HasPrefix(fields[0], "m=") {
		return clientFirst{}, errMandatory
	}
	if m.user, err = saslname(fields[0], "n="); err != nil {
		return clientFirst{}, err
	}
	if len(fields) < 2 {
		return clientFirst{}, errors.New("SCRAM: no nonce")
	}
	if m.nonce, err = nonce(fields[1]); err != nil {
		return clientFirst{}, err
	}
	return m, extensions(fields[2:])
}

// clientFinal is client-final-message (RFC 5802 section 7).
type clientFinal struct {
	binding      string // the base64 of "c="
	nonce        string
	proof        []byte
	withoutProof string // client-final-message-without-proof
}

func parseClientFinal(s string) (clientFinal, error) {
	if err := checkText(s); err != nil {
		return clientFinal{}, err
	}
	fields := strings.Split(s, ",")
	if len(fields) < 3 {
		return clientFinal{}, errors.New("SCRAM: too few attributes")
	}
	var m clientFinal
	var err error
	var ok bool
	if m.binding, ok = strings.CutPrefix(fields[0], "c="); !ok {
		return clientFinal{}, errors.New("SCRAM: no channel binding data")
	}
	if m.nonce, err = nonce(fields[1]); err != nil {
		return clientFinal{}, err
	}
	last := fields[len(fields)-1]
	proof, ok := strings.CutPrefix(last, "p=")
	if !ok {
		return clientFinal{}, errors.New("SCRAM: no proof")
	}
	if m.proof, err = decode64(proof); err != nil {
		return clientFinal{}, fmt.Errorf("SCRAM: proof: %w", err)
	}
	m.withoutProof = s[:len(s)-len(last)-1]
	return m, extensions(fields[2 : len(fields)-1])
}

func checkText(s string) error {
	if !utf8.ValidString(s) || strings.Contains(s, "\x00") {
		return errors.New("SCRAM: message is not UTF-8 or has a NUL")
	}
	return nil
}

// saslname decodes an attribute whose value is a saslname: "=2C" is a comma,
// "=3D" an equals sign, and any other use of '=' must fail (RFC 5802 section
// 5.1).
func saslname(attr, prefix string) (string, error) {
	name, ok := strings.CutPrefix(attr, prefix)
	if !ok || name == "" {
		return "", fmt.Errorf("SCRAM: no name after %q", prefix)
	}
	for _, after := range strings.Split(name, "=")[1:] {
		if !strings.HasPrefix(after, "2C") && !strings.HasPrefix(after, "3D") {
			return "", fmt.Errorf("SCRAM: bare '=' after %q", prefix)
		}
	}
	return strings.NewReplacer("=2C", ",", "=3D", "=").Replace(name), nil
}

// nonce reads "r=" and its value, which is printable ASCII without a comma.
func nonce(attr string) (string, error) {
	v, ok := strings.CutPrefix(attr, "r=")
	if !ok || v == "" {
		return "", errors.New("SCRAM: no nonce")
	}
	for i := range len(v) {
		if v[i] <= ' ' || v[i] >= 0x7f {
			return "", errors.New("SCRAM: nonce is not printable ASCII")
		}
	}
	return v, nil
}

// extensions checks the form of attributes that nothing is known about. They
// are optional and ignored, but "m" marks one that is not (RFC 5802 section
// 5.1).
func extensions(attrs []string) error {
	for _, a := range attrs {
		if len(a) < 3 || a[1] != '=' || (a[0]|0x20) < 'a' || (a[0]|0x20) > 'z' {
			return errors.New("SCRAM: malformed extension")
		}
		if a[0] == 'm' {
			return errMandatory
		}
	}
	return nil
}
