package vm

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"noid/internal/errs"
	"noid/internal/home"
	"noid/internal/link"
	"noid/internal/link/tarfs"
	"noid/internal/link/wire"
	"noid/internal/sshconf"
	"noid/internal/sshd/program"
	"noid/internal/untrusted"
)

// sshdDir is where the SSH server is put in a guest, in sshdRoot, which is memory in most guests.
const (
	sshdRoot = "/run"
	sshdDir  = "noid"
)

// SSHDir returns where the host key and what ssh is told of the home's VMs are.
func (m *Manager) SSHDir() string { return filepath.Join(m.Home.Dir(), home.SSHDir) }

// SSHTarget returns the VM, and the checkpoint or Now, that host is: NAME or NAME+ID, which may end in sshconf.Suffix.
// ssh writes the names of hosts in lower case, so a VM's name may be written so where no other VM has that one.
func (m *Manager) SSHTarget(host string) (name, ref string, err error) {
	host = strings.TrimSuffix(host, sshconf.Suffix)
	name, ref, err = ParseRef(strings.Replace(host, "+", "@", 1)) // an @ ends the user's name in ssh user@host
	if err != nil || m.CheckExists(name) == nil {
		return name, ref, err
	}
	all, _ := m.Home.VMNames()
	var like []string
	for _, vm := range all {
		if strings.EqualFold(vm, name) {
			like = append(like, vm)
		}
	}
	if len(like) == 1 {
		name = like[0]
	}
	return name, ref, nil
}

// SSH connects an ssh client, whose connection in and out are, with an SSH server in the guest of name, or in a
// throw-away clone as ExecAt makes one of its checkpoint ref. It puts the server into the guest when it is not there. It
// returns when the connection has ended, and waits for the guest to be up as Exec does.
//
// Errors:
//   - context.Canceled: ctx was cancelled; the server ends the connection
//   - errs.ErrState: the VM does not run, is paused, ended meanwhile, or has no agent in its guest
//   - errs.ErrTimeout: the guest did not answer within wait
//   - errs.ErrHost: noid was built without the server
func (m *Manager) SSH(ctx context.Context, name, ref string, wait time.Duration, in io.Reader, out io.Writer) (err error) {
	const verb = "ssh"
	seed, err := sshconf.HostKey(m.SSHDir())
	if err != nil {
		return err
	}
	var s *session
	if ref == "" {
		s, err = m.running(ctx, name, verb)
	} else if s, err = m.lookInto(ctx, name, ref, verb, wait); err == nil {
		defer s.vanish(ctx)
	}
	if err != nil {
		return err
	}
	if !s.vm.Machine.Agent {
		return s.errNoAgent("make a vm without --no-agent")
	}
	wait = max(wait, time.Millisecond)
	if err := s.introduce(ctx, wait); err != nil {
		return s.execError(err)
	}
	if err := s.beforeChange(ctx, "(ssh)"); err != nil {
		return s.execError(err)
	}
	return s.ssh(ctx, wait, seed, in, out)
}

// ssh runs the server, which is put into the guest first where it is not there.
func (s *session) ssh(ctx context.Context, wait time.Duration, seed []byte, in io.Reader, out io.Writer) error {
	file, err := program.Name()
	if err != nil {
		return err
	}
	for tried := false; ; tried = true {
		g := &greeting{Writer: out, came: make(chan struct{})}
		last := "" // what it says of itself
		said := &toolErrors{warn: func(line string) { last = line }}
		exit, err := s.execNow(ctx, Command{Argv: []string{filepath.Join(sshdRoot, sshdDir, file)}, User: "0", Dir: "/", Stdin: true},
			Streams{In: io.MultiReader(bytes.NewReader(seed), &after{Reader: in, c: g.came}), Out: g, Err: said}, wait)
		switch {
		case err != nil:
			return err
		case exit.Code == 0 || g.open:
			return nil // the client has been told how it ended
		case exit.Code != codeNotFound || tried:
			said.flush()
			return fmt.Errorf("ssh: the server in vm %q ended with exit code %d: %s", s.vm.Name, exit.Code, untrusted.Line(exit.Error+last, tarfs.MaxLine))
		}
		if err := s.putSSHD(ctx, file); err != nil {
			return err
		}
	}
}

// codeNotFound is the exit code of a command that is not there.
const codeNotFound = 127

// putSSHD puts the SSH server into the guest. It has its name, which tells its contents, only when it is whole.
func (s *session) putSSHD(ctx context.Context, file string) error {
	data, err := program.Unpack()
	if err != nil {
		return err
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	err = errors.Join(
		w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: sshdDir + "/", Mode: 0o755}),
		w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: sshdDir + "/" + file, Mode: 0o555, Size: int64(len(data))}),
	)
	if err == nil {
		_, err = w.Write(data)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		return err
	}
	said := &toolErrors{warn: func(string) {}}
	exit, err := s.agent().Exec(ctx, wire.Exec{Tool: true, Argv: byteSlices(tarfs.ExtractArgs(sshdRoot, tarfs.ExtractOptions{Recursive: true})), Stdin: true},
		link.Streams{In: &b, Err: said})
	if err != nil {
		return s.execError(err)
	}
	if said.flush(); exit.Code != 0 {
		return errs.New(errs.ErrState, "ssh: putting the server into vm %q: %s", s.vm.Name, said.last)
	}
	return nil
}

// greeting tells that something came: the server speaks first.
type greeting struct {
	io.Writer
	came chan struct{}
	open bool
}

func (g *greeting) Write(b []byte) (int, error) {
	if !g.open {
		g.open = true
		close(g.came)
	}
	return g.Writer.Write(b)
}

// after reads once c is closed: a server that is not there takes nothing of the client's.
type after struct {
	io.Reader
	c    <-chan struct{}
	once sync.Once
}

func (a *after) Read(b []byte) (int, error) {
	a.once.Do(func() { <-a.c })
	return a.Reader.Read(b)
}
