package qemu

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"noid/internal/errs"
	"noid/internal/vmm"
)

const hello = `{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}}, "capabilities": []}}` + "\r\n"

// serve stands for a QEMU that its guest has taken over: it answers the n-th command with answers[n], then falls
// silent.
func serve(t *testing.T, answers ...string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if len(dir) > 80 {
		t.Chdir(dir) // the listener, unlike dial, is bound by the 108 bytes
	}
	path := filepath.Join(dir, SocketFile)
	if len(path) > 100 {
		path = SocketFile
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		t.Cleanup(func() { conn.Close() })
		in := bufio.NewScanner(conn)
		for i, answer := range answers {
			if i > 0 && !in.Scan() {
				return
			}
			if _, err := conn.Write([]byte(answer)); err != nil {
				return
			}
		}
	}()
	return dir
}

func TestStateOfHostileQEMU(t *testing.T) {
	ready := `{"return": {}, "id": 1}` + "\n"
	for _, test := range []struct {
		name    string
		answers []string
		want    string // in the error; "" for none
	}{
		{"good", []string{hello, ready, `{"return": {"status": "paused"}, "id": 2}` + "\n"}, ""},
		{"events between", []string{hello, `{"event": "RESUME"}` + "\n" + ready, `{"event": "STOP"}` + "\n" + ready + `{"return": {"status": "postmigrate"}, "id": 2}` + "\n"}, ""},
		{"silent", nil, "timed out"},
		{"silent later", []string{hello, ready}, "timed out"},
		{"endless line", []string{strings.Repeat("x", 2*maxLine)}, "message of over"},
		{"events without end", []string{hello, strings.Repeat(`{"event": "STOP"}`+"\n", maxSkipped+1)}, "no answer among"},
		{"no JSON", []string{"HTTP/1.1 200 \x1b[2J\n"}, `HTTP/1.1 200 \\x1b[2J`},
		{"no greeting", []string{"{}\n"}, "not QMP"},
		{"refusal", []string{hello, ready, `{"id": 2, "error": {"class": "GenericError", "desc": "no \u001b[2J"}}` + "\n"}, `no \x1b[2J`},
		{"odd status", []string{hello, ready, `{"return": {"status": "internal-error"}, "id": 2}` + "\n"}, `"internal-error"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := serve(t, test.answers...)
			state, err := New("", noKVM).State(t.Context(), dir)
			if test.want == "" {
				if err != nil || state != vmm.Paused {
					t.Fatalf("State: %q, %v; want paused", state, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("State: %q, %v; want an error with %q", state, err, test.want)
			}
		})
	}
}

// TestWake presses no button of a guest that may be awake.
func TestWake(t *testing.T) {
	answer := func(id int, value string) string { return fmt.Sprintf(`{"return": %s, "id": %d}`+"\n", value, id) }
	awake, asleep := `{"status": {"statuses": ["VIRTIO_CONFIG_S_DRIVER_OK: Driver setup and ready"]}}`, `{"status": {"statuses": []}}`
	const devices, running = `[{"name": "virtio-rng", "path": "/r"}, {"name": "virtio-blk", "path": "/d"}]`, `{"status": "running"}`
	for _, test := range []struct {
		name    string
		answers []string // to what wake asks; the last is refused
		acts    bool
	}{
		{"S3 of an old machine", []string{`{"status": "suspended"}`}, true},
		{"idle", []string{running, devices, asleep, `"portw[0x0602] = 0x0120\r\n"`}, true},
		{"awake", []string{running, devices, awake}, false},
		{"booting, before ACPI", []string{running, devices, asleep, `"portw[0x0602] = 0x0000\r\n"`}, false},
		{"no ACPI", []string{running, devices, asleep, `"portw[0x0602] = 0xffff\r\n"`}, false},
		{"no disk", []string{running, `[]`, `"portw[0x0602] = 0x0120\r\n"`}, false},
		{"paused", []string{`{"status": "paused"}`}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			script := []string{hello, answer(1, "{}")}
			for i, value := range test.answers {
				script = append(script, answer(i+2, value))
			}
			script = append(script, fmt.Sprintf(`{"error": {"class": "GenericError", "desc": "refused"}, "id": %d}`+"\n", len(script)))
			err := New("", noKVM).Tell(t.Context(), serve(t, script...), vmm.Wake)
			if acts := err != nil && strings.Contains(err.Error(), "refused"); acts != test.acts || !acts && err != nil {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestDialHonoursContext(t *testing.T) {
	dir := serve(t) // accepts and says nothing
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err := dial(ctx, dir); !errors.Is(err, context.Canceled) {
		t.Errorf("dial: %v, want %v", err, context.Canceled)
	}
}

func TestDialFollowsNoLink(t *testing.T) {
	other, dir := serve(t, hello, `{"return": {}, "id": 1}`+"\n"), t.TempDir()
	if err := os.Symlink(filepath.Join(other, SocketFile), filepath.Join(dir, SocketFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := dial(t.Context(), dir); !errors.Is(err, errs.ErrState) {
		t.Errorf("dial of a link: %v, want one of %v", err, errs.ErrState)
	}
}
