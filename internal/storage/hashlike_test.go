package storage

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// TestHashLike writes to a clone in all ways and hashes it with the sums of its source, of which one is forged: chunks
// that are shared take it, others are read.
func TestHashLike(t *testing.T) {
	onEach(t, func(t *testing.T, dir string, reflinks bool) {
		const chunks, chunk = 40, FineChunk
		src := filepath.Join(dir, "src")
		data := make([]byte, chunks*chunk-5000)
		rnd := rand.NewChaCha8([32]byte{1})
		rnd.Read(data)
		copy(data[8*chunk:9*chunk], zeros[:])
		if err := os.WriteFile(src, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := SyncFile(t.Context(), src); err != nil {
			t.Fatal(err)
		}
		known, err := HashFile(t.Context(), src, chunk)
		if err != nil {
			t.Fatal(err)
		}
		dst := filepath.Join(dir, "dst")
		if _, err := Clone(t.Context(), dst, src); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(dst, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		changed := map[int]bool{}
		write := func(at int64, b []byte) {
			if _, err := f.WriteAt(b, at); err != nil {
				t.Fatal(err)
			}
			changed[int(at/chunk)], changed[int((at+int64(len(b))-1)/chunk)] = true, true
		}
		write(3*chunk+77, []byte("a few bytes"))
		write(5*chunk-4096, bytes.Repeat([]byte{7}, 8192)) // over a border
		write(8*chunk+4096, []byte("where zeros were"))
		for _, hole := range []int64{11 * chunk, 13*chunk + 8192} {
			if err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, hole, chunk/2); err != nil {
				t.Fatal(err)
			}
			changed[int(hole/chunk)] = true
		}
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
		want, err := HashFile(t.Context(), dst, chunk)
		if err != nil {
			t.Fatal(err)
		}
		got, err := HashLike(t.Context(), dst, src, known)
		if err != nil || got.Root() != want.Root() {
			t.Errorf("it differs from HashFile's: %v", err)
		}
		forged := Hash{Length: known.Length, Chunk: chunk, Chunks: make([]Sum, len(known.Chunks))}
		for i := range forged.Chunks {
			forged.Chunks[i] = Sum{1, byte(i)}
		}
		if got, err = HashLike(t.Context(), dst, src, forged); err != nil {
			t.Fatal(err)
		}
		for i := range got.Chunks[:chunks-1] { // of the last, XFS may have reserved more
			switch shared := reflinks && !changed[i]; {

			case shared && got.Chunks[i] != forged.Chunks[i]:
				t.Errorf("chunk %d is shared and was read", i)
			case !shared && got.Chunks[i] != want.Chunks[i]:
				t.Errorf("chunk %d was not read", i)
			}
		}
		// Of another length, of nothing, of a file that is gone: all is read.
		for _, like := range []string{filepath.Join(dir, "none"), os.DevNull} {
			if got, err := HashLike(t.Context(), dst, like, known); err != nil || got.Root() != want.Root() {
				t.Errorf("like %s: %v", like, err)
			}
		}
	})
}

// TestCloneCompact clones a file of two large pieces, with holes, as it is, and once a thousand and a half of small
// ones have been written into its clone, compact.
func TestCloneCompact(t *testing.T) {
	onEach(t, func(t *testing.T, dir string, reflinks bool) {
		path := func(name string) string { return filepath.Join(dir, name) }
		data := make([]byte, 12<<20)
		rand.NewChaCha8([32]byte{2}).Read(data)
		for name, at := range map[string]int64{"src": 0, "sparse": 12 << 20} {
			f, err := os.Create(path(name))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := f.Truncate(40 << 20); err != nil { // XFS reserves space behind a file that grows
				t.Fatal(err)
			}
			for i := int64(0); i < 1500; i++ { // of the one adjacent, of the other with holes between
				if _, err := f.WriteAt(data[i*8192:][:8192], i*8192+i*at/1024); err != nil {
					t.Fatal(err)
				}
			}
			if err := f.Sync(); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range []string{"src", "sparse"} {
			if method, err := CloneCompact(t.Context(), path(name+"2"), path(name)); err != nil || (method == Reflink) != reflinks {
				t.Errorf("%s, of as few pieces as can be: %s, %v", name, method, err)
			}
		}
		f, err := os.OpenFile(path("src2"), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for i := int64(0); i < 1500; i++ {
			if _, err := f.WriteAt(data[:4096], i*8192); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
		// In use, and mapped.
		if _, err := Clone(t.Context(), path("live"), path("src2")); err != nil {
			t.Fatal(err)
		}
		live, err := os.OpenFile(path("live"), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer live.Close()
		mapped, err := unix.Mmap(int(live.Fd()), 0, 12<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Munmap(mapped)
		mapped[5<<20] ^= 1
		want := bytes.Clone(mapped)
		Compact(live)
		if err := live.Sync(); err != nil || !bytes.Equal(mapped, want) {
			t.Errorf("compacting changes what is in the file, %v", err)
		}
		if n, err := countExtents(live); FSType(dir) == "btrfs" && (err != nil || n > 200) {
			t.Errorf("the file in use has %d pieces, %v", n, err)
		}
		if method, err := CloneCompact(t.Context(), path("src3"), path("src2")); err != nil || method != Copy {
			t.Errorf("%s, %v", method, err)
		}
		a, err := HashFile(t.Context(), path("src2"), HashChunk)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := HashFile(t.Context(), path("src3"), HashChunk); err != nil || a.Root() != b.Root() {
			t.Errorf("the copy differs: %v", err)
		}
		if err := SyncFile(t.Context(), path("src3")); err != nil {
			t.Fatal(err)
		}
		if c, err := os.Open(path("src3")); err != nil {
			t.Error(err)
		} else {
			defer c.Close()
			if n, err := countExtents(c); err != nil || reflinks && n > 200 {
				t.Errorf("the copy has %d pieces, %v", n, err)
			}
		}
	})
}

// TestWriteLike writes a file beside others: its content is what was given whatever they hold, and what is equal is
// shared.
func TestWriteLike(t *testing.T) {
	onEach(t, func(t *testing.T, dir string, reflinks bool) {
		data := make([]byte, 40_000+3<<20)
		rand.NewChaCha8([32]byte{2}).Read(data[:40_000])
		data[len(data)-1] = 1
		other := bytes.Clone(data)
		copy(other[9000:], "differs")
		for name, like := range map[string][]byte{"equal": data, "differs": other, "shorter": data[:10_000], "longer": slices.Concat(other, data), "full": bytes.Repeat([]byte{3}, len(data)), "empty": {}, "missing": nil} {
			src, dst := filepath.Join(dir, name), filepath.Join(dir, name+".new")
			if like != nil {
				if err := os.WriteFile(src, like, 0o400); err != nil {
					t.Fatal(err)
				}
				if err := SyncFile(t.Context(), src); err != nil {
					t.Fatal(err)
				}
			}
			if err := WriteLike(t.Context(), dst, src, [][]byte{data[:5], nil, data[5:6], data[6:9000], data[9000:]}); err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(dst); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%s: other bytes than were written (%v)", name, err)
			}
			if info, err := os.Stat(dst); err != nil || info.Mode() != 0o400 {
				t.Errorf("%s: %v, %v", name, info.Mode(), err)
			}
			if err := SyncFile(t.Context(), dst); err != nil {
				t.Fatal(err)
			}
			if _, n, err := Usage(dst); name == "missing" && (err != nil || n > 64<<10) {
				t.Errorf("3 MiB of zeros take %d bytes (%v)", n, err)
			}
			f, err := os.Open(dst)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			for _, off := range []int{0, 4097, 39_990, 1 << 20, len(data) - 10} {
				part := make([]byte, min(5000, len(data)-off))
				if err := ReadData(f, part, int64(off)); err != nil || !bytes.Equal(part, data[off:][:len(part)]) {
					t.Errorf("%s: reading at %d gave something else (%v)", name, off, err)
				}
			}
			occupied, err := Occupy(t.Context(), dir, nil)
			if err != nil {
				t.Fatal(err)
			}
			if name == "differs" && reflinks && occupied.Shared() < 36_864-2*4096 {
				t.Errorf("only %d bytes are shared", occupied.Shared())
			}
		}
		if now, err := os.ReadFile(filepath.Join(dir, "differs")); err != nil || !bytes.Equal(now, other) {
			t.Errorf("the other file has changed (%v)", err)
		}
	})
}
