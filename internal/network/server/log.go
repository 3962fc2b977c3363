package server

import (
	"encoding/json"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"

	"noid/internal/network/intercept"
)

const (
	// maxLog bounds what the log takes on disk, in bytes; about keepLog of its end stay when it gets longer.
	maxLog, keepLog = 1 << 20, 512 << 10
	// logBlock is a multiple of the blocks of file systems.
	logBlock = 64 << 10
	// lineRate bounds how many lines a second a guest can have written, lineBurst at once.
	lineRate, lineBurst = 50, 200
	// maxText bounds each text of a line, in bytes.
	maxText = 300
)

// Entry is a line of the log.
type Entry struct {
	Time  time.Time `json:"time"`
	Event string    `json:"event"` // refused; missed: Count refusals are not in the log; secret: one was used, or refused; socket: one was connected
	Proto string    `json:"proto,omitempty"`
	To    string    `json:"to,omitempty"` // an address, or a name that was to be resolved
	Why   string    `json:"why,omitempty"`
	Count int       `json:"count,omitempty"`
	Guest string    `json:"guest,omitempty"` // a unix socket of the guest's; To is that of the host
	// Of a secret: its name, and the request that got its value. Why is there for one that was refused it.
	Secret string `json:"secret,omitempty"`
	Method string `json:"method,omitempty"`
	Path   string `json:"path,omitempty"`   // without the query
	Status int    `json:"status,omitempty"` // what the guest was answered
}

// logFile is net.log: bounded, and so is what is written to it in a second. It stays one file, and what is in it stays
// where it is, for those who follow it: what is too much at its beginning becomes a hole.
type logFile struct {
	path string

	mu     sync.Mutex
	file   *os.File
	begin  int64 // where the hole ends
	size   int64
	bound  *rate.Limiter
	missed int
}

func openLog(path string) *logFile {
	return &logFile{path: path, bound: rate.NewLimiter(lineRate, lineBurst)}
}

// used notes that a secret was used. Requests that were refused it are bounded as other refusals.
func (l *logFile) used(u intercept.Use) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := Entry{Time: u.Time, Event: "secret", To: u.Host, Secret: u.Secret, Method: cut(u.Method), Path: cut(u.Path), Status: u.Status}
	if u.Denied {
		if !l.bound.Allow() {
			l.missed++
			return
		}
		e.Why = "no pattern of the secret allows it"
	}
	l.write(e)
}

// socket notes that who came to a socket is led to the other end, or why not. Of one of the guest's that the host reaches
// directly there is no path here.
func (l *logFile) socket(host, guest string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.bound.Allow() {
		l.missed++
		return
	}
	e := Entry{Time: time.Now().UTC(), Event: "socket", Proto: "unix", To: host, Guest: cut(guest)}
	if err != nil {
		e.Why = cut(err.Error())
	}
	l.write(e)
}

// refused notes that the guest was refused something.
func (l *logFile) refused(proto, to string, why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.bound.Allow() {
		l.missed++
		return
	}
	now := time.Now().UTC()
	if l.missed > 0 {
		l.write(Entry{Time: now, Event: "missed", Count: l.missed})
		l.missed = 0
	}
	l.write(Entry{Time: now, Event: "refused", Proto: proto, To: cut(to), Why: cut(why.Error())})
}

func cut(s string) string { return s[:min(len(s), maxText)] }

// write appends a line. A log that cannot be written is no reason to stop.
func (l *logFile) write(line any) {
	data, err := json.Marshal(line)
	if err != nil {
		return
	}
	if l.file == nil && l.open() != nil {
		return
	}
	if l.size-l.begin > maxLog {
		l.shorten()
	}
	n, _ := l.file.Write(append(data, '\n'))
	l.size += int64(n)
}

func (l *logFile) open() error {
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		f.Close()
		return err
	}
	l.file, l.size = f, info.Size()
	if l.begin, err = unix.Seek(int(f.Fd()), 0, unix.SEEK_DATA); err != nil { // nothing is in it, or the file system cannot tell
		l.begin = 0
	}
	return nil
}

// shorten makes a hole of all but the end. Where a file system has no holes nothing stays.
func (l *logFile) shorten() {
	end := (l.size - keepLog) / logBlock * logBlock
	if unix.Fallocate(int(l.file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, end) == nil {
		l.begin = end
	} else if l.file.Truncate(0) == nil {
		l.begin, l.size = 0, 0
	}
}
