package checkpoint

import (
	"context"
	"encoding/json"
	"os"

	"noid/internal/manifest"
	"noid/internal/storage"
)

// HashBase describes the base at path, an image's, which nobody writes any more. It reads all of it once: its sum is
// kept beside it.
func HashBase(ctx context.Context, path string) (manifest.File, error) {
	kept := path + ".sum"
	info, err := os.Lstat(path)
	if err != nil {
		return manifest.File{}, err
	}
	var f manifest.File
	if data, _, err := manifest.Read(kept); err == nil && json.Unmarshal(data, &f) == nil && f.Untouched(info) {
		return f, nil
	}
	if f, err = HashFile(ctx, path); err != nil {
		return f, err
	}
	if data, err := manifest.Encode(f); err == nil {
		storage.WriteFile(kept, data, 0o400) // where that cannot be, the next one reads it again
	}
	return f, nil
}
