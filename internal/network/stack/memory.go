package stack

import (
	"runtime"
	"runtime/metrics"
	"slices"
	"time"
)

// boundEvery is how often bound looks at the heap.
const boundEvery = 250 * time.Millisecond

// bound has the heap be no larger than it may be.
func (s *Stack) bound() {
	tick := time.NewTicker(boundEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
			s.shrink(s.config.Limits.Memory)
		}
	}
}

// shrink cuts TCP connections, a quarter of all, if the heap is larger than limit: those that are closed, and if that was
// not enough the flows that have been idle for longest. A guest can fill the buffers of many connections to servers that
// do not read, and not take what servers have sent.
func (s *Stack) shrink(limit uint64) {
	if Heap() < limit {
		return
	}
	if s.closing.cut() > 0 {
		runtime.GC()
		runtime.GC() // the first one leaves what is in pools
		if Heap() < limit {
			return
		}
	}
	flows := append(s.tcp.list(), s.peers.tcp.list()...)
	slices.SortFunc(flows, func(a, b *flow) int { return int(a.last.Load() - b.last.Load()) })
	for _, f := range flows[:(len(flows)+3)/4] {
		s.tcp.remove(f)
		s.peers.tcp.remove(f)
		f.end()
	}
}

// Heap returns how many bytes the process's objects take, dead ones included until they are collected.
func Heap() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
