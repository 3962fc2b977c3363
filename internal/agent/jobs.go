package agent

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/agent/login"
	"noid/internal/link/wire"
)

const (
	keepEnded  = 64               // detached jobs that stay listed after their end
	keepOutput = 8 << 20          // bytes of output that all ended jobs together hold
	claimWait  = 60 * time.Second // for a host to fetch the end of its job
	maxUnread  = wire.MaxJobs     // ended jobs that wait for their host
	frozenMax  = 60 * time.Second // a freeze without a thaw: the host is gone
	graceWait  = wire.GraceSec * time.Second
	maxCommand = 256 // bytes of Job.Command
	maxUser    = 64  // bytes of Job.User
)

// exec serves OpExec, and reports whether another request may follow on c.
func (s *Server) exec(c net.Conn, r *wire.Reader, e *wire.Exec) bool {
	j, refusal := s.obtain(e)
	if j == nil {
		return send(c, wire.TypeReply, refusal) == nil
	}
	if e.Detach {
		exit := j.unfit()
		if exit != nil {
			s.forget(j)
		}
		return send(c, wire.TypeReply, wire.Reply{Exit: exit, PID: j.describe().PID}) == nil
	}
	a, refusal := j.attach(c, e)
	if a == nil {
		return send(c, wire.TypeReply, refusal) == nil
	}
	a.serve(r, refusal)
	return false
}

// obtain returns the job that e names, started if need be, or why not.
func (s *Server) obtain(e *wire.Exec) (*job, wire.Reply) {
	if e == nil || !validID(e.Job) {
		return nil, usage("an exec without a job id of 16 hex digits")
	}
	var acc login.Account
	var refusal wire.Reply
	if !e.Attach {
		acc, refusal = check(e)
	}
	s.mu.Lock()
	j, have := s.jobs[e.Job]
	switch {
	case have: // attached to again, or the same request on two connections
	case e.Attach:
		refusal = wire.Reply{Error: fmt.Sprintf("no job %s in the guest", e.Job), Kind: wire.KindNoJob}
	case refusal.Error != "":
	case s.closed:
		refusal = wire.Reply{Error: "the agent is ending", Kind: wire.KindBusy}
	case s.live >= wire.MaxJobs:
		refusal = wire.Reply{Error: fmt.Sprintf("%d jobs run in the guest already", wire.MaxJobs), Kind: wire.KindBusy}
	default:
		j = newJob(s, e, acc)
		s.jobs[e.Job] = j
		s.live++
	}
	s.mu.Unlock()
	switch {
	case have:
		<-j.started
	case j != nil:
		j.start(e, acc)
	default:
		return nil, refusal
	}
	return j, wire.Reply{}
}

// check refuses what could never run, before a job exists.
func check(e *wire.Exec) (login.Account, wire.Reply) {
	if len(e.Argv) == 0 && !e.Shell {
		return login.Account{}, usage("an exec without a command")
	}
	for _, list := range [][][]byte{e.Argv, e.Env} {
		for _, b := range list {
			if slices.Contains(b, 0) {
				return login.Account{}, usage("an argument or variable with a zero byte in it")
			}
		}
	}
	if strings.ContainsRune(e.Dir, 0) || strings.ContainsRune(e.Term, 0) {
		return login.Account{}, usage("a working directory or terminal with a zero byte in it")
	}
	acc, err := login.Lookup("/", e.User)
	if err != nil {
		return acc, usage(err.Error())
	}
	return acc, wire.Reply{}
}

func validID(id string) bool { return len(id) == 16 && strings.Trim(id, "0123456789abcdef") == "" }

// onEnd files a job that has ended.
func (s *Server) onEnd(j *job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live--
	if s.jobs[j.id] != j {
		return
	}
	s.kept = append(s.kept, j)
	s.prune()
}

// forget removes a job. Its process may still run if the host left it.
func (s *Server) forget(j *job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.jobs[j.id] == j {
		delete(s.jobs, j.id)
	}
	if i := slices.Index(s.kept, j); i >= 0 {
		s.kept = slices.Delete(s.kept, i, i+1)
	}
	j.stopTimer()
}

