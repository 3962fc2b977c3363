package agent

import (
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/agent/login"
	"noid/internal/link/wire"
)

// job is a command and its streams.
//
// A host that is attached, or expected back, gets every byte: the command blocks when a window is full. Of a job whose
// host is gone, the newest wire.Keep bytes of each stream are kept.
type job struct {
	s         *Server
	id        string
	command   string
	user      string
	tty       bool
	detach    bool        // asked for as detached
	stop      unix.Signal // at a power-off, which waits for its end; 0 for none
	startedAt time.Time
	started   chan struct{} // closed when proc or exit is known
	ended     chan struct{} // closed with exit

	mu       sync.Mutex
	cond     sync.Cond // of mu: anything below has changed
	proc     *process
	term     *os.File // the terminal's own side, nil without one
	out      [2]output
	in       input
	att      *attachment
	expected bool        // not attached, but its host is expected back
	orphaned bool        // orphaned by a restore: listed as detached
	timer    *time.Timer // hangs up, or forgets after the end
	timed    bool        // the timeout came
	exited   chan struct{}
	exit     *wire.Exit
}

// output is a stream of the command's. What is not acknowledged stays in the ring.
type output struct {
	ring
	lost uint64
	eof  bool
	late bool // eof was some time ago
}

// input is what arrived for the command and was not written to it yet.
type input struct {
	ring
	open bool // the command has an input
	eof  bool // nothing follows
	dead bool // nobody reads it any more: swallow
}

func newJob(s *Server, e *wire.Exec, acc login.Account) *job {
	j := &job{s: s, id: e.Job, command: describe(e, acc), user: cut(acc.Name, maxUser), tty: e.TTY, detach: e.Detach, stop: unix.Signal(e.StopSignal),
		startedAt: time.Now(), started: make(chan struct{}), ended: make(chan struct{}), exited: make(chan struct{})}
	j.cond.L = &j.mu
	j.timer = time.NewTimer(0)
	j.expected = !e.Detach || e.Await // its first host attaches at once
	if e.Detach && e.Await {
		j.setTimer(graceWait, j.giveUp)
	}
	return j
}

func describe(e *wire.Exec, acc login.Account) string {
	if e.Shell {
		return cut(acc.Shell, maxCommand)
	}
	var words []string // each is a byte at least with its space
	for _, arg := range e.Argv[:min(len(e.Argv), maxCommand)] {
		words = append(words, cut(string(arg), maxCommand))
	}
	return cut(strings.Join(words, " "), maxCommand)
}

func cut(s string, n int) string { return s[:min(len(s), n)] }

// blocks says whether a full window blocks the command. If not, the oldest output is dropped. mu is held.
func (j *job) blocks() bool { return j.att != nil || j.expected }

// produce takes output of the command.
func (j *job) produce(o *output, p []byte) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for len(p) > 0 {
		n := len(p)
		if j.blocks() {
			if n = min(n, wire.Window-o.size()); n <= 0 {
				j.cond.Wait()
				continue
			}
		} else if over := o.size() + n - wire.Keep; over > 0 {
			o.drop(o.start + uint64(over))
			o.lost += uint64(over)
		}
		o.append(p[:n])
		p = p[n:]
		j.cond.Broadcast()
	}
}

func (j *job) endOutput(o *output) {
	j.mu.Lock()
	defer j.mu.Unlock()
	o.eof = true
	if j.exit != nil {
		j.cond.Broadcast()
		return
	}
	time.AfterFunc(eofWait, func() {
		j.mu.Lock()
		defer j.mu.Unlock()
		o.late = true
		j.cond.Broadcast()
	})
}

// eofWait is how long the end of an output waits for the end of the command, which most often comes at once: the host
// is told of both in one write. To wake it costs an emulated guest milliseconds.
const eofWait = 20 * time.Millisecond

// finish records the end. All output has been taken by now.
func (j *job) finish(exit wire.Exit) {
	j.mu.Lock()
	exit.TimedOut = j.timed
	j.exit = &exit
	j.out[0].eof, j.out[1].eof = true, true
	j.in.dead = true
	away := j.att == nil
	j.cond.Broadcast()
	j.mu.Unlock()
	close(j.ended)
	j.s.onEnd(j)
	if away {
		j.forgetLater()
	}
}

// forgetLater gives the host of an ended job some time to come for it.
func (j *job) forgetLater() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.att != nil || j.detach || j.orphaned || j.exit == nil {
		return
	}
	j.setTimer(claimWait, func() { j.s.forget(j) })
}

// setTimer replaces the job's timer. mu is held.
func (j *job) setTimer(d time.Duration, f func()) {
	j.timer.Stop()
	j.timer = time.AfterFunc(d, func() { defer logPanic(); f() })
}

