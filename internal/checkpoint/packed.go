package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"noid/internal/pack"
	"noid/internal/storage"
	"noid/internal/untrusted"
	"noid/internal/vmm"
)

// tableSuffix ends the name of a file that has the table of a content in the pack.
const tableSuffix = ".table"

// maxTable bounds, in bytes, the table that is read: one of 100 million extents.
const maxTable = 1 << 30

// TableFile is the name of the table of the content called name.
func TableFile(name string) string { return name + tableSuffix }

// InPack reports whether the content called name is in the pack of the VM's checkpoints, which is in the directory
// above c's own, and not a file.
func (c Record) InPack(name string) bool {
	return c.Packed && (name == vmm.RootfsFile || name == vmm.MemorySnap)
}

// Table reads the table of the content called name of the checkpoint in dir. It says whether it is as it was written.
func Table(dir, name string) (pack.Table, error) {
	f, err := untrusted.Open(dir, TableFile(name), unix.O_RDONLY)
	if err != nil {
		return pack.Table{}, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxTable))
	if err != nil {
		return pack.Table{}, err
	}
	t, err := pack.Parse(data)
	if err != nil {
		err = fmt.Errorf("%s: %w", TableFile(name), err)
	}
	return t, err
}

// Tables are the tables of the checkpoint in dir. One without a pack has none.
func Tables(dir string) (tables []pack.Table, err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), tableSuffix); ok && err == nil {
			var t pack.Table
			t, err = Table(dir, name)
			tables = append(tables, t)
		}
	}
	return tables, err
}

// OpenContent opens the content called name, which is in the pack, of the checkpoint in dir. The caller closes it.
func OpenContent(dir, name string) (pack.Content, error) {
	t, err := Table(dir, name)
	if err != nil {
		return pack.Content{}, err
	}
	p, err := pack.Open(filepath.Dir(dir))
	return pack.Content{Pack: p, Table: t}, err
}

// Content is OpenContent for c.
func (c Record) Content(dir, name string) (pack.Content, error) {
	content, err := OpenContent(dir, name)
	if want := c.Files[name].Length; err == nil && content.Length != want {
		content.Close()
		err = fmt.Errorf("%s has %d bytes, not the %d saved", name, content.Length, want)
	}
	return content, err
}

// checkContent is Check for what is in the pack.
func (c Record) checkContent(ctx context.Context, dir, name string, readData bool, reading func(file string, length int64)) error {
	content, err := c.Content(dir, name)
	if err != nil {
		return damaged(c, "%w", err)
	}
	defer content.Close()
	if off, lacks := content.Lacks(); lacks {
		return damaged(c, "the pack lacks what %s has at %d MiB", name, off>>20)
	}
	if !readData {
		return nil
	}
	if reading != nil && content.Length > maxSmall {
		reading(name, content.Length)
	}
	if err := c.readContent(ctx, dir, name, content, nil); err != nil || name != vmm.MemorySnap {
		return err
	}
	return c.checkWhole(ctx, dir)
}

// readContent compares content, and writes it to out if that is not nil.
func (c Record) readContent(ctx context.Context, dir, name string, content pack.Content, out *os.File) error {
	hash, err := content.Read(ctx, c.Files[name].ChunkBytes(), out)
	if errors.Is(err, unix.EIO) || errors.Is(err, pack.ErrShort) {
		return damaged(c, "%w", err)
	} else if err != nil {
		return err
	}
	if hash.Root() != c.Files[name].Sum {
		return damaged(c, "%s differs %sfrom what was saved", name, c.where(dir, name, hash))
	}
	return nil
}

// Fill makes the new file path of the content called name of c in dir, which is in the pack, and compares it with what
// was saved. When it fails, path is gone.
func (c Record) Fill(ctx context.Context, dir, name, path string) (err error) {
	content, err := c.Content(dir, name)
	if err != nil {
		return damaged(c, "%w", err)
	}
	defer content.Close()
	out, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return storage.Explain(err, path)
	}
	err = c.readContent(ctx, dir, name, content, out)
	if closeErr := out.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		os.Remove(path)
	}
	return err
}
