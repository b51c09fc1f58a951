//go:build unix

package testkit

import (
	"errors"
	"fmt"
	"syscall"
)

// Stopped waits until a child of this process that was sent SIGSTOP stands still.
func Stopped(pid int) error {
	var status syscall.WaitStatus
	for {
		_, err := syscall.Wait4(pid, &status, syscall.WUNTRACED, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return err
		case !status.Stopped():
			return fmt.Errorf("process %d ended instead of stopping", pid)
		default:
			return nil
		}
	}
}
