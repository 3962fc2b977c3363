package firecracker

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"noid/internal/vmm/conformance"
)

// This file is a double of the firecracker binary: this test binary, started again by a script that sets doubleEnv. It
// boots nothing. It enforces what Firecracker's published API description says of requests: required fields, no unknown
// ones, which version has which field, what may come before and after the boot. conformance_test.go has the real one.

// doubleEnv holds a script as JSON. vmm.Spawn passes no environment on, so the wrapper sets it.
const doubleEnv = "NOID_FIRECRACKER_DOUBLE"

// script says what a double is to do.
type script struct {
	Version string // of Firecracker
	Listen  string // "" as usual, "no": run and open no socket, "mute": accept and answer nothing, "exit": end at once
	// RefuseClock: a load with clock_realtime fails, as where the snapshot's host had no stable clock.
	RefuseClock bool
	// Refuse is the path of a request to answer with Fault, as status 400. "Die" as Fault ends the process instead.
	Refuse, Fault string
}

// requestsFile, where a VMM may make files, gets a line a request: its method, path and body.
const requestsFile = newSnapDir + "/requests"

// doubleLifetime ends a double that its test left behind.
const doubleLifetime = 2 * time.Minute

func TestMain(m *testing.M) {
	conformance.Helper(New(""))
	text := os.Getenv(doubleEnv)
	if text == "" {
		os.Exit(m.Run())
	}
	var s script
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	os.Exit((&double{script: s}).main(os.Args[1:]))
}

// fakeBinary makes an executable that behaves as s says.
func fakeBinary(t *testing.T, s script) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	quote := func(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
	path := filepath.Join(t.TempDir(), "firecracker")
	content := "#!/bin/sh\n" + doubleEnv + "=" + quote(string(text)) + " exec " + quote(self) + ` "$@"` + "\n"
	if err := os.WriteFile(path, []byte(content), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// field is a field of a body.
type field struct {
	required bool
	since    string // the version that brought it, "" for before 1.12
}

// endpoints are the requests that the double knows, of those in the API description. "pre" and "post" are when they may
// be made; setUp: a load is refused after it.
var endpoints = map[string]struct {
	pre, post, setUp bool
	since            string
	fields           map[string]field
}{
	"GET /":                {pre: true, post: true},
	"GET /version":         {pre: true, post: true},
	"PUT /machine-config":  {pre: true, setUp: true, fields: map[string]field{"vcpu_count": {required: true}, "mem_size_mib": {required: true}, "smt": {}, "track_dirty_pages": {}, "huge_pages": {}, "cpu_template": {}}},
	"PUT /boot-source":     {pre: true, setUp: true, fields: map[string]field{"kernel_image_path": {required: true}, "initrd_path": {}, "boot_args": {}}},
	"PUT /drives/rootfs":   {pre: true, setUp: true, fields: map[string]field{"drive_id": {required: true}, "is_root_device": {required: true}, "path_on_host": {}, "is_read_only": {}, "cache_type": {}, "io_engine": {}, "partuuid": {}, "rate_limiter": {}, "socket": {}}},
	"PUT /drives/base":     {pre: true, setUp: true, fields: map[string]field{"drive_id": {required: true}, "is_root_device": {required: true}, "path_on_host": {}, "is_read_only": {}, "cache_type": {}}},
	"PATCH /drives/rootfs": {post: true, fields: map[string]field{"drive_id": {required: true}, "path_on_host": {}, "rate_limiter": {}}},
	"PUT /vsock":           {pre: true, setUp: true, fields: map[string]field{"guest_cid": {required: true}, "uds_path": {required: true}, "vsock_id": {}}},
	"PUT /balloon":         {pre: true, setUp: true, fields: map[string]field{"amount_mib": {required: true}, "deflate_on_oom": {required: true}, "stats_polling_interval_s": {}, "free_page_hinting": {since: "1.14.0"}, "free_page_reporting": {since: "1.14.0"}}},
	"PUT /entropy":         {pre: true, setUp: true, fields: map[string]field{"rate_limiter": {}}},
	"PUT /serial":          {pre: true, since: "1.14.0", fields: map[string]field{"serial_out_path": {}, "rate_limiter": {since: "1.16.0"}}},
	"PUT /actions":         {pre: true, post: true, fields: map[string]field{"action_type": {required: true}}},
	"PATCH /vm":            {post: true, fields: map[string]field{"state": {required: true}}},
	"PUT /snapshot/create": {post: true, fields: map[string]field{"snapshot_path": {required: true}, "mem_file_path": {required: true}, "snapshot_type": {}}},
	"PUT /snapshot/load":   {pre: true, fields: map[string]field{"snapshot_path": {required: true}, "mem_backend": {}, "mem_file_path": {}, "enable_diff_snapshots": {}, "track_dirty_pages": {since: "1.13.0"}, "resume_vm": {}, "network_overrides": {}, "vsock_override": {since: "1.16.0"}, "clock_realtime": {since: "1.16.0"}}},
}

type double struct {
	script
	mu     sync.Mutex
	state  string // as GET / gives it
	setUp  bool
	kernel bool
	log    io.Writer
}

// main is the double's process.
func (d *double) main(args []string) int {
	if slices.Contains(args, "--version") {
		fmt.Printf("Firecracker v%s\n\n2026-01-01T00:00:00.0 [anonymous-instance:main] Firecracker exiting successfully. exit_code=0\n", d.Version)
		return 0
	}
	options := map[string]string{}
	for i := 0; i+1 < len(args); i += 2 {
		if !slices.Contains([]string{"--api-sock", "--log-path", "--level"}, args[i]) {
			fmt.Fprintf(os.Stderr, "Arguments parsing error: Found argument '%s' which wasn't expected\n", args[i])
			return 153
		}
		options[args[i]] = args[i+1]
	}
	log, err := os.OpenFile(options["--log-path"], os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	d.log, d.state = log, "Not started"
	d.logf("Running Firecracker v%s", d.Version)
	switch d.Listen {
	case "exit":
		fmt.Fprintln(os.Stderr, "the double \x1b[31mwas told to end")
		return 1
	case "no":
		time.Sleep(doubleLifetime)
		return 1
	}
	l, err := net.Listen("unix", options["--api-sock"])
	if err != nil {
		d.logf("Error creating the HTTP server: %v", err)
		return 1
	}
	time.AfterFunc(doubleLifetime, func() { os.Exit(1) })
	if d.Listen == "mute" {
		time.Sleep(doubleLifetime)
	}
	fmt.Fprintln(os.Stderr, http.Serve(l, d))
	return 1
}

func (d *double) logf(format string, args ...any) {
	fmt.Fprintf(d.log, "2026-01-01T00:00:00.000000000 [anonymous-instance:main] "+format+"\n", args...)
}

func (d *double) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock() // Firecracker serves one at a time
	defer d.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	if f, err := os.OpenFile(requestsFile, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600); err == nil {
		fmt.Fprintf(f, "%s %s %s\n", r.Method, r.URL.Path, body)
		f.Close()
	}
	answer, fault := d.serve(r.Method+" "+r.URL.Path, body)
	if fault != "" {
		text, _ := json.Marshal(map[string]string{"fault_message": fault})
		w.Header().Set("Content-Length", strconv.Itoa(len(text)))
		w.WriteHeader(http.StatusBadRequest)
		w.Write(text)
		if r.URL.Path == "/snapshot/load" { // a failed load ends the process
			w.(http.Flusher).Flush()
			os.Exit(1)
		}
		return
	}
	if answer == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	json.NewEncoder(w).Encode(answer)
}
