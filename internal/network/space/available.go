package space

import (
	"errors"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"

	"noid/internal/confine"
	"noid/internal/errs"
)

// Available tries whether Start can do here what it does beside starting a VMM, which takes some 10 ms. Where it cannot,
// it is an errs.ErrHost with the cure.
func Available() error {
	if privileged() {
		var err error
		confine.OnDyingThread(func() {
			var socket *os.File
			if socket, err = enter(); err == nil {
				err = socket.Close()
			}
		})
		return explain(err)
	}
	cmd := &exec.Cmd{Path: self, Args: []string{becomes}}
	in, out, err := prepareAgain(cmd)
	if err != nil {
		return err
	}
	defer in.Close()
	err = refused(cmd.Start())
	out.Close()
	if err == nil {
		err = readReport(in)
		cmd.Wait()
	}
	return explain(err)
}

// switches are the settings that keep a user from namespaces: the file, the value that does, and the command that does
// not.
var switches = []struct{ path, closed, cure string }{
	{"/proc/sys/user/max_user_namespaces", "0", "sudo sysctl -w user.max_user_namespaces=15000"},
	{"/proc/sys/user/max_net_namespaces", "0", "sudo sysctl -w user.max_net_namespaces=15000"},
	{"/proc/sys/kernel/unprivileged_userns_clone", "0", "sudo sysctl -w kernel.unprivileged_userns_clone=1"},
	{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"},
}

const inContainer = "in a container: run it with --device " + Device + " --security-opt seccomp=unconfined"

// explain makes an error of the host of one that it is to blame for.
func explain(err error) error {
	if !Missing(err) {
		return err
	}
	f, _ := errors.AsType[failure](err)
	return errs.Host("give the VM a network namespace", err).Hint(cure(f))
}

// Missing reports whether err, of Start, says that this host does not let a VMM have the device.
func Missing(err error) bool {
	f, ok := errors.AsType[failure](err)
	return ok && !strings.HasPrefix(f.doing, executing)
}

func cure(f failure) string {
	if strings.HasSuffix(f.doing, Device) {
		switch f.errno {
		case unix.EACCES:
			return "let this user open it: sudo chmod 666 " + Device
		case unix.ENOENT, unix.ENXIO, unix.ENODEV:
			return "load its module: sudo modprobe tun; " + inContainer
		}
		return inContainer
	}
	for _, s := range switches {
		if value, err := os.ReadFile(s.path); err == nil && strings.TrimSpace(string(value)) == s.closed {
			return s.cure
		}
	}
	return inContainer
}
