package agent

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/agent/login"
	"noid/internal/link/wire"
)

// The exit codes of a command that was not run, as a shell has them.
const (
	codeCannot   = 126
	codeNotFound = 127
)

// self is the agent's own binary: it has no path in the guest. A child resolves it before its exec, when it is still
// the agent's image.
const self = "/proc/self/exe"

// command is a resolved wire.Exec.
type command struct {
	path string
	argv []string
	env  []string
	dir  string
}

// resolve finds the file to run and its environment. The exit says why it cannot be run.
func resolve(e *wire.Exec, acc login.Account) (command, *wire.Exit) {
	c := command{env: environ(e, acc), dir: e.Dir}
	if c.dir == "" {
		if c.dir = acc.Home; !acc.MayEnter(c.dir) {
			c.dir = "/"
		}
	} else if !acc.MayEnter(c.dir) {
		return c, &wire.Exit{Code: codeCannot, Error: fmt.Sprintf("working directory %q: %v", c.dir, whyNot(c.dir))}
	}
	for _, arg := range e.Argv {
		c.argv = append(c.argv, string(arg))
	}
	if e.Tool && !e.Shell {
		c.path, c.argv = self, append([]string{"noid-agent"}, c.argv...)
		return c, nil
	}
	name := acc.Shell
	if e.Shell { // a login shell knows itself by the dash
		c.argv = []string{"-" + filepath.Base(name)}
	} else {
		name = c.argv[0]
	}
	var exit *wire.Exit
	c.path, exit = find(name, c.dir, getenv(c.env, "PATH"))
	return c, exit
}

func whyNot(dir string) error {
	fi, err := os.Stat(dir)
	switch {
	case err == nil && !fi.IsDir():
		return unix.ENOTDIR
	case err == nil:
		return unix.EACCES
	}
	return errors.Unwrap(err)
}

// environ is the user's environment with the request's on top.
func environ(e *wire.Exec, acc login.Account) []string {
	var term, asked []string
	if e.TTY {
		term = []string{"TERM=" + cmp.Or(e.Term, "xterm")}
	}
	for _, kv := range e.Env {
		asked = append(asked, string(kv))
	}
	return login.Merge(acc.Environ(), term, asked)
}

func getenv(env []string, key string) string {
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, key+"="); ok {
			return v
		}
	}
	return ""
}

// find looks name up in path as execvp does, from dir.
func find(name, dir, path string) (string, *wire.Exit) {
	if name == "" {
		return "", &wire.Exit{Code: codeNotFound, Error: `"": command not found`}
	}
	if strings.Contains(name, "/") {
		return name, nil // exec says what is wrong with it
	}
	unfit := ""
	for _, d := range filepath.SplitList(path) {
		if d == "" {
			d = "."
		}
		file := filepath.Join(d, name)
		if !filepath.IsAbs(file) {
			file = filepath.Join(dir, file)
		}
		fi, err := os.Stat(file)
		switch {
		case err != nil, fi.IsDir():
		case fi.Mode()&0o111 == 0:
			unfit = file
		default:
			return file, nil
		}
	}
	if unfit != "" {
		return "", &wire.Exit{Code: codeCannot, Error: fmt.Sprintf("%q: permission denied", unfit)}
	}
	return "", &wire.Exit{Code: codeNotFound, Error: fmt.Sprintf("%q: command not found", cut(name, maxCommand))}
}

// refused turns the error of a fork and exec into an exit.
func refused(c command, acc login.Account, err error) wire.Exit {
	code := codeCannot
	text := err.Error()
	switch {
	case errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR):
		code = codeNotFound
		file := c.path
		if !filepath.IsAbs(file) {
			file = filepath.Join(c.dir, file)
		}
		if _, err := os.Stat(file); err == nil {
			text = "its interpreter is not there"
		}
	case errors.Is(err, unix.EACCES) && login.IsDir(c.path):
		text = "is a directory"
	case errors.Is(err, unix.EPERM) && os.Geteuid() != 0:
		text = fmt.Sprintf("cannot become user %s: %v", acc.Name, err)
	}
	return wire.Exit{Code: code, Error: fmt.Sprintf("%q: %s", cut(c.path, maxCommand), text)}
}

// start runs the job's command, or ends the job with the reason why not.
func (j *job) start(e *wire.Exec, acc login.Account) {
	exit := j.run(e, acc)
	close(j.started)
	if exit != nil {
		close(j.exited)
		j.finish(*exit)
	}
}

