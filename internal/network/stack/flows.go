package stack

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"noid/internal/network/control"
)

// Limits bound what a guest can have the stack keep. The least recently used flow goes for a new one. Zero fields mean
// the defaults.
type Limits struct {
	TCP, UDP, ICMP int    // flows
	Connecting     int    // TCP connections that are being made
	Closing        int    // TCP connections that are closed, and of which the guest does not have all
	Queries        int    // DNS queries that are being answered
	Memory         uint64 // bytes of the heap, above which flows go
}

// The defaults. A flow takes one descriptor, two goroutines if it is TCP, and up to two buffers of bufferMax.
var defaults = Limits{TCP: 2048, UDP: 1024, ICMP: 64, Connecting: 1024, Closing: 1024, Queries: 256, Memory: 128 << 20}

func (l Limits) orDefault() Limits {
	for _, f := range []struct{ have, want *int }{{&l.TCP, &defaults.TCP}, {&l.UDP, &defaults.UDP}, {&l.ICMP, &defaults.ICMP},
		{&l.Connecting, &defaults.Connecting}, {&l.Closing, &defaults.Closing}, {&l.Queries, &defaults.Queries}} {
		if *f.have == 0 {
			*f.have = *f.want
		}
	}
	if l.Memory == 0 {
		l.Memory = defaults.Memory
	}
	return l
}

type key struct{ guest, remote netip.AddrPort }

// flow is one that lives. Its end takes it out of its table.
type flow struct {
	key
	proto     string
	inbound   bool
	peer      bool // inbound alone: another VM has opened it
	sent, got atomic.Uint64
	last      atomic.Int64               // when something last went through it, in nanoseconds
	send      func([]byte)               // datagrams alone: hands on one of the guest's
	end       func()                     // cuts it at once; it may be called again
	refuse    func()                     // of a peer's datagrams: tells it that nobody is there
	expiry    atomic.Pointer[time.Timer] // of those that came by a port of the host, over UDP
}

func (f *flow) touch() { f.last.Store(time.Now().UnixNano()) }

func (f *flow) idle() time.Duration { return time.Duration(time.Now().UnixNano() - f.last.Load()) }

// table has the flows of one kind, max of them at most.
type table struct {
	mu        sync.Mutex
	max       int
	flows     map[key]*flow
	sent, got uint64 // of flows that have ended
}

func (t *table) find(k key) *flow {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.flows[k]
}

// add takes in f, which nobody else has added, and cuts what there is no room for.
func (t *table) add(f *flow) {
	f.touch()
	t.mu.Lock()
	if t.flows == nil {
		t.flows = map[key]*flow{}
	}
	var gone *flow
	if len(t.flows) >= t.max {
		gone = t.oldest()
		t.drop(gone)
	}
	t.flows[f.key] = f
	t.mu.Unlock()
	if gone != nil {
		gone.end()
	}
}

func (t *table) oldest() (oldest *flow) {
	for _, f := range t.flows {
		if oldest == nil || f.last.Load() < oldest.last.Load() {
			oldest = f
		}
	}
	return oldest
}

// remove takes out f, unless another has its place by now.
func (t *table) remove(f *flow) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.flows[f.key] == f {
		t.drop(f)
	}
}

func (t *table) drop(f *flow) {
	delete(t.flows, f.key)
	t.sent += f.sent.Load()
	t.got += f.got.Load()
}

// total returns how many bytes have gone both ways.
func (t *table) total() (sent, got uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	sent, got = t.sent, t.got
	for _, f := range t.flows {
		sent += f.sent.Load()
		got += f.got.Load()
	}
	return sent, got
}

// list returns the flows as they are now.
func (t *table) list() []*flow {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]*flow, 0, len(t.flows))
	for _, f := range t.flows {
		list = append(list, f)
	}
	return list
}

// cut ends the flows that are chosen, and returns their number.
func (t *table) cut(chosen func(*flow) bool) (n int) {
	for _, f := range t.list() {
		if chosen(f) {
			t.remove(f)
			f.end()
			n++
		}
	}
	return n
}

// Flows returns the flows as they are now.
func (s *Stack) Flows() []control.Flow {
	all := []control.Flow{}
	for _, t := range s.tables() {
		for _, f := range t.list() {
			all = append(all, control.Flow{Proto: f.proto, Guest: f.guest, Remote: f.remote, Inbound: f.inbound, Sent: f.sent.Load(), Got: f.got.Load()})
		}
	}
	return all
}
