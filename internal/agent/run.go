package agent

import (
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/link/mux"
	"noid/internal/link/wire"
)

// Run is the agent's life; it does not return. With asInit it is the guest's PID 1.
func Run(release string, asInit bool) {
	s := &Server{Release: release, Init: asInit}
	prepare()
	var down <-chan os.Signal
	if asInit {
		down = becomeInit()
	} else {
		go func() {
			defer logPanic()
			outlive() // without cgroups in the guest's kernel, an agent that is killed stays dead
		}()
	}
	offerModules()
	nameFromFile()
	s.init()
	serveRelays()
	go serveAlways("vsock", func() (net.Listener, error) { return listenVsock(wire.VsockPort) }, s)
	go serveAlways("port", func() (net.Listener, error) {
		p, err := openPort(wire.PortName)
		if err != nil {
			return nil, err
		}
		return mux.Listen(p), nil
	}, s)
	if asInit {
		s.serveInit(down)
	}
	spare(omitDir)
	select {}
}

// prepare makes the process one that does not die and hands nothing of its own to its children.
func prepare() {
	os.Chdir("/")
	unix.Umask(0o022)
	closeOnExec()
	openOOM()
	// Caught, not ignored: a child starts with the default for what its parent caught, but inherits what it ignored.
	ignored := make(chan os.Signal, 1)
	signal.Notify(ignored, unix.SIGHUP, unix.SIGPIPE, unix.SIGINT, unix.SIGTERM, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2,
		unix.SIGALRM, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU, unix.SIGWINCH, unix.SIGIO, unix.SIGPWR)
	go func() {
		for range ignored {
		}
	}()
}

// closeOnExec marks every descriptor that the agent was started with, but the standard ones.
func closeOnExec() {
	if unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC) == nil {
		return
	}
	fds, _ := filepath.Glob("/proc/self/fd/*") // before Linux 5.11
	for _, p := range fds {
		if fd, err := strconv.Atoi(filepath.Base(p)); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
}

// serveAlways serves a transport for as long as the guest runs. One that this VM does not have is looked for again ever
// more seldom: its module may come late.
func serveAlways(name string, listen func() (net.Listener, error), s *Server) {
	const first, last = 50 * time.Millisecond, 30 * time.Second
	defer logPanic()
	reported := false
	for wait := first; ; time.Sleep(wait) {
		l, err := listen()
		if err != nil {
			wait = min(wait*2, last)
			continue
		}
		err = s.Serve(l)
		l.Close()
		if !reported {
			fmt.Fprintf(os.Stderr, "noid-agent: %s: %v\n", name, err)
			reported = true
		}
		wait = max(first, min(wait*2, last))
	}
}
