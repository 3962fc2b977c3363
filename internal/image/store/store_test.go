package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"noid/internal/errs"
	"noid/internal/image"
	"noid/internal/image/base"
	"noid/internal/image/flatten"
	"noid/internal/image/imagetest"
	"noid/internal/image/source"
	"noid/internal/storage"
)

// builds counts what buildSums has built.
type builds struct{ begun, done atomic.Int64 }

// buildSums writes the sums of the layers instead of a file system.
func (b *builds) buildSums(ctx context.Context, f *os.File, layers []flatten.Layer, _ base.Options) (base.Stats, error) {
	b.begun.Add(1)
	for _, l := range slices.Backward(layers) {
		r, err := l.Open(ctx)
		if err != nil {
			return base.Stats{}, err
		}
		h := sha256.New()
		_, err = io.Copy(h, r)
		if err = errors.Join(err, r.Close()); err != nil {
			return base.Stats{}, err
		}
		fmt.Fprintf(f, "%x\n", h.Sum(nil))
	}
	b.done.Add(1)
	info, err := f.Stat()
	return base.Stats{Size: info.Size()}, err
}

// newStore is a store whose bases are the sums of the layers.
func newStore(t *testing.T) (*Store, *builds) {
	t.Helper()
	t.Setenv("HOME", t.TempDir())
	t.Setenv("DOCKER_CONFIG", "")
	b := &builds{}
	s := New(filepath.Join(t.TempDir(), "images"))
	s.build = b.buildSums
	return s, b
}

func layer(t *testing.T, text string) []byte {
	return imagetest.Tar(t, map[string]string{"file": text})
}

// sums is what buildSums makes of layers, the bottom one first.
func sums(layers ...[]byte) string {
	text := ""
	for _, l := range slices.Backward(layers) {
		text += fmt.Sprintf("%x\n", sha256.Sum256(l))
	}
	return text
}

// get gets ref, whose base must be want.
func get(t *testing.T, s *Store, ref string, p Policy, want string) image.Image {
	t.Helper()
	img, path, err := s.Get(t.Context(), ref, p)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Fatalf("%s: %v: %q, want %q", path, err, got, want)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o400 {
		t.Errorf("%s is writable: %v, %v", path, info.Mode(), err)
	}
	return img
}

