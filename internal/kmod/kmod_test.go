package kmod

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestLoad: a module is found by its name and by its aliases, and comes behind what it needs.
func TestLoad(t *testing.T) {
	modules := []Module{
		{Name: "llc", Data: []byte("LLC")},
		{Name: "stp", Data: []byte("STP"), Needs: []string{"llc"}},
		{Name: "bridge", Data: []byte("BRIDGE"), Needs: []string{"stp", "llc", "built_in"}, Aliases: []string{"rtnl-link-bridge"}},
		{Name: "br_netfilter", Data: []byte("BR"), Needs: []string{"bridge"}, Aliases: []string{"physdev-*"}},
		{Name: "a", Needs: []string{"b"}}, {Name: "b", Needs: []string{"a"}},
	}
	var first, second bytes.Buffer
	for _, b := range []*bytes.Buffer{&first, &second} {
		if err := Write(b, modules); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("the same modules made different archives")
	}
	for name, want := range map[string][]string{
		"llc":              {"llc LLC"},
		"rtnl-link-bridge": {"llc LLC", "stp STP", "bridge BRIDGE"},
		"br-netfilter":     {"llc LLC", "stp STP", "bridge BRIDGE", "br_netfilter BR"},
		"physdev_in":       {"llc LLC", "stp STP", "bridge BRIDGE", "br_netfilter BR"},
		"a":                {"b ", "a "},
		"rtnl-link":        nil,
		"index":            nil,
	} {
		var got []string
		err := Load(bytes.NewReader(first.Bytes()), name, func(name string, data []byte) error {
			got = append(got, name+" "+string(data))
			return nil
		})
		if (err == nil) != (want != nil) || !cmp.Equal(got, want) {
			t.Errorf("%s: %q, %v; want %q", name, got, err, want)
		}
	}
	failed := errors.New("failed")
	if err := Load(bytes.NewReader(first.Bytes()), "stp", func(string, []byte) error { return failed }); !errors.Is(err, failed) {
		t.Error(err)
	}
	for n := range first.Len() - 1024 - 512 { // an archive ends with 1 KiB of zeros, a file with up to 512 bytes
		if Load(bytes.NewReader(first.Bytes()[:n]), "b", func(string, []byte) error { return nil }) == nil {
			t.Fatalf("%d bytes of %d are an archive", n, first.Len())
		}
	}
}
