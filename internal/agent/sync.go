package agent

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// writeBackWait bounds the wait for a disk: whoever makes a checkpoint waits for it.
const writeBackWait = 5 * time.Second

// sync writes back what the root file system has not on its disk yet. One that takes longer than writeBackWait goes on, and
// the next one is refused until it has ended.
func (s *Server) sync() error {
	late := time.After(writeBackWait)
	select {
	case s.syncs <- struct{}{}:
	case <-late:
		return errors.New("writing back has not ended yet")
	}
	done := make(chan error, 1)
	go func() {
		defer logPanic()
		defer func() { <-s.syncs }()
		fd, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Syncfs(fd)
			unix.Close(fd)
		}
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-late:
		return errors.New("writing back takes long")
	}
}
