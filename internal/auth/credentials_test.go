package auth

import (
	"testing"

	"golang.org/x/text/secure/precis"
)

// TestPrepareASCII sees that the short cut for printable ASCII is what the profile says,
// for every pair of bytes.
func TestPrepareASCII(t *testing.T) {
	for i := range 256 {
		for j := range 256 {
			password := string([]byte{byte(i), byte(j)})
			if want, err := precis.OpaqueString.String(password); isASCII(password) && (err != nil || want != password) {
				t.Errorf("%q: OpaqueString makes it %q, %v", password, want, err)
			}
		}
	}
	for _, password := range []string{"\x7f", "\x1f", "\u00a0", "e\u0301"} {
		if isASCII(password) {
			t.Errorf("%q is no printable ASCII", password)
		}
	}
}
