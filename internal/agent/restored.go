package agent

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"noid/internal/agent/login"
	"noid/internal/link/wire"
)

const (
	clockSlack = 20 * time.Millisecond // an error of the clock that is left alone: the message itself took a while
	onPurpose  = time.Minute           // an error of the clock that somebody has made: a checkpoint leaves it alone
	hookWait   = 10 * time.Second      // for one hook
	hooksWait  = 30 * time.Second      // for all of them
	maxHooks   = 4 << 10               // bytes of Reply.Hooks
	hookOutput = 256                   // bytes of a failed hook's output that are told
	hooksDir   = "/etc/noid/on-restore.d"
)

// setClock sets the wall clock to ns since 1970, if it is off. 0 leaves it.
func setClock(ns int64) {
	if isOff(time.Now(), ns) {
		ts := unix.NsecToTimespec(ns)
		unix.ClockSettime(unix.CLOCK_REALTIME, &ts)
	}
}

// away is how far a wall clock that shows now was set from the host's, ns since 1970, on purpose. 0 when ns is.
func away(now time.Time, ns int64) time.Duration {
	off := now.Sub(time.Unix(0, ns))
	if ns <= 0 || off.Abs() <= onPurpose {
		return 0
	}
	return off
}

// isOff reports whether a wall clock that shows now should be set to ns since 1970.
func isOff(now time.Time, ns int64) bool {
	return ns > 0 && now.Sub(time.Unix(0, ns)).Abs() > clockSlack // wall clocks: time.Unix has no monotonic part
}

// restored makes a guest that was loaded from a snapshot fit to run in its own time and place, and returns which hooks
// failed. The order matters: randomness first, as everything after it may draw some.
func (s *Server) restored(r wire.Restored) (failed string) {
	if err := reseed(r.Seed); err != nil {
		failed = fmt.Sprintf("reseeding the random pool: %v\n", err)
	}
	setClock(r.Clock)
	if r.Identity {
		s.setIdentity("/", r.Name)
	}
	s.orphan()
	return cut(failed+s.runHooks(hooksDir, r), maxHooks)
}

// reseed puts seed into the kernel's random pool and makes the generator take it up at once. Without that all clones of
// a snapshot draw the same numbers, until the kernel reseeds by itself minutes later.
func reseed(seed []byte) error {
	if len(seed) == 0 {
		return nil
	}
	fd, err := openDevice("urandom", 1, 9, unix.O_RDWR)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	// struct rand_pool_info: entropy in bits, size in bytes, the bytes.
	seed = seed[:min(len(seed), 512)]
	pool := binary.NativeEndian.AppendUint32(nil, uint32(8*len(seed)))
	pool = binary.NativeEndian.AppendUint32(pool, uint32(len(seed)))
	pool = append(pool, seed...)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.RNDADDENTROPY, uintptr(unsafe.Pointer(&pool[0])))
	if errno != 0 {
		unix.Write(fd, seed) // stirred in, at least
		err = errno
	}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.RNDRESEEDCRNG, 0); errno != 0 {
		err = errors.Join(err, errno)
	}
	return err
}

// runHooks runs the executables in dir in the order of their names, and returns a line for each that failed.
func (s *Server) runHooks(dir string, r wire.Restored) string {
	entries, err := os.ReadDir(dir) // sorted
	if err != nil {
		return ""
	}
	env := []string{"PATH=" + login.DefaultPath, "HOME=/", "NOID_EVENT=" + r.Event, "NOID_NAME=" + r.Name, "NOID_SOURCE=" + r.Source}
	var failed strings.Builder
	end := time.Now().Add(hooksWait)
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if fi, err := os.Stat(path); err != nil || !fi.Mode().IsRegular() || fi.Mode()&0o111 == 0 {
			continue
		}
		wait := min(hookWait, time.Until(end))
		if wait <= 0 {
			fmt.Fprintf(&failed, "%s: not run: the ones before it took too long\n", cut(e.Name(), 64))
			continue
		}
		if why := s.runHelper(path, []string{path}, env, wait); why != "" {
			fmt.Fprintf(&failed, "%s: %s\n", cut(e.Name(), 64), why)
		}
		if failed.Len() > maxHooks {
			break
		}
	}
	return failed.String()
}

// runHelper runs a program as root, in a session of its own, and returns "" or why it failed. Its process group is
// killed when wait is over.
func (s *Server) runHelper(path string, argv, env []string, wait time.Duration) string {
	out, theirs, err := os.Pipe()
	if err != nil {
		return err.Error()
	}
	p, err := s.reaper.start(path, argv, &syscall.ProcAttr{Dir: "/", Env: env, Files: descriptors(s.null, theirs, theirs),
		Sys: &syscall.SysProcAttr{Setsid: true}})
	theirs.Close()
	if err != nil {
		out.Close()
		return err.Error()
	}
	said := make(chan string, 1)
	go func() {
		defer logPanic()
		said <- drain(out, hookOutput)
	}()
	timedOut := false
	select {
	case <-p.done:
	case <-time.After(wait):
		timedOut = true
		s.reaper.alive(p, func() { unix.Kill(-p.pid, unix.SIGKILL) })
		<-p.done
	}
	out.SetReadDeadline(time.Now().Add(quiet))
	text := <-said
	go func() { // a daemon that it started may write on
		defer logPanic()
		out.SetReadDeadline(time.Time{})
		drain(out, 0)
		out.Close()
	}()
	exit := exitOf(p.status)
	switch {
	case timedOut:
		return fmt.Sprintf("killed after %v", wait.Round(time.Second))
	case exit.Code == 0:
		return ""
	case text != "":
		return fmt.Sprintf("exit code %d: %s", exit.Code, strings.Join(strings.Fields(text), " "))
	}
	return fmt.Sprintf("exit code %d", exit.Code)
}

// drain reads f to its end or deadline and returns the first limit bytes.
func drain(f *os.File, limit int) string {
	var kept []byte
	buf := make([]byte, 4<<10)
	for {
		n, err := f.Read(buf)
		kept = append(kept, buf[:min(n, limit-len(kept))]...)
		if err != nil {
			return string(kept)
		}
	}
}