func (j *job) stopTimer() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.timer.Stop()
}

// stopGrace stops the wait for the host of a running job.
func (j *job) stopGrace() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.exit == nil {
		j.timer.Stop()
	}
}

// hangUpLater starts the wait for a host that is expected back; without it by the end, the job is hung up.
func (j *job) hangUpLater() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.att != nil || !j.expected || j.exit != nil || j.s.frozen.Load() {
		return
	}
	if j.detach { // it runs on without one
		j.setTimer(graceWait, j.giveUp)
		return
	}
	j.setTimer(graceWait, func() {
		j.mu.Lock()
		give := j.att == nil && j.expected && !j.s.frozen.Load()
		j.mu.Unlock()
		if give {
			j.hangUp(unix.SIGHUP)
		}
	})
}

// giveUp no longer expects a host.
func (j *job) giveUp() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.expected = false
	j.cond.Broadcast()
}

// hangUp signals all of the job that its host is gone.
func (j *job) hangUp(sig unix.Signal) {
	j.mu.Lock()
	j.expected = false
	j.cond.Broadcast()
	j.mu.Unlock()
	j.signal(sig, true)
	if sig == unix.SIGHUP {
		j.signal(unix.SIGCONT, true) // a stopped one would not see it
	}
}

// orphan makes a job run on without its host, or marks that it ended without.
func (j *job) orphan() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.att != nil {
		j.att.conn.Close()
		j.att = nil
	}
	j.timer.Stop()
	j.expected, j.orphaned = false, true
	j.cond.Broadcast()
}

// signal signals the process group, with a terminal its foreground one; everyone means both. False: the job has ended.
func (j *job) signal(sig unix.Signal, everyone bool) bool {
	j.mu.Lock()
	p, term := j.proc, j.term
	j.mu.Unlock()
	if p == nil {
		return false
	}
	return j.s.reaper.alive(p, func() {
		group := p.pid
		if term != nil {
			if fg := login.Foreground(term); fg > 0 && fg != group {
				unix.Kill(-fg, sig)
				if !everyone {
					return
				}
			}
		}
		unix.Kill(-group, sig)
	})
}

// signalItself signals the command alone. False: the job has ended.
func (j *job) signalItself(sig unix.Signal) bool {
	<-j.started
	j.mu.Lock()
	p := j.proc
	j.mu.Unlock()
	return p != nil && j.s.reaper.alive(p, func() { unix.Kill(p.pid, sig) })
}

// timeout ends a job that has had its time: SIGTERM, then SIGKILL for what is left of the process group.
func (j *job) timeout() {
	j.mu.Lock()
	j.timed = true
	j.mu.Unlock()
	if !j.signal(unix.SIGTERM, true) {
		return
	}
	j.signal(unix.SIGCONT, true)
	group := j.proc.pid
	// The command's own end does not end the wait: the rest of its group gets the same time. As long as a member lives,
	// the group's number is not given away; once there is none, the next look finds that out.
	for end := time.Now().Add(killAfter); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if unix.Kill(-group, 0) != nil {
			return
		}
	}
	j.signal(unix.SIGKILL, true)
	unix.Kill(-group, unix.SIGKILL)
}

// killAfter is between the two signals of a timeout.
const killAfter = 5 * time.Second

// summary is what Server.prune asks.
func (j *job) summary() (attached, listed bool, size int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.att != nil, j.detach || j.orphaned, j.out[0].size() + j.out[1].size()
}

// dropOutput forgets the output of an ended job.
func (j *job) dropOutput() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.att != nil {
		return
	}
	for i := range j.out {
		o := &j.out[i]
		o.lost += uint64(o.size())
		o.drop(o.end)
		o.release()
	}
}

// unfit is why the command could not be run; nil if it was. The job has started.
func (j *job) unfit() *wire.Exit {
	j.mu.Lock()
	runs := j.proc != nil
	j.mu.Unlock()
	if runs {
		return nil
	}
	<-j.ended
	return j.exit
}

func (j *job) describe() wire.Job {
	j.mu.Lock()
	defer j.mu.Unlock()
	d := wire.Job{ID: j.id, Command: j.command, User: j.user, Started: j.startedAt.Unix(), TTY: j.tty,
		Detached: j.detach || j.orphaned, Orphaned: j.orphaned, Attached: j.att != nil}
	if j.proc != nil {
		d.PID = j.proc.pid
	}
	if j.exit != nil {
		exit := *j.exit
		exit.Lost = j.out[0].lost + j.out[1].lost
		d.Exit = &exit
	}
	return d
}
