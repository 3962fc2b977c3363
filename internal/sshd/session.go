package sshd

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"noid/internal/agent/login"
)

// The exit codes of a command that was not run, as a shell has them.
const (
	codeCannot   = 126
	codeNotFound = 127
)

// session is a channel that runs a command, a shell or sftp: once.
type session struct {
	s       *server
	ch      ssh.Channel
	env     []string // that the client has set
	pty     *ptyRequest
	started bool

	mu    sync.Mutex
	cmd   *exec.Cmd        // while it can be signalled
	term  *os.File         // this side of its terminal
	early []syscall.Signal // for the command that is about to start
	over  bool             // it has ended
}

// session serves a channel until the client closes it.
func (s *server) session(offer ssh.NewChannel) {
	ch, requests, err := offer.Accept()
	if err != nil {
		return
	}
	c := &session{s: s, ch: ch}
	for r := range requests {
		ok, run := c.handle(r)
		if r.WantReply {
			r.Reply(ok, nil)
		}
		if run != nil {
			go run()
		}
	}
	c.hangUp()
}

// handle does what a request asks. run is to be called once that is answered.
func (c *session) handle(r *ssh.Request) (ok bool, run func()) {
	switch r.Type {
	case "env":
		var m struct{ Name, Value string }
		if ok = parse(r, &m) && m.Name != "" && !strings.ContainsAny(m.Name, "=\x00") && !strings.Contains(m.Value, "\x00"); ok {
			c.env = append(c.env, m.Name+"="+m.Value)
		}
	case "pty-req":
		var m ptyRequest
		if ok = parse(r, &m) && !c.started && !strings.Contains(m.Term, "\x00"); ok {
			c.pty = &m
		}
	case "window-change":
		var m windowSize
		if ok = parse(r, &m); ok {
			c.resize(m)
		}
	case "signal":
		var m struct{ Name string }
		if ok = parse(r, &m); ok {
			ok = c.signal(unix.SignalNum("SIG" + m.Name))
		}
	case "auth-agent-req@openssh.com":
		path, err := c.s.agent.listen(c.s)
		if ok = err == nil; ok {
			c.env = append(c.env, "SSH_AUTH_SOCK="+path)
		}
	case "shell":
		if ok = !c.started; ok { // a login shell knows itself by the dash
			run = func() { c.run("-" + filepath.Base(c.s.account.Shell)) }
		}
	case "exec":
		var m struct{ Command string }
		if ok = parse(r, &m) && !c.started && !strings.Contains(m.Command, "\x00"); ok {
			run = func() { c.run(filepath.Base(c.s.account.Shell), "-c", m.Command) }
		}
	case "subsystem":
		var m struct{ Name string }
		if ok = parse(r, &m) && !c.started && m.Name == "sftp"; ok {
			run = c.sftp
		}
	}
	c.started = c.started || run != nil
	return ok, run
}

func parse(r *ssh.Request, m any) bool { return ssh.Unmarshal(r.Payload, m) == nil }

// sftp serves files.
func (c *session) sftp() {
	code := 0
	server, err := sftp.NewServer(c.ch)
	if err == nil {
		err = server.Serve()
	}
	if err != nil && !errors.Is(err, io.EOF) {
		code = 1
	}
	c.end(exited(code))
}

// run runs the user's shell.
func (c *session) run(args ...string) {
	env := login.Merge(c.s.env, c.env)
	cmd := &exec.Cmd{Path: c.s.account.Shell, Args: args, Dir: c.s.dir, Env: env, SysProcAttr: &syscall.SysProcAttr{Setsid: true}}
	var pumps sync.WaitGroup
	exit := make(chan struct{})
	var err error
	if c.pty != nil {
		err = c.startOnTerminal(cmd, &pumps, exit)
	} else {
		err = c.start(cmd, &pumps)
	}
	if err != nil {
		code := codeCannot
		if errors.Is(err, fs.ErrNotExist) {
			code = codeNotFound
		}
		fmt.Fprintf(c.ch.Stderr(), "noid: %v\r\n", err)
		c.end(exited(code))
		return
	}
	// While it is not reaped, a signal to it hits no stranger.
	for unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
	c.mu.Lock()
	c.cmd, c.over = nil, true
	c.mu.Unlock()
	cmd.Wait()
	close(exit)
	pumps.Wait()
	c.end(endOf(cmd.ProcessState.Sys().(syscall.WaitStatus)))
}

// start starts cmd with pipes. All that comes from those who hold them is sent: as with any sshd, a command that is left
// behind with them keeps the channel open.
func (c *session) start(cmd *exec.Cmd, pumps *sync.WaitGroup) error {
	var own, theirs [3]*os.File
	defer func() { closeAll(theirs[:]) }()
	var err error
	for i := range own {
		read, write, err2 := os.Pipe()
		err = errors.Join(err, err2)
		if own[i], theirs[i] = read, write; i == 0 {
			own[i], theirs[i] = write, read
		}
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs[0], theirs[1], theirs[2]
	if err == nil {
		err = c.begin(cmd, nil)
	}
	if err != nil {
		closeAll(own[:])
		return err
	}
	go func() {
		io.Copy(own[0], c.ch)
		own[0].Close()
	}()
	for i, to := range []io.Writer{c.ch, c.ch.Stderr()} {
		pumps.Go(func() {
			io.Copy(to, own[i+1])
			own[i+1].Close() // a client that reads no more breaks the command's pipe
		})
	}
	return nil
}

// begin starts cmd, which the client can signal from then on.
func (c *session) begin(cmd *exec.Cmd, term *os.File) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return err
	}
	c.cmd, c.term = cmd, term
	for _, sig := range c.early {
		unix.Kill(-cmd.Process.Pid, sig)
	}
	return nil
}

// maxEarly is how many signals wait for a command's start.
const maxEarly = 16

// signal signals the command's process group, with a terminal the foreground one. One that is about to start gets it
// then.
func (c *session) signal(sig syscall.Signal) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cmd == nil && c.started && !c.over && sig != 0 && len(c.early) < maxEarly {
		c.early = append(c.early, sig)
		return true
	}
	if c.cmd == nil || sig == 0 {
		return false
	}
	group := c.cmd.Process.Pid
	if c.term != nil {
		if fg := login.Foreground(c.term); fg > 0 {
			group = fg
		}
	}
	return unix.Kill(-group, sig) == nil
}

// hangUp ends a command whose client is gone.
func (c *session) hangUp() {
	c.signal(unix.SIGHUP)
	c.signal(unix.SIGCONT) // a stopped one would not see it
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cmd != nil && c.term != nil {
		unix.Kill(-c.cmd.Process.Pid, unix.SIGHUP)
		c.term.Close()
	}
}

// ending is a message that says how a command ended.
type ending struct {
	kind    string
	payload any
}

func exited(code int) ending {
	return ending{"exit-status", struct{ Code uint32 }{uint32(code)}}
}

// endOf is what became of a process.
func endOf(status syscall.WaitStatus) ending {
	if !status.Signaled() {
		return exited(status.ExitStatus())
	}
	return ending{"exit-signal", struct {
		Name     string
		Core     bool
		Text     string
		Language string
	}{strings.TrimPrefix(unix.SignalName(status.Signal()), "SIG"), status.CoreDump(), "", ""}}
}

// end tells the client how the command ended, and closes the channel.
func (c *session) end(e ending) {
	c.ch.CloseWrite()
	c.ch.SendRequest(e.kind, false, ssh.Marshal(e.payload))
	c.ch.Close()
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
