package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"noid/internal/link/wire"
)

const (
	apiSocket   = "fc.sock"
	vsockSocket = "v.sock"
)

// firecrackerBinary is the one on PATH, or where noid looks next.
func firecrackerBinary() string {
	if path, err := exec.LookPath("firecracker"); err == nil {
		return path
	}
	return "/usr/local/bin/firecracker"
}

// firecracker drives Firecracker by its API,
// https://github.com/firecracker-microvm/firecracker/blob/v1.16.1/src/firecracker/swagger/firecracker.yaml
type firecracker struct{}

type object map[string]any

func (firecracker) start(v *bare) error {
	api, err := launchFirecracker(v)
	if err != nil {
		return err
	}
	boot := object{"kernel_image_path": v.x.b.guest.tiny, "boot_args": ""}
	if v.x.linux {
		boot = object{"kernel_image_path": v.x.b.guest.vmlinux, "initrd_path": v.x.b.guest.initrd, "boot_args": "console=ttyS0 reboot=k " +
			"panic=-1 quiet loglevel=1 pci=off 8250.nr_uarts=1 i8042.noaux i8042.nomux i8042.dumbkbd audit=0 random.trust_cpu=on root=/dev/vda rw"}
	}
	for _, r := range []struct {
		path string
		body object
	}{
		{"/machine-config", object{"vcpu_count": 1, "mem_size_mib": v.memMiB, "track_dirty_pages": true}},
		{"/boot-source", boot},
		{"/drives/rootfs", object{"drive_id": "rootfs", "path_on_host": diskFile, "is_root_device": false, "is_read_only": false, "cache_type": "Writeback"}},
		{"/vsock", object{"guest_cid": 3, "uds_path": vsockSocket}},
		{"/entropy", object{}},
		{"/actions", object{"action_type": "InstanceStart"}},
	} {
		if err := api.call(http.MethodPut, r.path, r.body); err != nil {
			return err
		}
	}
	return nil
}

func (firecracker) load(v *bare, snap string) error {
	api, err := launchFirecracker(v)
	if err != nil {
		return err
	}
	return api.call(http.MethodPut, "/snapshot/load", object{"snapshot_path": filepath.Join(snap, savedState), "track_dirty_pages": true, "resume_vm": true,
		"mem_backend": object{"backend_type": "File", "backend_path": filepath.Join(snap, savedMem)}})
}

func (f firecracker) save(v *bare, snap string) error { return f.snapshot(v, snap, "Diff") }
func (f firecracker) full(v *bare, snap string) error { return f.snapshot(v, snap, "Full") }

func (firecracker) snapshot(v *bare, snap, kind string) error {
	api := firecrackerAPI(v)
	defer api.CloseIdleConnections()
	if err := api.call(http.MethodPatch, "/vm", object{"state": "Paused"}); err != nil {
		return err
	}
	err := api.call(http.MethodPut, "/snapshot/create", object{"snapshot_type": kind, "snapshot_path": filepath.Join(snap, savedState),
		"mem_file_path": filepath.Join(snap, savedMem)})
	if err == nil {
		err = v.cloneDisk(snap)
	}
	if resume := api.call(http.MethodPatch, "/vm", object{"state": "Resumed"}); err == nil {
		err = resume
	}
	return err
}

// agent connects over vsock: docs/vsock.md of Firecracker.
func (firecracker) agent(ctx context.Context, v *bare) (net.Conn, func(), error) {
	conn, err := dialUnix(ctx, filepath.Join(v.dir, vsockSocket))
	if err != nil {
		return nil, nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		conn.SetDeadline(deadline)
	}
	fmt.Fprintf(conn, "CONNECT %d\n", wire.VsockPort)
	var line []byte
	for b := make([]byte, 1); !bytes.HasSuffix(line, []byte("\n")) && len(line) < 40; line = append(line, b[0]) {
		if _, err := io.ReadFull(conn, b); err != nil {
			conn.Close()
			return nil, nil, fmt.Errorf("vsock: %w", err)
		}
	}
	if !bytes.HasPrefix(line, []byte("OK ")) {
		conn.Close()
		return nil, nil, fmt.Errorf("vsock answers %q", line)
	}
	return conn, func() { conn.Close() }, nil
}

// fcAPI is Firecracker's API on the socket of one VM.
type fcAPI struct{ http.Client }

func firecrackerAPI(v *bare) *fcAPI {
	return &fcAPI{http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return dialUnix(ctx, filepath.Join(v.dir, apiSocket))
	}}}}
}

func launchFirecracker(v *bare) (*fcAPI, error) {
	for _, name := range []string{apiSocket, vsockSocket} {
		os.Remove(filepath.Join(v.dir, name))
	}
	if err := v.spawn(firecrackerBinary(), "--api-sock", apiSocket, "--log-path", vmmLogFile, "--level", "Error"); err != nil {
		return nil, err
	}
	conn, err := v.dial(apiSocket)
	if err != nil {
		return nil, err
	}
	conn.Close()
	return firecrackerAPI(v), nil
}

func (a *fcAPI) call(method, path string, body object) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequest(method, "http://firecracker"+path, bytes.NewReader(data))
	if err != nil {
		return err
	}
	answer, err := a.Do(req)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s: %s: %s", method, path, answer.Status, strings.TrimSpace(string(text)))
	}
	return err
}
