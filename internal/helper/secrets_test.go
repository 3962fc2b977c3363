package helper

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"noid/internal/network"
	"noid/internal/network/control"
	"noid/internal/network/grant"
	"noid/internal/vmm"
)

// fakeSecrets has a value for each name but "lost".
type fakeSecrets struct{}

func (fakeSecrets) Give(_ context.Context, names []string) (s *control.Secrets, err error) {
	s = &control.Secrets{}
	for _, name := range names {
		if name == "lost" {
			err = errors.New("no value of lost")
			continue
		}
		s.Grants = append(s.Grants, grant.Grant{Secret: name, Value: "value of " + name})
	}
	return s, err
}

func (fakeSecrets) Changing([]string) []string { return nil }

// TestGiveSecrets tells the network helper the secrets of the VM, those that can be had, and keeps their values to itself.
func TestGiveSecrets(t *testing.T) {
	t.Chdir(t.TempDir())
	got := gets(t)
	for _, names := range [][]string{{"A", "B"}, {"lost", "B"}} {
		if err := (network.Config{Mode: network.Default, Secrets: names}).Save("."); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan bool)
		started := make(chan bool, 1)
		go func() { giveSecrets(ctx, fakeSecrets{}, 0, started); close(ended) }()
		<-got
		started <- true // again
		r := <-got
		var given []string
		for _, g := range r.Secrets.Grants {
			given = append(given, g.Secret+"="+g.Value)
		}
		want := []string{"A=value of A", "B=value of B"}
		if names[0] == "lost" {
			want = want[1:]
			await(t, "a note of the lost one", func() bool {
				said, _ := os.ReadFile(netErrors)
				return strings.Contains(string(said), "no value of lost")
			})
		}
		stop()
		<-ended
		if r.Op != control.SetSecrets || !slices.Equal(given, want) {
			t.Errorf("%q was told %s %q", names, r.Op, given)
		}
	}
}

// slowSecrets has its values only when there is no time left for more.
type slowSecrets struct{ fakeSecrets }

func (s slowSecrets) Give(ctx context.Context, names []string) (*control.Secrets, error) {
	<-ctx.Done()
	given, err := s.fakeSecrets.Give(ctx, names)
	return given, errors.Join(err, ctx.Err())
}

// TestGiveSlow gives what could be had when the look-ups have taken all of their time.
func TestGiveSlow(t *testing.T) {
	t.Chdir(t.TempDir())
	old := valueWait
	valueWait = time.Millisecond
	t.Cleanup(func() { valueWait = old })
	got := gets(t)
	told := make(chan control.Request, 1)
	go func() { told <- <-got }()
	if err := giveOnce(t.Context(), slowSecrets{}, []string{"A"}, 0); err == nil || err.Error() != context.DeadlineExceeded.Error() {
		t.Fatalf("got %v", err)
	}
	if r := <-told; len(r.Secrets.Grants) != 1 {
		t.Errorf("the helper was told %+v", r.Secrets)
	}
}

// gets is a network helper of which only the requests that it gets are real.
func gets(t *testing.T) chan control.Request {
	l, err := vmm.Listen(network.ControlSocket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	got := make(chan control.Request)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			line, _ := bufio.NewReader(conn).ReadBytes('\n')
			var r control.Request
			json.Unmarshal(line, &r)
			fmt.Fprintln(conn, "{}")
			conn.Close()
			got <- r
		}
	}()
	return got
}
