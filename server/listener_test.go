package server

import (
	"reflect"
	"testing"
)

// TestTraits: nothing of a Listener is lost in a session.
func TestTraits(t *testing.T) {
	fields := reflect.TypeFor[Listener]()
	for i := range fields.NumField() {
		var l Listener
		reflect.ValueOf(&l).Elem().Field(i).SetBool(true)
		s := Session{traits: l.traits()}
		if got := s.Listener(); got != l {
			t.Errorf("%s becomes %+v", fields.Field(i).Name, got)
		}
	}
}
