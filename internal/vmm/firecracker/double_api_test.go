package firecracker

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

func (d *double) serve(name string, body []byte) (answer any, fault string) {
	endpoint, known := endpoints[name]
	started := d.state != "Not started"
	switch {
	case !known, endpoint.since != "" && !d.has(endpoint.since):
		return nil, "Invalid request method and/or path: " + name
	case !strings.HasPrefix(name, "GET") && len(body) == 0:
		return nil, "Empty request."
	case started && !endpoint.post:
		return nil, "The requested operation is not supported after starting the microVM."
	case !started && !endpoint.pre:
		return nil, "The requested operation is not supported before starting the microVM."
	}
	values, fault := d.fields(name, body)
	if fault != "" {
		return nil, fault
	}
	if _, path, _ := strings.Cut(name, " "); d.Refuse == path {
		if d.Fault == "die" {
			d.logf("Firecracker panicked: the double was told to die")
			os.Exit(134)
		}
		return nil, d.Fault
	}
	d.setUp = d.setUp || endpoint.setUp
	return d.obey(name, values, started)
}

// fields reads a body, whose fields must be known to the endpoint.
func (d *double) fields(name string, body []byte) (values map[string]any, fault string) {
	if len(body) == 0 {
		return nil, ""
	}
	if err := json.NewDecoder(bytes.NewReader(body)).Decode(&values); err != nil {
		return nil, err.Error()
	}
	fields := endpoints[name].fields
	for key := range values {
		if f, ok := fields[key]; !ok || f.since != "" && !d.has(f.since) {
			return nil, fmt.Sprintf("unknown field `%s`", key)
		}
	}
	for key, f := range fields {
		if _, ok := values[key]; f.required && !ok {
			return nil, fmt.Sprintf("missing field `%s`", key)
		}
	}
	return values, ""
}

// obey does what a request that is well formed asks for.
func (d *double) obey(name string, values map[string]any, started bool) (answer any, fault string) {
	switch name {
	case "GET /":
		return map[string]string{"app_name": "Firecracker", "id": "anonymous-instance", "state": d.state, "vmm_version": d.Version}, ""
	case "GET /version":
		return map[string]string{"firecracker_version": d.Version}, ""
	case "PUT /boot-source":
		d.kernel = true
	case "PUT /actions":
		switch values["action_type"] {
		case "InstanceStart":
			if started || !d.kernel {
				return nil, "Cannot start microvm: Missing kernel configuration"
			}
			d.state = "Running"
		case "SendCtrlAltDel":
			if !started {
				return nil, "The requested operation is not supported before starting the microVM."
			}
		default:
			return nil, "unknown variant"
		}
	case "PATCH /vm":
		switch values["state"] {
		case "Paused":
			d.state = "Paused"
		case "Resumed":
			d.state = "Running"
		default:
			return nil, "unknown variant"
		}
	case "PUT /snapshot/create":
		if d.state != "Paused" {
			return nil, "Create snapshot error: the microVM is not paused"
		}
		for _, key := range []string{"snapshot_path", "mem_file_path"} {
			if err := os.WriteFile(values[key].(string), []byte("double"), 0o600); err != nil {
				return nil, err.Error()
			}
		}
	case "PUT /snapshot/load":
		_, backend := values["mem_backend"]
		_, file := values["mem_file_path"]
		switch {
		case backend == file:
			return nil, "either `mem_backend` or `mem_file_path` exclusively is required"
		case d.setUp:
			return nil, "Load snapshot error: Loading a microVM snapshot not allowed after configuring boot-specific resources."
		case d.RefuseClock && values["clock_realtime"] == true:
			return nil, "Load snapshot error: clock_realtime requested but not present in the snapshot state"
		}
		d.state = "Paused"
	}
	return nil, ""
}

// has reports whether the double's version is since or later.
func (d *double) has(since string) bool {
	number := func(s string) (n int) {
		var major, minor, patch int
		fmt.Sscanf(s, "%d.%d.%d", &major, &minor, &patch)
		return major<<20 + minor<<10 + patch
	}
	return number(d.Version) >= number(since)
}