func (j *job) run(e *wire.Exec, acc login.Account) *wire.Exit {
	c, exit := resolve(e, acc)
	if exit != nil {
		return exit
	}
	files, err := j.openFiles(e, acc)
	if err != nil {
		return &wire.Exit{Code: codeCannot, Error: err.Error()}
	}
	p, err := j.s.reaper.start(c.path, c.argv, &syscall.ProcAttr{Dir: c.dir, Env: c.env, Files: descriptors(files.child[:]...),
		Sys: &syscall.SysProcAttr{Setsid: true, Setctty: e.TTY, Credential: acc.Credential()}})
	files.closeChild()
	if err != nil {
		files.closeOwn()
		exit := refused(c, acc, err)
		return &exit
	}
	j.mu.Lock()
	j.proc, j.term = p, files.term
	j.in.open = files.in != nil
	j.mu.Unlock()
	j.serve(files, e)
	return nil
}

// serve starts what moves the job's streams and waits for its end.
func (j *job) serve(files *files, e *wire.Exec) {
	var pumps sync.WaitGroup
	for i, f := range files.out {
		if f == nil {
			continue
		}
		pumps.Add(1)
		go func() {
			defer logPanic()
			defer f.Close()
			j.pump(&j.out[i], f, pumps.Done)
		}()
	}
	if files.in != nil {
		go func() {
			defer logPanic()
			j.feed(files.in)
		}()
	}
	var timeout *time.Timer
	if e.TimeoutMs > 0 {
		timeout = time.AfterFunc(time.Duration(min(e.TimeoutMs, 1<<40))*time.Millisecond, func() { defer logPanic(); j.timeout() })
	}
	go func() {
		defer logPanic()
		<-j.proc.done
		if timeout != nil {
			timeout.Stop()
		}
		close(j.exited)
		j.mu.Lock()
		j.in.dead = true
		j.in.drop(j.in.end)
		j.cond.Broadcast()
		j.mu.Unlock()
		if files.in != nil && files.term == nil {
			files.in.Close()
		}
		for _, f := range files.out {
			if f != nil {
				f.SetReadDeadline(time.Now().Add(quiet))
			}
		}
		pumps.Wait()
		j.finish(exitOf(j.proc.status))
	}()
}

func exitOf(status unix.WaitStatus) wire.Exit {
	if status.Signaled() {
		return wire.Exit{Code: 128 + int(status.Signal()), Signal: int(status.Signal())}
	}
	return wire.Exit{Code: status.ExitStatus()}
}

const (
	quiet     = 100 * time.Millisecond // without output after the command's end: the rest is a background process's
	maxTail   = 1 << 20                // bytes of output after the command's end: what a pipe can hold (pipe-max-size)
	pumpFirst = 4 << 10                // bytes that are read of a command's output at once, at first
	pumpSize  = 64 << 10               // and from one that writes much
	maxTyping = 2 << 10                // bytes written to a terminal at once: its line discipline holds 4096
)

// pump takes the command's output from f until all its writers are gone, or, once the command itself has ended, until
// what it left has been read. A background process that still holds f may go on writing into the void.
func (j *job) pump(o *output, f *os.File, done func()) {
	done = sync.OnceFunc(done)
	defer done()
	buf := make([]byte, pumpFirst)
	tail := 0
	for {
		n, err := f.Read(buf)
		if n > 0 {
			j.produce(o, buf[:n])
		}
		if n == len(buf) && n < pumpSize {
			if buf = make([]byte, 4*n); len(buf) == pumpSize {
				widen(f)
			}
		}
		select {
		case <-j.exited:
			tail += n
			if err == nil && tail < maxTail {
				f.SetReadDeadline(time.Now().Add(quiet))
				continue
			}
		default:
			if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				continue
			}
		}
		j.endOutput(o)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return // io.EOF, or EIO of a terminal
		}
		break
	}
	done()
	f.SetReadDeadline(time.Time{})
	for {
		if _, err := f.Read(buf); err != nil {
			return
		}
	}
}

// feed writes what arrived to the command's input, and ends that after the last byte.
func (j *job) feed(w *os.File) {
	limit := wire.MaxData
	if j.tty {
		limit = maxTyping
	} else {
		defer w.Close()
	}
	buf := make([]byte, 0, 4<<10)
	last, wide := byte('\n'), j.tty
	for {
		j.mu.Lock()
		for j.in.size() == 0 && !j.in.eof && !j.in.dead {
			j.cond.Wait()
		}
		if j.in.dead || j.in.size() == 0 {
			dead, term := j.in.dead, j.term
			j.in.release()
			j.mu.Unlock()
			if !dead && j.tty {
				login.TypeEOF(term, last)
			}
			return
		}
		buf = append(buf[:0], j.in.peek(j.in.start, limit)...)
		j.mu.Unlock()
		if !wide && len(buf) >= limit/2 {
			widen(w)
			wide = true
		}
		_, err := w.Write(buf)
		last = buf[len(buf)-1]
		j.mu.Lock()
		if err != nil { // the command closed its input: what still comes goes nowhere
			j.in.dead = true
			j.in.drop(j.in.end)
		}
		j.in.drop(j.in.start + uint64(len(buf)))
		j.in.relax()
		j.cond.Broadcast()
		j.mu.Unlock()
	}
}
