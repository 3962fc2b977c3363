package network

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"noid/internal/errs"
)

func TestParseSocket(t *testing.T) {
	t.Chdir(t.TempDir())
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]Socket{
		"/a/b:/run/c":    {Host: "/a/b", Guest: "/run/c", Out: true},
		"b:/c":           {Host: here + "/b", Guest: "/c", Out: true},
		"./b:/run/../c/": {Host: here + "/b", Guest: "/c", Out: true},
	} {
		if got, err := ParseSocket(text, true); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, wrong := range []string{"", "/a", ":/b", "/a:", "/a:b", "/a:/b\nc", "/a:/" + strings.Repeat("x", maxPath), "/" + strings.Repeat("x", maxPath) + ":/b"} {
		if got, err := ParseSocket(wrong, false); !errors.Is(err, errs.ErrUsage) || errs.Hint(err) == "" {
			t.Errorf("%q: %+v, %v", wrong, got, err)
		}
	}
}

func TestCheckFree(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) Socket { return Socket{Host: filepath.Join(dir, name), Guest: "/g"} }
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: at("stale").Host, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	if err := CheckFree([]Socket{at("stale")}); !errors.Is(err, errs.ErrExists) {
		t.Errorf("one that is listened at: %v", err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if err := os.WriteFile(at("file").Host, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	out := Socket{Host: at("file").Host, Guest: "/g", Out: true}
	for _, test := range []struct {
		sockets []Socket
		want    error
	}{
		{[]Socket{at("new"), at("stale"), out}, nil},
		{[]Socket{at("file")}, errs.ErrExists},
		{[]Socket{at("no/new")}, errs.ErrNotFound},
		{[]Socket{at("new"), at("new")}, errs.ErrUsage},
		{[]Socket{out, {Host: "/other", Guest: "/g", Out: true}}, errs.ErrUsage},
	} {
		if err := CheckFree(test.sockets); !errors.Is(err, test.want) {
			t.Errorf("%v: %v", test.sockets, err)
		}
	}
}