// prune holds what is kept of ended jobs inside its bounds, the newest first. mu is held.
func (s *Server) prune() {
	detached, unread, bytes := 0, 0, 0
	kept := s.kept
	for i := len(kept) - 1; i >= 0; i-- {
		j := kept[i]
		attached, listed, size := j.summary()
		if attached {
			continue
		}
		if listed {
			detached++
		} else {
			unread++
		}
		if detached > keepEnded && listed || unread > maxUnread && !listed {
			delete(s.jobs, j.id)
			kept = slices.Delete(kept, i, i+1)
			continue
		}
		if bytes += size; bytes > keepOutput {
			j.dropOutput()
		}
	}
	s.kept = kept
}

// list describes all jobs, oldest first.
func (s *Server) list() []wire.Job {
	s.mu.Lock()
	jobs := slices.Collect(maps.Values(s.jobs))
	s.mu.Unlock()
	slices.SortFunc(jobs, func(a, b *job) int {
		return cmp.Or(a.startedAt.Compare(b.startedAt), strings.Compare(a.id, b.id))
	})
	list := []wire.Job{}
	for _, j := range jobs {
		list = append(list, j.describe())
	}
	return list
}

func (s *Server) kill(prefix string, sig int) wire.Reply {
	if prefix == "" || sig < 1 || sig > 64 {
		return usage("a kill without a job or a signal from 1 to 64")
	}
	s.mu.Lock()
	var found []*job
	for id, j := range s.jobs {
		if strings.HasPrefix(id, prefix) {
			found = append(found, j)
		}
	}
	s.mu.Unlock()
	switch {
	case len(found) == 0:
		return wire.Reply{Error: fmt.Sprintf("no job %.20q in the guest", prefix), Kind: wire.KindNoJob}
	case len(found) > 1:
		return usage(fmt.Sprintf("%d jobs begin with %.20q", len(found), prefix))
	}
	<-found[0].started
	if !found[0].signal(unix.Signal(sig), false) {
		return wire.Reply{Error: fmt.Sprintf("job %s has ended", found[0].id), Kind: wire.KindNoJob}
	}
	return wire.Reply{}
}

// input gives a running job input, beside the host that is attached to it.
func (s *Server) input(id string, in *wire.Input) wire.Reply {
	if in == nil || len(in.Data) > wire.MaxData {
		return usage(fmt.Sprintf("an input without its content, or with more than %d bytes", wire.MaxData))
	}
	s.mu.Lock()
	j := s.jobs[id]
	s.mu.Unlock()
	if j == nil {
		return wire.Reply{Error: fmt.Sprintf("no job %.20q in the guest", id), Kind: wire.KindNoJob}
	}
	<-j.started
	return j.take(in)
}

// freeze begins the time in which a broken connection says nothing about its host: the VM is about to be paused or
// saved.
func (s *Server) freeze() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.frozen.Store(true)
	if s.thaw != nil {
		s.thaw.Stop()
	}
	s.thaw = time.AfterFunc(frozenMax, func() { defer logPanic(); s.endFreeze() })
	for _, j := range s.jobs {
		j.stopGrace()
	}
}

// endFreeze gives jobs whose host is away the time to be attached again.
func (s *Server) endFreeze() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.thawed()
	for _, j := range s.jobs {
		j.hangUpLater()
	}
}

// thawed notes the end of a freeze. mu is held.
func (s *Server) thawed() {
	s.frozen.Store(false)
	if s.thaw != nil {
		s.thaw.Stop()
	}
}

// orphan cuts all jobs off: this is another run of the machine than the one their hosts knew. A host that is still
// there (a restore in place) attaches again.
func (s *Server) orphan() {
	s.mu.Lock()
	jobs := slices.Collect(maps.Values(s.jobs))
	s.thawed()
	s.mu.Unlock()
	for _, j := range jobs {
		<-j.started
		j.orphan()
	}
	s.mu.Lock()
	s.prune()
	s.mu.Unlock()
}
