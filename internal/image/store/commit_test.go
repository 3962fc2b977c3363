package store

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"noid/internal/errs"
	"noid/internal/image"
	"noid/internal/image/base"
	"noid/internal/image/imagetest"
)

// writes is a layer that is data.
func writes(data []byte) func(context.Context, io.Writer) error {
	return func(_ context.Context, w io.Writer) error {
		_, err := w.Write(data)
		return err
	}
}

// TestCommit makes an image of another and one more layer, which is an image like any other.
func TestCommit(t *testing.T) {
	s, _ := newStore(t)
	r := imagetest.Serve(t)
	one, two, three := layer(t, "one"), layer(t, "two"), layer(t, "three")
	below := get(t, s, r.Push(t, "app:1", imagetest.Image(t, one, two)), Missing, sums(one, two))
	config := below.Config
	config.User, config.Cmd = "root", []string{"new"}
	made, err := s.Commit(t.Context(), "mine:1", Layer{Base: &below, Config: config, Message: "more", Write: writes(three)})
	if err != nil {
		t.Fatal(err)
	}
	got := get(t, s, "mine:1", Never, sums(one, two, three))
	if got.Digest != made.Digest || got.Config.User != "root" || got.Config.WorkingDir != "/tmp" || !slices.Equal(got.Layers[:2], below.Layers) || len(got.Layers) != 3 {
		t.Errorf("%+v", got)
	}
	// The one below may go. What is saved makes the same image elsewhere.
	if err := s.Remove(t.Context(), below.Digest); err != nil {
		t.Fatal(err)
	}
	saved := filepath.Join(t.TempDir(), "saved.tar")
	f, err := os.Create(saved)
	if err == nil {
		err = errors.Join(s.Save(t.Context(), f, []string{"mine:1"}, FormatOCI), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	other, _ := newStore(t)
	if img := get(t, other, "oci-archive:"+saved, Missing, sums(one, two, three)); img.Digest != made.Digest {
		t.Errorf("%s became %s", made.Digest, img.Digest)
	}
	// One of another that is not here any more is refused before anything is written.
	for _, digest := range []string{below.Digest, "sha256:" + strings.Repeat("0", 64)} {
		_, err = s.Commit(t.Context(), "mine:2", Layer{Base: &image.Image{Digest: digest}, Write: func(context.Context, io.Writer) error { t.Error("it is written"); return nil }})
		if !errors.Is(err, errs.ErrNotFound) || errs.Hint(err) == "" {
			t.Error(err, errs.Hint(err))
		}
	}
	alone, err := s.Commit(t.Context(), "alone:1", Layer{Config: image.Config{User: "x"}, Write: writes(two)})
	if err != nil || alone.Config.User != "x" {
		t.Error(alone, err)
	}
	get(t, s, "alone:1", Never, sums(two))
}

// TestFailedCommit leaves nothing of a layer that breaks, or that is refused.
func TestFailedCommit(t *testing.T) {
	s, _ := newStore(t)
	s.build = base.Build
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	hostile := imagetest.Tar(t, map[string]string{"../out": "x"})
	for name, l := range map[string]Layer{
		"it is refused": {Write: writes(hostile)},
		"no tar":        {Write: writes(bytes.Repeat([]byte("x"), 5000))},
		"it breaks": {Write: func(_ context.Context, w io.Writer) error {
			w.Write(layer(t, "half")[:600])
			return errors.New("broken")
		}},
		"base": {Base: &image.Image{Digest: "sha256:" + strings.Repeat("0", 64)}},
	} {
		if _, err := s.Commit(t.Context(), "mine:1", l); err == nil {
			t.Errorf("%s: no error", name)
		}
		if left := slices.DeleteFunc(files(t, s), func(name string) bool { return name == lockFile }); len(left) > 0 {
			t.Errorf("%s: %s is left", name, left)
		}
	}
	for _, name := range []string{"dir:/tmp", "NO:1", ""} {
		if _, err := s.Commit(t.Context(), name, Layer{Write: writes(nil)}); !errors.Is(err, errs.ErrUsage) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// TestPackBounds ends what has no end.
func TestPackBounds(t *testing.T) {
	b := &bounded{io.Discard, 10, errors.New("full")}
	if n, err := io.Copy(b, strings.NewReader(strings.Repeat("x", 5))); n != 5 || err != nil {
		t.Error(n, err)
	}
	if _, err := io.Copy(b, strings.NewReader(strings.Repeat("x", 6))); err == nil || err.Error() != "full" {
		t.Error(err)
	}
}
