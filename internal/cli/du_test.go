package cli

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"noid/internal/api"
)

func TestUsageTable(t *testing.T) {
	u := api.Usage{VMs: []api.VMUsage{{Name: "dev", Occupied: api.Occupied{OwnBytes: 3 << 20, SharedBytes: 128 << 20}, Checkpoints: 2, OfCheckpoints: api.Occupied{OwnBytes: 1 << 30, SharedBytes: 128 << 20}, TotalBytes: 1155 << 20}},
		Images: &api.Occupied{OwnBytes: 300 << 20, SharedBytes: 0}, Kernels: &api.Occupied{}, Other: &api.Occupied{OwnBytes: 4096, SharedBytes: 0}, TotalBytes: 1455<<20 + 4096}
	var b strings.Builder
	usageTable(&b, u)
	want := strings.Join([]string{
		`+-----------+---------+---------+-------------+-----------+--------------+---------+`,
		`| name      | own     | shared  | checkpoints | their own | their shared | total   |`,
		`+-----------+---------+---------+-------------+-----------+--------------+---------+`,
		`| dev       | 3.0 MiB | 128 MiB | 2           | 1.0 GiB   | 128 MiB      | 1.1 GiB |`,
		`+-----------+---------+---------+-------------+-----------+--------------+---------+`,
		`| (images)  | 300 MiB | 0 B     | -           | -         | -            | 300 MiB |`,
		`+-----------+---------+---------+-------------+-----------+--------------+---------+`,
		`| (kernels) | 0 B     | 0 B     | -           | -         | -            | 0 B     |`,
		`+-----------+---------+---------+-------------+-----------+--------------+---------+`,
		`| (other)   | 4.0 KiB | 0 B     | -           | -         | -            | 4.0 KiB |`,
		`+-----------+---------+---------+-------------+-----------+--------------+---------+`,
		`| (total)   | -       | -       | 2           | -         | -            | 1.4 GiB |`,
		`+-----------+---------+---------+-------------+-----------+--------------+---------+`,
		``}, "\n")
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
	u.Images, u.Kernels, u.Other = nil, nil, nil
	got, err := json.Marshal(u)
	const wantJSON = `{"vms":[{"name":"dev","own_bytes":3145728,"shared_bytes":134217728,"checkpoints":2,` +
		`"of_checkpoints":{"own_bytes":1073741824,"shared_bytes":134217728},"total_bytes":1211105280}],"total_bytes":1525682176}`
	if diff := cmp.Diff(wantJSON, string(got)); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}
