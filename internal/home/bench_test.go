package home

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"noid/internal/checkpoint"
	"noid/internal/manifest"
)

// BenchmarkListVMs lists as a noid does that was just started: the index is opened for each listing.
func BenchmarkListVMs(b *testing.B) {
	for _, n := range []int{10, 1000} {
		h := openHome(b)
		for i := range n {
			v := testVM(fmt.Sprintf("vm%04d", i), epoch.Add(time.Duration(i)*time.Second))
			addVM(b, h, v)
			age(b, filepath.Join(h.VMDir(v.Name), vmManifest))
		}
		benchmarkRows(b, h, n, func() (int, error) {
			list, err := h.ListVMs(b.Context())
			return len(list), err
		})
	}
}

// BenchmarkCheckpointLabels is BenchmarkListVMs for the checkpoints of one VM.
func BenchmarkCheckpointLabels(b *testing.B) {
	for _, n := range []int{10, 1000} {
		h := openHome(b)
		addVM(b, h, testVM("dev", epoch))
		for i := range n {
			c := checkpoint.Record{ID: fmt.Sprintf("%08x", i), VM: "dev", Label: fmt.Sprint("label ", i), CreatedAt: epoch.Add(time.Duration(i) * time.Second),
				Machine: testVM("dev", epoch).Machine, Memory: true, Files: map[string]manifest.File{"rootfs.ext4": {}, "serial.log": {}}}
			addCheckpoint(b, h, c)
			age(b, checkpoint.ManifestPath(h.CheckpointDir("dev", c.ID)))
		}
		benchmarkRows(b, h, n, func() (int, error) {
			list, err := h.CheckpointLabels(b.Context(), "dev")
			return len(list), err
		})
	}
}

func benchmarkRows(b *testing.B, h *Home, n int, list func() (int, error)) {
	list() // which fills the index
	b.Run(fmt.Sprint(n), func(b *testing.B) {
		for b.Loop() {
			rows, err := list()
			if err := errors.Join(err, h.Close()); err != nil || rows != n {
				b.Fatal(rows, err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n), "µs/row")
	})
	os.RemoveAll(h.Dir())
}
