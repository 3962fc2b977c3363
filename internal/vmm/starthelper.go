package vmm

import (
	"os/exec"
	"syscall"
)

// StartHelper starts command as the helper of the VM whose VMM p runs in dir, and does not wait for it. It lives as long as
// p does. Where one is at work, a second leaves by itself.
func StartHelper(command []string, dir string, p Process) error {
	cmd := exec.Command(command[0], append(command[1:len(command):len(command)], p.Args()...)...)
	cmd.Dir, cmd.SysProcAttr = dir, &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	go cmd.Wait() // no zombie, should this process live longer
	return nil
}
