package pack

import (
	"bytes"
	"encoding/gob"
	"errors"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"noid/internal/storage"
	"noid/internal/untrusted"
)

// CountsFile has, beside the pack, what Save has written. It is there for speed alone.
const CountsFile = "pack.counts"

// maxCounts bounds the counts that are read, in bytes.
const maxCounts = 1 << 30

// saved is what CountsFile has behind its sum.
type saved struct {
	Of      []string
	Regions map[int64]*[regionBlocks]uint16
}

// Save writes c to dir. of are the names of all whose tables c has counted. What is cut short LoadCounts does not take.
func (c *Counts) Save(dir string, of []string) error {
	var body bytes.Buffer
	if err := gob.NewEncoder(&body).Encode(saved{of, c.regions}); err != nil {
		return err
	}
	sum := storage.SumOf(body.Bytes())
	f, err := os.OpenFile(filepath.Join(dir, CountsFile), os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(sum[:], body.Bytes()...))
	return errors.Join(err, f.Close())
}

// LoadCounts reads what Save has written to dir. It is nil when that is not there or damaged.
func LoadCounts(dir string) (c *Counts, of []string) {
	f, err := untrusted.Open(dir, CountsFile, unix.O_RDONLY)
	if err != nil {
		return nil, nil
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxCounts))
	if err != nil || len(data) < len(storage.Sum{}) {
		return nil, nil
	}
	sum, body := storage.Sum(data[:len(storage.Sum{})]), data[len(storage.Sum{}):]
	var s saved
	if storage.SumOf(body) != sum || gob.NewDecoder(bytes.NewReader(body)).Decode(&s) != nil {
		return nil, nil
	}
	return &Counts{regions: s.Regions}, s.Of
}

// RemoveCounts removes what Save has written to dir.
func RemoveCounts(dir string) { os.Remove(filepath.Join(dir, CountsFile)) }
