//go:build !linux

package load

import "errors"

// prepare sets a socket up before it connects.
func prepare(_ int, o Options) error {
	if o.Source.IsValid() || o.ReadBuffer > 0 {
		return errors.New("load: only Linux has 127.0.1.1 and its like")
	}
	return nil
}
