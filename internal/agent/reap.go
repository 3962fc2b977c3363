package agent

import (
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// reaper starts processes and collects their statuses. PID 1 must wait for every orphan of the machine, and would take
// statuses that os/exec waits for. So all processes of the agent are started here, also when it is not PID 1.
type reaper struct {
	all   bool // wait for any child: the agent is PID 1
	sigs  chan os.Signal
	quit  chan struct{}
	forks chan func() // what the forking thread is to run

	// mu is held from a fork until the pid is in procs, and while statuses are collected. A pid in procs is therefore
	// not reaped yet, and a signal to it hits no stranger.
	mu    sync.Mutex
	procs map[int]*process
}

// process is a child. status may be read once done is closed.
type process struct {
	pid    int
	done   chan struct{}
	status unix.WaitStatus
}

func newReaper(all bool) *reaper {
	r := &reaper{all: all, sigs: make(chan os.Signal, 1), quit: make(chan struct{}), forks: make(chan func()), procs: map[int]*process{}}
	signal.Notify(r.sigs, unix.SIGCHLD)
	go r.fork()
	go r.loop()
	return r
}

func (r *reaper) close() {
	signal.Stop(r.sigs)
	close(r.quit)
}

// fork runs what forks, on a thread that does nothing else. The kernel gives a SIGCHLD to the thread that forked
// (complete_signal in kernel/signal.c), and were that one stuck in a file's system call, on a disk that is broken, the
// signal would wait with it.
func (r *reaper) fork() {
	runtime.LockOSThread()
	for {
		select {
		case f := <-r.forks:
			f()
		case <-r.quit:
			return
		}
	}
}

func (r *reaper) loop() {
	for {
		r.collect()
		select {
		case <-r.sigs:
		case <-r.quit:
			return
		}
	}
}

// collect takes the status of every child that has ended. One SIGCHLD may stand for many.
func (r *reaper) collect() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.all {
		for pid := range r.procs {
			r.wait(pid)
		}
		return
	}
	for r.wait(-1) {
	}
}

// wait takes the status of pid, or of any child for -1, and reports whether there was one.
func (r *reaper) wait(pid int) bool {
	var status unix.WaitStatus
	got, err := unix.Wait4(pid, &status, unix.WNOHANG, nil)
	if err != nil || got <= 0 {
		return false
	}
	if p := r.procs[got]; p != nil {
		delete(r.procs, got)
		p.status = status
		close(p.done)
	}
	return true
}

// start runs the file at path. Descriptors other than attr.Files are all close-on-exec in the agent; Go gives a child
// empty masks, default dispositions for what the agent catches, and the resource limits that the agent started with.
func (r *reaper) start(path string, argv []string, attr *syscall.ProcAttr) (*process, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var pid int
	var err error
	forked := make(chan struct{})
	select {
	case r.forks <- func() {
		defer close(forked)
		protectOOM(false)
		pid, err = syscall.ForkExec(path, argv, attr)
		protectOOM(true)
	}:
		<-forked
	case <-r.quit:
		err = os.ErrClosed
	}
	if err != nil {
		return nil, err
	}
	p := &process{pid: pid, done: make(chan struct{})}
	r.procs[pid] = p
	return p, nil
}

// alive runs f while p cannot be reaped, and reports whether it did: false after the process's end.
func (r *reaper) alive(p *process, f func()) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.procs[p.pid] != p {
		return false
	}
	f()
	return true
}

var oomFile *os.File

// openOOM keeps the file at hand through which the agent tells the kernel to kill it last: the guest may mount over
// /proc.
func openOOM() {
	oomFile, _ = os.OpenFile("/proc/self/oom_score_adj", os.O_WRONLY, 0)
	protectOOM(true)
}

// protectOOM exempts the agent from the OOM killer, or not. A child inherits the value, so it is lifted around a fork:
// the child would otherwise have the time to hand the exemption on before anyone could take it away.
func protectOOM(on bool) {
	if oomFile == nil {
		return
	}
	value := "0"
	if on {
		value = "-1000"
	}
	oomFile.WriteAt([]byte(value), 0)
}
