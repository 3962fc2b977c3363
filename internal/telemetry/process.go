package telemetry

import (
	"bytes"
	"os"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// clockTick is Linux's USER_HZ, the unit of times in /proc/PID/stat: 100 on every architecture that Go has for Linux.
const clockTick = 100

// Process adds what this process takes, under the names that Prometheus's own libraries use. What /proc does not say is
// left out.
func (t *Text) Process() {
	if s, ok := readStat(); ok {
		t.One("process_cpu_seconds_total", "counter", "Processor time that this process has used, in seconds.", s.cpu)
		t.One("process_resident_memory_bytes", "gauge", "Resident memory of this process.", s.resident)
		t.One("process_virtual_memory_bytes", "gauge", "Virtual memory of this process.", s.virtual)
		if boot := bootTime(); boot > 0 {
			t.One("process_start_time_seconds", "gauge", "When this process started, in seconds of Unix time.", boot+s.start)
		}
	}
	if fds, err := os.ReadDir("/proc/self/fd"); err == nil {
		t.One("process_open_fds", "gauge", "Open file descriptors.", float64(len(fds)-1)) // without the directory's own
	}
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) == nil {
		t.One("process_max_fds", "gauge", "How many file descriptors may be open.", float64(limit.Cur))
	}
	t.One("go_goroutines", "gauge", "Goroutines that exist.", float64(runtime.NumGoroutine()))
	samples := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/gc/cycles/total:gc-cycles"}}
	metrics.Read(samples)
	if samples[0].Value.Kind() == metrics.KindUint64 {
		t.One("go_memstats_heap_alloc_bytes", "gauge", "Bytes of objects on the heap.", float64(samples[0].Value.Uint64()))
	}
	t.Family("go_info", "gauge", "The Go that made this program.")
	t.Sample(1, "version", runtime.Version())
}

// stat is what /proc/self/stat says: seconds, bytes, and the start in seconds since the boot.
type stat struct{ cpu, virtual, resident, start float64 }

func readStat() (s stat, ok bool) {
	data, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return s, false
	}
	// The fields after the program's name, which may have anything in it: proc(5) has state as the third.
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	if len(fields) < 22 {
		return s, false
	}
	field := func(n int) float64 {
		value, _ := strconv.ParseFloat(fields[n-3], 64)
		return value
	}
	return stat{cpu: (field(14) + field(15)) / clockTick, start: field(22) / clockTick, virtual: field(23), resident: field(24) * float64(os.Getpagesize())}, true
}

// bootTime is when this machine has booted, in seconds of Unix time, or 0.
func bootTime() float64 {
	data, _ := os.ReadFile("/proc/stat")
	for line := range strings.Lines(string(data)) {
		if text, found := strings.CutPrefix(line, "btime "); found {
			at, _ := strconv.ParseFloat(strings.TrimSpace(text), 64)
			return at
		}
	}
	return 0
}
