package stack

import (
	"runtime/metrics"
	"slices"
	"time"
)

// boundEvery is how often bound looks at the heap.
const boundEvery = 250 * time.Millisecond

// bound cuts the TCP flows that have been idle for longest, a quarter of all at a time, while the heap is larger than
// it may be: a guest can fill the buffers of many connections to servers that do not read.
func (s *Stack) bound() {
	tick := time.NewTicker(boundEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
		}
		if Heap() < s.config.Limits.Memory {
			continue
		}
		flows := append(s.tcp.list(), s.peers.tcp.list()...)
		slices.SortFunc(flows, func(a, b *flow) int { return int(a.last.Load() - b.last.Load()) })
		for _, f := range flows[:(len(flows)+3)/4] {
			s.tcp.remove(f)
			s.peers.tcp.remove(f)
			f.end()
		}
	}
}

// Heap returns how many bytes the process's objects take, dead ones included until they are collected.
func Heap() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