// files are all that is in the store's directory, sorted.
func files(t *testing.T, s *Store) (all []string) {
	t.Helper()
	err := filepath.WalkDir(s.dir, func(path string, d os.DirEntry, err error) error {
		name, _ := filepath.Rel(s.dir, path)
		if err == nil && !d.IsDir() {
			all = append(all, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestGet pulls when the policy says so, and keeps one image for each digest.
func TestGet(t *testing.T) {
	s, b := newStore(t)
	r := imagetest.Serve(t)
	first, second := layer(t, "first"), layer(t, "second")
	ref := r.Push(t, "app:1", imagetest.Image(t, first))
	if _, _, err := s.Get(t.Context(), ref, Never); !errors.Is(err, errs.ErrNotFound) || !strings.Contains(errs.Hint(err), "image pull") {
		t.Errorf("never: %v (%s)", err, errs.Hint(err))
	}
	img := get(t, s, ref, Missing, sums(first))
	want := image.Image{Digest: img.Digest, Refs: []string{ref}, Layers: img.Layers, Built: img.Built, Size: 65,
		Config: image.Config{Env: []string{"PATH=/bin"}, User: "nobody", WorkingDir: "/tmp", Cmd: []string{"/bin/true"}, StopSignal: "SIGINT"}}
	if diff := cmp.Diff(want, img); diff != "" || len(img.Layers) != 1 {
		t.Error(diff)
	}
	if data, err := os.ReadFile(filepath.Join(s.imageDir(img.Digest), manifestFile)); err != nil || fmt.Sprintf("sha256:%x", sha256.Sum256(data)) != img.Digest {
		t.Errorf("the manifest is not kept: %v", err)
	}
	r.Push(t, "app:1", imagetest.Image(t, first, second))
	asked := r.Requests.Load()
	get(t, s, ref, Missing, sums(first))
	get(t, s, ref, Never, sums(first))
	get(t, s, img.Digest, Missing, sums(first))
	if r.Requests.Load() != asked {
		t.Error("the registry was asked for an image that is there")
	}
	newer := get(t, s, ref, Always, sums(first, second))
	get(t, s, ref, Missing, sums(first, second))
	r.Push(t, "app:2", imagetest.Image(t, first, second))
	get(t, s, strings.Replace(ref, ":1", ":2", 1), Missing, sums(first, second))
	if b.done.Load() != 2 {
		t.Errorf("%d images were built, not 2", b.done.Load())
	}
	all, err := s.List()
	if err != nil || len(all) != 2 {
		t.Fatal(all, err)
	}
	for _, img := range all {
		if img.Digest == newer.Digest && len(img.Refs) != 2 || img.Digest != newer.Digest && len(img.Refs) != 0 {
			t.Errorf("%s is called %s", img.Digest, img.Refs)
		}
	}
	short, err := s.Find(strings.TrimPrefix(newer.Digest, "sha256:")[:12])
	if err != nil || short.Digest != newer.Digest {
		t.Error(short, err)
	}
}

// TestDigestIsNoName has a tag that reads like the digest of another image: the digest is the image's.
func TestDigestIsNoName(t *testing.T) {
	s, _ := newStore(t)
	r := imagetest.Serve(t)
	one, two := layer(t, "one"), layer(t, "two")
	img := get(t, s, r.Push(t, "one:1", imagetest.Image(t, one)), Missing, sums(one))
	other := get(t, s, r.Push(t, "two:1", imagetest.Image(t, two)), Missing, sums(two))
	if _, err := s.setRef(t.Context(), img.Digest, other.Digest); err != nil {
		t.Fatal(err)
	}
	get(t, s, img.Digest, Missing, sums(one))
	if err := s.Remove(t.Context(), img.Digest); err != nil {
		t.Fatal(err)
	}
	if left, err := s.List(); err != nil || len(left) != 1 || left[0].Digest != other.Digest {
		t.Errorf("%+v, %v", left, err)
	}
}

// TestFiles looks at a file again each time, unless the policy is never.
func TestFiles(t *testing.T) {
	s, b := newStore(t)
	file := filepath.Join(t.TempDir(), "root.tar")
	write := func(text string) []byte {
		data := layer(t, text)
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return data
	}
	one := write("one")
	get(t, s, "tar:"+file, Missing, sums(one))
	two := write("two")
	get(t, s, "tar:"+file, Never, sums(one))
	get(t, s, "tar:"+file, Missing, sums(two))
	get(t, s, "tar:"+file, Missing, sums(two))
	if b.done.Load() != 2 {
		t.Errorf("%d images were built, not 2", b.done.Load())
	}
	if _, err := s.Import(t.Context(), "tar:"+file, "mine:1"); err != nil {
		t.Fatal(err)
	}
	get(t, s, "docker.io/library/mine:1", Missing, sums(two))
	digest := "sha256:" + strings.Repeat("a", 64)
	for _, name := range []string{"NO:1", "tar:" + file + "2", "docker-daemon:mine:1", digest, "mine@" + digest} {
		if _, err := s.Import(t.Context(), "tar:"+file, name); !errors.Is(err, errs.ErrUsage) || errs.Hint(err) == "" {
			t.Errorf("%s: %v (%s)", name, err, errs.Hint(err))
		}
	}
}

// TestOneBuilder has several noids get the same image at once.
func TestOneBuilder(t *testing.T) {
	s, b := newStore(t)
	r := imagetest.Serve(t)
	data := layer(t, "text")
	ref := r.Push(t, "app:1", imagetest.Image(t, data))
	results := make(chan error)
	for range 8 {
		other := New(s.dir)
		other.build = b.buildSums
		go func() {
			_, _, err := other.Get(t.Context(), ref, Missing)
			results <- err
		}()
	}
	for range 8 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	get(t, s, ref, Never, sums(data))
	if b.begun.Load() != 1 {
		t.Errorf("it was built %d times", b.begun.Load())
	}
}

// asked is a context that tells when somebody waits for its end.
type asked struct {
	context.Context
	tell func()
}

func (a asked) Done() <-chan struct{} {
	a.tell()
	return a.Context.Done()
}

// TestPublishedMeanwhile has another noid publish the image after this one has looked for it.
func TestPublishedMeanwhile(t *testing.T) {
	s, b := newStore(t)
	src := &source.Image{Digest: "sha256:" + strings.Repeat("a", 64)}
	dir := s.imageDir(src.Digest)
	staged := filepath.Join(s.dir, newPrefix+filepath.Base(dir))
	if err := os.MkdirAll(staged, 0o700); err != nil {
		t.Fatal(err)
	}
	lock := lockDir(t, staged)
	publish := sync.OnceFunc(func() {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Error(err)
		}
		storage.Unlock(lock)
	})
	if err := s.ensure(asked{t.Context(), publish}, src); err != nil || b.begun.Load() > 0 {
		t.Errorf("it was built %d times more: %v", b.begun.Load(), err)
	}
	if _, err := os.Lstat(staged); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left: %v", staged, err)
	}
}

// TestFailedBuild leaves nothing but the layers, and the next one builds.
func TestFailedBuild(t *testing.T) {
	s, b := newStore(t)
	r := imagetest.Serve(t)
	data := layer(t, "text")
	ref := r.Push(t, "app:1", imagetest.Image(t, data))
	s.build = func(context.Context, *os.File, []flatten.Layer, base.Options) (base.Stats, error) {
		return base.Stats{}, errors.New("no way")
	}
	if _, _, err := s.Get(t.Context(), ref, Missing); err == nil || !strings.Contains(err.Error(), "no way") {
		t.Error(err)
	}
	if left := files(t, s); len(left) > 0 {
		t.Errorf("%s is left", left)
	}
	s.build = b.buildSums
	get(t, s, ref, Missing, sums(data))
}

// TestLongConfig refuses an image that could not be recorded, before it downloads any layer.
func TestLongConfig(t *testing.T) {
	s, b := newStore(t)
	src := &source.Image{Digest: "sha256:" + strings.Repeat("a", 64), Config: image.Config{Env: []string{strings.Repeat("x", 1<<20)}}}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := s.ensure(t.Context(), src); err == nil || !strings.Contains(err.Error(), "its configuration: ") || b.begun.Load() > 0 {
		t.Errorf("%d were built: %v", b.begun.Load(), err)
	}
	if left := files(t, s); len(left) > 0 {
		t.Errorf("%s is left", left)
	}
}

// TestUnreadLayer refuses a layer that the build has not read.
func TestUnreadLayer(t *testing.T) {
	s, _ := newStore(t)
	r := imagetest.Serve(t)
	ref := r.Push(t, "app:1", imagetest.Image(t, layer(t, "text")))
	s.build = func(context.Context, *os.File, []flatten.Layer, base.Options) (base.Stats, error) {
		return base.Stats{}, nil
	}
	if _, _, err := s.Get(t.Context(), ref, Missing); err == nil || !strings.Contains(err.Error(), "layer 1 of 1 could not be checked") {
		t.Error(err)
	}
}

// TestDamagedLayer downloads a kept layer again that has rotted on the disk, at the second try.
func TestDamagedLayer(t *testing.T) {
	s, _ := newStore(t)
	r := imagetest.Serve(t)
	data := layer(t, "text")
	ref := r.Push(t, "app:1", imagetest.Image(t, data))
	img := get(t, s, ref, Missing, sums(data))
	kept := filepath.Join(s.dir, layersDir, strings.Replace(img.Layers[0], ":", "-", 1))
	packed, err := os.ReadFile(kept)
	if err != nil {
		t.Fatal(err)
	}
	packed[len(packed)/2] ^= 1
	if err := errors.Join(os.WriteFile(kept, packed, 0o600), os.RemoveAll(s.imageDir(img.Digest))); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Get(t.Context(), ref, Missing); err == nil {
		t.Error("a damaged layer was used")
	}
	get(t, s, ref, Missing, sums(data))
}

// TestRemove removes names, images and layers, and nothing that others need.
func TestRemove(t *testing.T) {
	s, _ := newStore(t)
	r := imagetest.Serve(t)
	shared, own := layer(t, "shared"), layer(t, "own")
	one, two := r.Push(t, "one:1", imagetest.Image(t, shared)), r.Push(t, "two:1", imagetest.Image(t, shared, own))
	first := get(t, s, one, Missing, sums(shared))
	second := get(t, s, two, Missing, sums(shared, own))
	if _, err := s.Import(t.Context(), two, "again:1"); err != nil {
		t.Fatal(err)
	}
	inVM := filepath.Join(t.TempDir(), image.BaseFile)
	if err := os.Link(filepath.Join(s.imageDir(second.Digest), image.BaseFile), inVM); err != nil {
		t.Fatal(err)
	}
	rm := func(ref string) {
		t.Helper()
		if err := s.Remove(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
	}
	pulled := filepath.Join(s.dir, layersDir, "sha256-"+strings.Repeat("0", 64)) // by somebody who has been interrupted
	if err := os.WriteFile(pulled, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	rm(two)
	get(t, s, "again:1", Never, sums(shared, own))
	rm("again:1")
	if err := os.Remove(pulled); err != nil {
		t.Error(err)
	}
	want := []string{"refs.lock", "layers/" + strings.Replace(first.Layers[0], ":", "-", 1), "refs.json",
		filepath.Base(s.imageDir(first.Digest)) + "/base.ext4", filepath.Base(s.imageDir(first.Digest)) + "/image.json",
		filepath.Base(s.imageDir(first.Digest)) + "/config.json", filepath.Base(s.imageDir(first.Digest)) + "/manifest.json"}
	slices.Sort(want)
	got := files(t, s)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if text, err := os.ReadFile(inVM); err != nil || string(text) != sums(shared, own) {
		t.Error(string(text), err)
	}
	if err := s.Remove(t.Context(), two); !errors.Is(err, errs.ErrNotFound) {
		t.Error(err)
	}
	rm(first.Digest[:20])
	if left := files(t, s); len(left) != 2 {
		t.Errorf("%s is left", left)
	}
}

// TestPrune removes what has no name, and what killed commands have left; not what somebody works on, nor what 'noid
// setup' keeps there.
func TestPrune(t *testing.T) {
	s, _ := newStore(t)
	r := imagetest.Serve(t)
	one, two := layer(t, "one"), layer(t, "two")
	ref := r.Push(t, "app:1", imagetest.Image(t, one))
	old := get(t, s, ref, Missing, sums(one))
	r.Push(t, "app:1", imagetest.Image(t, two))
	get(t, s, ref, Always, sums(two))
	kept := append(files(t, s), "rootfs.ext4", ".new-busy/base.ext4")
	kept = slices.DeleteFunc(kept, func(name string) bool {
		return strings.Contains(name, strings.TrimPrefix(old.Digest, "sha256:")) || strings.HasSuffix(name, strings.TrimPrefix(old.Layers[0], "sha256:"))
	})
	for _, name := range []string{".new-dead/base.ext4", ".new-busy/base.ext4", ".old-dead/base.ext4", "layers/sha256-0.partial", "layers/sha256-1", "rootfs.ext4"} {
		path := filepath.Join(s.dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, make([]byte, 1<<16), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	lock := lockDir(t, filepath.Join(s.dir, ".new-busy"))
	defer lock.Close()
	s.Sweep()
	p, err := s.Prune(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Images) != 1 || p.Images[0] != old.Digest || p.Layers != 3 || p.Bytes < 2<<16 {
		t.Errorf("%+v", p)
	}
	got := files(t, s)
	slices.Sort(kept)
	slices.Sort(got)
	if diff := cmp.Diff(kept, got); diff != "" {
		t.Error(diff)
	}
	if p, err = s.Prune(t.Context()); err != nil || len(p.Images)+p.Layers > 0 || p.Bytes != 0 {
		t.Error(p, err)
	}
}

// TestBroken lists the other images beside a broken one, which can be removed. It keeps no layers.
func TestBroken(t *testing.T) {
	s, _ := newStore(t)
	r := imagetest.Serve(t)
	one, two := layer(t, "one"), layer(t, "two")
	good, bad := r.Push(t, "good:1", imagetest.Image(t, one)), r.Push(t, "bad:1", imagetest.Image(t, two))
	get(t, s, good, Missing, sums(one))
	img := get(t, s, bad, Missing, sums(two))
	path := filepath.Join(s.imageDir(img.Digest), recordFile)
	if err := errors.Join(os.Remove(path), os.WriteFile(path, []byte("{"), 0o600)); err != nil {
		t.Fatal(err)
	}
	all, err := s.List()
	if len(all) != 1 || err == nil || !strings.Contains(errs.Hint(err), "image rm "+img.Digest) {
		t.Errorf("%v: %v (%s)", all, err, errs.Hint(err))
	}
	if _, _, err := s.Get(t.Context(), bad, Missing); err == nil {
		t.Error("a broken image was got")
	}
	if err := s.Remove(t.Context(), good); err != nil {
		t.Error(err)
	}
	if p, err := s.Prune(t.Context()); err != nil || p.Layers != 1 {
		t.Errorf("%+v, %v", p, err)
	}
	if err := s.Remove(t.Context(), img.Digest); err != nil {
		t.Error(err)
	}
	get(t, s, bad, Missing, sums(two))
}

// TestNewer has files that a newer noid wrote: the cure is not to remove them.
func TestNewer(t *testing.T) {
	s, _ := newStore(t)
	r := imagetest.Serve(t)
	one := layer(t, "one")
	ref := r.Push(t, "app:1", imagetest.Image(t, one))
	img := get(t, s, ref, Missing, sums(one))
	for _, name := range []string{recordFile, refsFile} {
		path := filepath.Join(s.imageDir(img.Digest), name)
		if name == refsFile {
			path = filepath.Join(s.dir, name)
		}
		if err := errors.Join(os.Remove(path), os.WriteFile(path, []byte(`{"format": 9}`), 0o600)); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Find(ref); err == nil || errs.Hint(err) != "upgrade noid" {
			t.Errorf("%s: %v (%s)", name, err, errs.Hint(err))
		}
	}
}

// lockDir locks a directory as another noid does.
func lockDir(t *testing.T, dir string) *os.File {
	t.Helper()
	f, err := storage.LockPath(t.Context(), dir, os.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	return f
}
