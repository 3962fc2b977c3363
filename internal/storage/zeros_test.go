package storage

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestPunchZeros writes zeros over most of a clone, with other bytes between, as a Diff of a guest that has given memory
// back. All of what they take comes back, also where the file system frees an extent only as a whole, and the file is as
// before.
func TestPunchZeros(t *testing.T) {
	onEach(t, func(t *testing.T, dir string, reflinks bool) {
		const size, at, zeroed = 24 << 20, 4 << 20, 16 << 20
		src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
		data := make([]byte, size)
		rnd := rand.NewChaCha8([32]byte{1})
		rnd.Read(data)
		must(t, os.WriteFile(src, data, 0o600))
		must(t, SyncFile(t.Context(), src))
		known, err := HashFile(t.Context(), src, 0)
		must(t, err)
		_, err = Clone(t.Context(), dst, src)
		must(t, err)
		clear(data[at : at+zeroed])
		kept := int64(0)
		for off := at + 3*FineChunk; off < at+zeroed; off += 4 << 20 {
			rnd.Read(data[off : off+2*FineChunk])
			kept += 2 * FineChunk
		}
		f, err := os.OpenFile(dst, os.O_RDWR, 0)
		must(t, err)
		defer f.Close()
		_, err = f.WriteAt(data[at:at+zeroed], at)
		must(t, err)
		must(t, f.Sync())
		then := time.Unix(1700000000, 123456789)
		must(t, os.Chtimes(dst, then, then))
		must(t, SyncFS(dir))
		before, err := Free(dir)
		must(t, err)
		h, err := HashLike(t.Context(), dst, src, known)
		must(t, err)

		must(t, PunchZeros(t.Context(), dst, h))
		must(t, SyncFile(t.Context(), dst))
		must(t, SyncFS(dir))
		after, err := Free(dir)
		must(t, err)
		if own := !strings.HasSuffix(t.Name(), "/here"); own && after-before < zeroed-2*kept { // here others write too
			t.Errorf("of %d MiB of zeros %d came back", zeroed>>20, (after-before)>>20)
		}
		if got, err := os.ReadFile(dst); err != nil || string(got) != string(data) {
			t.Errorf("the file is not as before: %v", err)
		}
		if info, err := os.Stat(dst); err != nil || !info.ModTime().Equal(then) {
			t.Errorf("its time is %v, %v", info.ModTime(), err)
		}
		if _, onDisk, err := Usage(dst); err != nil || onDisk > size-zeroed+2*kept {
			t.Errorf("of %d MiB it still takes %d, %v", size>>20, onDisk>>20, err)
		}
		again, err := HashLike(t.Context(), dst, src, known)
		if err != nil || again.Root() != h.Root() {
			t.Errorf("its hash is another: %v", err)
		}
		if reflinks && len(h.zeroRuns(f)) != 0 {
			t.Errorf("still zeros at %v", h.zeroRuns(f))
		}
	})
}
