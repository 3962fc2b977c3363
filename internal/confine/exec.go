package confine

import (
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

// StartThrough starts the program of cmd confined as p says, where a thread cannot do it: by a program in between,
// through, whose arguments name cmd's. That program gets p's rules as descriptor fd, and calls Exec. cmd becomes
// through's. began is called with through running, and returns once it has called Exec, or why it did not: then the
// process is killed.
func StartThrough(cmd *exec.Cmd, p Policy, through string, args []string, fd int, began func() error) error {
	closeOnExec()
	rules := newRules(p, cmd.Path)
	defer rules.close()
	cmd.Path, cmd.Args = through, append(args, cmd.Args...)
	if rules.err == nil {
		file := os.NewFile(uintptr(rules.fd), "rules")
		rules.fd = -1
		defer file.Close()
		for len(cmd.ExtraFiles) <= fd-3 {
			cmd.ExtraFiles = append(cmd.ExtraFiles, nil)
		}
		cmd.ExtraFiles[fd-3] = file
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	if err := began(); err != nil {
		cmd.Process.Kill()
		cmd.Wait()
		return err
	}
	// Later, the Go runtime of the program in between would have been limited, and would have changed a limit back.
	p.Limits.set(cmd.Process.Pid)
	p.Limits.join(cmd.Process.Pid, p.Dir)
	return nil
}

// Exec makes this process the program at path, confined by the rules that StartThrough gave it as descriptor fd. The
// calling goroutine is locked to its thread. It only returns on failure.
func Exec(path string, argv []string, fd int) error {
	rules := &ruleset{fd: fd}
	if rules.abi, rules.err = LandlockABI(); rules.err == nil {
		unix.CloseOnExec(fd)
	}
	abi := confineThread(func(string) bool { return true }, path, rules)
	return unix.Exec(path, argv, append(os.Environ(), landlockIs(abi)))
}
