package wire

// Hello is the first message in each direction.
type Hello struct {
	Version int    `json:"version"`           // host: the newest it speaks; agent: the one to speak, or 0
	Min     int    `json:"min,omitempty"`     // host: the oldest it speaks
	Release string `json:"release,omitempty"` // of noid, for people
	Agent   string `json:"agent,omitempty"`   // agent: random, the same for as long as it lives and in its clones
	Error   string `json:"error,omitempty"`   // agent: why there is no common version
}

// Agree returns the version that a host's Hello and this code have in common, or 0.
func Agree(host Hello) int {
	if v := min(host.Version, Version); v >= max(host.Min, MinVersion) {
		return v
	}
	return 0
}

// Op is what a Request asks for.
type Op string

// The operations.
const (
	OpPing Op = "ping" // nothing
	OpExec Op = "exec" // Request.Exec: start a job, or attach to it again
	OpJobs Op = "jobs" // Reply.Jobs: all jobs, those that ended detached too
	OpKill Op = "kill" // Request.Job (a unique prefix of its id will do), Request.Signal
	// OpInput: Request.Job (its whole id), Request.Input, for a job that nobody sends input over its own connection.
	// Reply.Stdin says how many bytes were taken: fewer than there are, when the command does not read.
	OpInput Op = "input"
	OpInfo  Op = "info" // Reply.Info
	// OpFreeze: a snapshot or a pause comes: from now on a broken connection hangs nobody up. With Request.Clock, a
	// guest's clock that is far from it is as far from it after the thaw.
	OpFreeze   Op = "freeze"
	OpThaw     Op = "thaw"     // it is over, set Request.Clock. Jobs without a host after GraceSec are hung up
	OpRestored Op = "restored" // Request.Restored: this guest was loaded from a snapshot
	// OpSync: write back what the root file system has not on its disk yet. The reply comes when that is done, or with an
	// error after a while.
	OpSync Op = "sync"
	// OpLook: this guest is a clone that somebody looks into for a while: it goes on as it was, without its hosts.
	// Request.Restored.Seed.
	OpLook     Op = "look"
	OpPoweroff Op = "poweroff" // the reply comes before the guest goes down
)

// Request is what the host asks. Only the fields that Op names are set.
type Request struct {
	Op       Op        `json:"op"`
	Exec     *Exec     `json:"exec,omitempty"`
	Job      string    `json:"job,omitempty"`
	Signal   int       `json:"signal,omitempty"` // a Linux signal number
	Clock    int64     `json:"clock,omitempty"`  // the host's wall clock, in ns since 1970; 0: leave the guest's
	Restored *Restored `json:"restored,omitempty"`
	Input    *Input    `json:"input,omitempty"`
}

// Input is for a job that runs.
type Input struct {
	Data []byte `json:"data,omitempty"` // for its standard input, MaxData bytes at most
	EOF  bool   `json:"eof,omitempty"`  // that ends after Data, once all of it was taken
	Size *Size  `json:"size,omitempty"` // its terminal's, from now on
}

// Reply answers a Request. Error is empty when it was done.
type Reply struct {
	Error string `json:"error,omitempty"`
	Kind  Kind   `json:"kind,omitempty"` // of Error
	// Stdin is how much of the job's standard input has arrived: the host sends on from there.
	Stdin uint64 `json:"stdin,omitempty"`
	Exit  *Exit  `json:"exit,omitempty"` // OpExec with Detach: why the command cannot run. There is no job then
	PID   int    `json:"pid,omitempty"`  // OpExec with Detach: the command's, if it runs
	Jobs  []Job  `json:"jobs,omitempty"`
	Info  *Info  `json:"info,omitempty"`
	Hooks string `json:"hooks,omitempty"` // OpRestored: what failed in on-restore.d; the rest was done all the same
}

// Kind tells errors apart that a host acts on.
type Kind string

// The kinds of Reply.Error.
const (
	KindNoJob Kind = "no-job" // no such job: it never was, was forgotten, or the guest went back to a time before it
	KindUsage Kind = "usage"  // the request makes no sense: no such user, a prefix that is ambiguous
	KindBusy  Kind = "busy"   // MaxJobs
)

