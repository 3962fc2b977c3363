package checkpoint

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"
	"time"

	"noid/internal/manifest"
)

// TestChecksum flips each bit of a manifest: none is read as if nothing had happened.
func TestChecksum(t *testing.T) {
	dir := t.TempDir()
	want := Record{ID: "00000001", VM: "a", Label: "l", CreatedAt: time.Unix(1e9, 0).UTC(), Files: map[string]manifest.File{"rootfs.ext4": {Length: 1}}}
	if err := Write(dir, want); err != nil {
		t.Fatal(err)
	}
	path := ManifestPath(dir)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Parse(data, "a", "00000001"); err != nil {
		t.Fatal(err)
	}
	for i := range data {
		for bit := range 8 {
			bad := bytes.Clone(data)
			bad[i] ^= 1 << bit
			c, err := Parse(bad, "a", "00000001")
			if err == nil {
				t.Errorf("byte %d, bit %d: %q is read as %+v", i, bit, bad[max(0, i-20):min(len(bad), i+20)], c)
			}
		}
	}
	var fields map[string]any
	if err := json.Unmarshal(data, &fields); err != nil {
		t.Fatal(err)
	}
	delete(fields, "checksum")
	delete(fields, "files")
	older, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Parse(older, "a", "00000001"); err != nil {
		t.Errorf("a manifest of a noid that made no checksum: %v", err)
	}
}
