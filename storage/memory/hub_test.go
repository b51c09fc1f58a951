package memory_test

import (
	"testing"

	"rollcall/storage"
	"rollcall/storage/memory"
	"rollcall/storage/storagetest"
)

func TestHub(t *testing.T) {
	hub := memory.NewHub()
	storagetest.Bus(t, func(_ *testing.T, name string) storage.Bus { return hub.Bus(name) })
}
