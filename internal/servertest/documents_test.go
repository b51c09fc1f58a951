package servertest_test

import (
	"testing"

	"rollcall/internal/servertest"
	"rollcall/storage"
	"rollcall/storage/storagetest"
)

func TestDocuments(t *testing.T) {
	storagetest.Documents(t, func(*testing.T) (s, other storage.Documents) {
		d := servertest.NewDocuments()
		return d, d
	})
}
