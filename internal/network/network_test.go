package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"noid/internal/errs"
)

func texts(ports []Port) (list []string) {
	for _, p := range ports {
		list = append(list, p.String())
	}
	return list
}

func TestParsePort(t *testing.T) {
	for text, want := range map[string][]string{
		"8080:80": {"127.0.0.1:8080:80/tcp", "[::1]:8080:80/tcp"}, "80": {"127.0.0.1:0:80/tcp", "[::1]:0:80/tcp"}, ":80/udp": {"127.0.0.1:0:80/udp", "[::1]:0:80/udp"},
		"0:53/UDP": {"127.0.0.1:0:53/udp", "[::1]:0:53/udp"}, "0.0.0.0:8080:80": {"0.0.0.0:8080:80/tcp"}, "[::1]:8080:80/tcp": {"[::1]:8080:80/tcp"},
		"127.0.0.1::80": {"127.0.0.1:0:80/tcp"}, "[::ffff:127.0.0.1]:1:2": {"127.0.0.1:1:2/tcp"}, "65535:65535": {"127.0.0.1:65535:65535/tcp", "[::1]:65535:65535/tcp"},
	} {
		got, err := ParsePort(text)
		if diff := cmp.Diff(want, texts(got)); err != nil || diff != "" {
			t.Errorf("%s: %v %s", text, err, diff)
		}
		for _, p := range got {
			if again, err := ParsePort(p.String()); err != nil || len(again) != 1 || again[0] != p {
				t.Errorf("%s is %v, %v", p, again, err)
			}
		}
	}
	for _, wrong := range []string{"", "0", "x", "80:0", "80:65536", "65536:80", "-1:80", "+1:80", "80:+1", "::1:80:80", "localhost:80:80", "80:80/", "80:80/sctp", "80/80/tcp",
		"fe80::1%lo:80:80", "[127.0.0.1]:80:80", "[::1:80:80", "1.2.3:80:80"} {
		if got, err := ParsePort(wrong); !errors.Is(err, errs.ErrUsage) || errs.Hint(err) == "" {
			t.Errorf("%q: %v, %v", wrong, got, err)
		}
	}
}

func TestParseHost(t *testing.T) {
	for text, want := range map[string]string{"127.0.0.1:8080": "127.0.0.1:8080", "127.0.0.1:8080/tcp": "127.0.0.1:8080/tcp", "[::1]:53/UDP": "[::1]:53/udp"} {
		if got, ok := ParseHost(text); !ok || got.String() != want {
			t.Errorf("%s: %v, %v", text, got, ok)
		}
	}
	for _, wrong := range []string{"", "80", "8080:80", "127.0.0.1", "127.0.0.1:80:80", "[::1]:80:80", "127.0.0.1:80/", "127.0.0.1:80/sctp"} {
		if got, ok := ParseHost(wrong); ok {
			t.Errorf("%q: %v", wrong, got)
		}
	}
}

func groups(t *testing.T, texts ...string) (all [][]Port) {
	t.Helper()
	for _, text := range texts {
		g, err := ParsePort(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, g)
	}
	return all
}

// reserve is Reserve, which is over at once.
func reserve(t *testing.T, groups [][]Port) ([]Port, error) {
	got, release, err := Reserve(t.Context(), groups)
	release()
	return got, err
}

// TestReserveOnce has two who want one port at once not both get it, by whatever address, and each of two who want any
// get another.
func TestReserveOnce(t *testing.T) {
	first, release, err := Reserve(t.Context(), groups(t, "80", "81/udp"))
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	hurried, cancel := context.WithCancel(t.Context())
	cancel()
	port := first[0].Host.Port()
	for _, same := range []string{fmt.Sprintf("%d:80", port), fmt.Sprintf("127.0.0.2:%d:80", port)} {
		if got, _, err := Reserve(hurried, groups(t, same)); !errors.Is(err, errs.ErrBusy) || errs.Hint(err) == "" {
			t.Errorf("%s, reserved already: %v, %v", same, texts(got), err)
		}
	}
	if _, err := Claim(hurried, first[:1]); !errors.Is(err, errs.ErrBusy) {
		t.Errorf("claimed twice: %v", err)
	}
	second, releaseSecond, err := Reserve(hurried, groups(t, "80"))
	if err != nil || second[0].Host.Port() == port {
		t.Errorf("another one: %v, %v", texts(second), err)
	}
	releaseSecond()
	waited := make(chan error)
	go func() {
		_, release, err := Reserve(t.Context(), groups(t, fmt.Sprintf("%d:80", port)))
		release()
		waited <- err
	}()
	held, err := net.Listen("tcp", first[0].Host.String())
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	release()
	if err := <-waited; !errors.Is(err, errs.ErrBusy) {
		t.Errorf("who waited for a port that is listened on: %v", err)
	}
}

// TestReserve picks ports that are free on both addresses, and refuses those that are not.
func TestReserve(t *testing.T) {
	got, err := reserve(t, groups(t, "80", "81", "53/udp"))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[netip.AddrPort]bool{}
	for _, p := range got {
		if p.Host.Port() == 0 || seen[p.Host] && p.Proto == "tcp" {
			t.Errorf("%s", p)
		}
		seen[p.Host] = true
	}
	if len(got) == 6 && (got[0].Host.Port() != got[1].Host.Port() || got[0].Host.Port() == got[2].Host.Port()) {
		t.Errorf("%v", texts(got))
	}
	held, err := net.Listen("tcp", got[0].Host.String())
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	port := netip.MustParseAddrPort(held.Addr().String()).String()
	for _, taken := range [][]string{{port + ":80"}, {"0.0.0.0" + port[len("127.0.0.1"):] + ":80"}} {
		if got, err := reserve(t, groups(t, taken...)); !errors.Is(err, errs.ErrBusy) || errs.Hint(err) == "" {
			t.Errorf("%v: %v, %v", taken, texts(got), err)
		}
	}
	held.Close()
	if got, err := reserve(t, groups(t, port+":80", port+":81")); !errors.Is(err, errs.ErrBusy) {
		t.Errorf("one port twice: %v, %v", texts(got), err)
	}
	if _, err := reserve(t, groups(t, port+":80", port+":80/udp")); err != nil {
		t.Errorf("tcp and udp: %v", err)
	}
	if _, err := reserve(t, groups(t, "192.0.2.1:0:80")); !errors.Is(err, errs.ErrHost) {
		t.Errorf("another host's address: %v", err)
	}
}

func TestSaveAndLoad(t *testing.T) {
	dir := t.TempDir()
	if c, err := Load(dir); err != nil || c.Mode != None {
		t.Errorf("of a vm without a network: %+v, %v", c, err)
	}
	want := Config{Mode: Default, Allow: []string{"a.b"}, Deny: []string{"10.0.0.0/8"}, HostPorts: []uint16{5432}}
	var err error
	if want.Ports, err = ParsePort("[::1]:8080:80/udp"); err != nil {
		t.Fatal(err)
	}
	if err := want.Save(dir); err != nil {
		t.Fatal(err)
	}
	if got, err := Load(dir); err != nil || !cmp.Equal(got, want, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })) {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	if err := os.WriteFile(filepath.Join(dir, ConfigFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := Load(dir); err == nil || c.Mode != None {
		t.Errorf("of a damaged file: %+v, %v", c, err)
	}
}
