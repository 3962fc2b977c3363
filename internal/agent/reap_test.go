package agent

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestOneThreadForks has many threads start processes: they must all be one thread's children, as that one gets their
// SIGCHLD.
func TestOneThreadForks(t *testing.T) {
	if _, err := os.Stat("/proc/thread-self/children"); err != nil {
		t.Skip("NOT RUN: this kernel does not list a thread's children (CONFIG_PROC_CHILDREN)")
	}
	r := newReaper(false)
	defer r.close()
	const n = 8
	var started sync.WaitGroup
	counted := make(chan struct{})
	var procs [n]*process
	for i := range n {
		started.Add(1)
		go func() {
			runtime.LockOSThread() // no two share a thread
			var err error
			if procs[i], err = r.start("/bin/sleep", []string{"sleep", "1000"}, &syscall.ProcAttr{}); err != nil {
				t.Error(err)
			}
			started.Done()
			<-counted // a thread that ended would leave its children to another
		}()
	}
	started.Wait()
	forkers := 0
	lists, _ := filepath.Glob("/proc/self/task/*/children")
	for _, list := range lists {
		if data, _ := os.ReadFile(list); len(strings.Fields(string(data))) > 0 {
			forkers++
		}
	}
	close(counted)
	if forkers != 1 {
		t.Errorf("%d threads have children", forkers)
	}
	for _, p := range procs {
		if p == nil {
			continue
		}
		r.alive(p, func() { unix.Kill(p.pid, unix.SIGKILL) })
		<-p.done
	}
}
