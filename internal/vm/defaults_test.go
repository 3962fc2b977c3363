package vm

import (
	"errors"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"noid/internal/errs"
	"noid/internal/image"
)

// TestArgv: what runs of an image is as docker has it.
func TestArgv(t *testing.T) {
	empty, other := "", "other"
	both := &image.Image{Config: image.Config{Entrypoint: []string{"entry", "point"}, Cmd: []string{"cmd"}}}
	for _, tt := range []struct {
		image      *image.Image
		entrypoint *string
		words      []string
		want       []string // nil: none
	}{
		{nil, nil, []string{"a", "b"}, []string{"a", "b"}},
		{nil, nil, nil, nil},
		{both, nil, nil, []string{"entry", "point", "cmd"}},
		{both, nil, []string{"a"}, []string{"entry", "point", "a"}},
		{both, &other, nil, []string{"other"}},
		{both, &other, []string{"a"}, []string{"other", "a"}},
		{both, &empty, []string{"a"}, []string{"a"}},
		{both, &empty, nil, nil},
		{&image.Image{}, nil, nil, nil},
	} {
		got, err := RunOptions{Entrypoint: tt.entrypoint, words: tt.words}.argv(tt.image)
		if !slices.Equal(got, tt.want) || (err != nil) != (tt.want == nil) || err != nil && !errors.Is(err, errs.ErrUsage) {
			t.Errorf("%v %v %v: %q, %v", tt.image, tt.entrypoint, tt.words, got, err)
		}
	}
}

func TestStopSignal(t *testing.T) {
	for name, want := range map[string]unix.Signal{"": unix.SIGTERM, "SIGINT": unix.SIGINT, "quit": unix.SIGQUIT, "3": unix.SIGQUIT, "SIGRTMIN+3": 37,
		"SIGRTMIN+x": unix.SIGTERM, "-1": unix.SIGTERM, "65": unix.SIGTERM, "nonsense": unix.SIGTERM} {
		if got := stopSignal(&image.Image{Config: image.Config{StopSignal: name}}); got != int(want) {
			t.Errorf("%q: %d, not %d", name, got, want)
		}
	}
	if got := stopSignal(nil); got != int(unix.SIGTERM) {
		t.Errorf("of no image: %d", got)
	}
}