// Exec starts a job or attaches to one. Bytes that are not UTF-8 survive: arguments and environment are base64 in JSON.
type Exec struct {
	Job    string   `json:"job"`              // 16 hex digits, chosen at random by the host: asking twice starts once
	Attach bool     `json:"attach,omitempty"` // never start it: KindNoJob if it is not there
	Stdout uint64   `json:"stdout,omitempty"` // how much the host has of each
	Stderr uint64   `json:"stderr,omitempty"`
	Argv   [][]byte `json:"argv,omitempty"`
	Env    [][]byte `json:"env,omitempty"` // KEY=VALUE, beside the user's HOME, USER, LOGNAME, SHELL, PATH
	Dir    string   `json:"dir,omitempty"` // default: the user's home
	User   string   `json:"user,omitempty"`
	// Shell runs the user's login shell, with Argv ignored.
	Shell bool `json:"shell,omitempty"`
	// Tool runs the agent's own binary with Argv as its arguments (tar-create, tar-extract), whatever the guest has
	// installed.
	Tool      bool   `json:"tool,omitempty"`
	TTY       bool   `json:"tty,omitempty"`
	Size      *Size  `json:"size,omitempty"` // of the terminal
	Term      string `json:"term,omitempty"` // TERM, with TTY
	Stdin     bool   `json:"stdin,omitempty"`
	Detach    bool   `json:"detach,omitempty"`     // the host leaves after the Reply; OpJobs lists the job after its end
	Await     bool   `json:"await,omitempty"`      // with Detach: no output is dropped until a host attaches, or GraceSec pass
	TimeoutMs int64  `json:"timeout_ms,omitempty"` // SIGTERM to the process group then, SIGKILL 5 s later
	// StopSignal, if not 0, is sent to the command itself at OpPoweroff, which then waits some seconds for its end.
	StopSignal int `json:"stop_signal,omitempty"`
}

// Size is a terminal's, in characters.
type Size struct {
	Rows uint16 `json:"rows"`
	Cols uint16 `json:"cols"`
}

// Signal is for a job's process group; with a terminal, for its foreground one.
type Signal struct {
	Signal int `json:"signal"`
}

// Exit is how a job ended. Code is 128+Signal for a signal, 126 and 127 for a command that cannot run and one that is
// not there, and then Error says why.
type Exit struct {
	Code     int    `json:"code"`
	Signal   int    `json:"signal,omitempty"`
	TimedOut bool   `json:"timed_out,omitempty"`
	Error    string `json:"error,omitempty"`
	// Lost counts the bytes of output that were dropped while nobody was attached.
	Lost uint64 `json:"lost,omitempty"`
}

// Job describes a job in OpJobs.
type Job struct {
	ID       string `json:"id"`
	PID      int    `json:"pid"`
	Command  string `json:"command"` // shortened, as the guest gives it: not fit for a terminal before it is sanitised
	User     string `json:"user"`
	Started  int64  `json:"started"` // unix seconds of the guest's clock
	TTY      bool   `json:"tty,omitempty"`
	Detached bool   `json:"detached,omitempty"`
	Attached bool   `json:"attached,omitempty"` // a host is attached now
	Orphaned bool   `json:"orphaned,omitempty"` // its host stayed behind at a restore
	Exit     *Exit  `json:"exit,omitempty"`     // nil while it runs
}

// Process is one in the guest. Start is in clock ticks since the guest's boot.
type Process struct {
	PID     int    `json:"pid"`
	Start   uint64 `json:"start"`
	UID     uint32 `json:"uid"`
	Command string `json:"command"` // shortened, as the guest gives it: not fit for a terminal before it is sanitised
}

// Info describes the guest, as it sees itself.
type Info struct {
	Release   string    `json:"release"` // of the agent
	Kernel    string    `json:"kernel"`  // uname -r
	Hostname  string    `json:"hostname"`
	UptimeSec float64   `json:"uptime_sec"`
	Load      [3]string `json:"load"`
	MemTotal  int64     `json:"mem_total"` // bytes
	MemFree   int64     `json:"mem_available"`
	Addresses []string  `json:"addresses,omitempty"` // CIDR, without loopback's and link-local ones
	Jobs      int       `json:"jobs"`
}

// Restored tells a guest that it is new, or was loaded from a snapshot. The agent sets the clock, reseeds the kernel's
// random pool and, for a clone that is to be one, gives it an identity; then it runs /etc/noid/on-restore.d.
type Restored struct {
	Event    string `json:"event"`              // "create", "restore" or "clone": NOID_EVENT
	Name     string `json:"name"`               // NOID_NAME
	Source   string `json:"source"`             // NOID_SOURCE, as VM@ID
	Clock    int64  `json:"clock"`              // as in Request
	Seed     []byte `json:"seed"`               // 64 bytes of the host's randomness
	Identity bool   `json:"identity,omitempty"` // set the hostname to Name and make a new /etc/machine-id
}
