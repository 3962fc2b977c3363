// Package sample has no steps here.
package sample

import (
	"os"

	"golang.org/x/sys/unix"
)

func looking(f *os.File) {
	os.Lstat("a")
	os.Open("a")
	f.Close()
	unix.Flock(int(f.Fd()), unix.LOCK_EX)
	_ = os.FileMode(0).Perm()
}
