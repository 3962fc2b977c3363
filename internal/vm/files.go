package vm

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"time"

	"noid/internal/errs"
	"noid/internal/link/files"
)

// FileInfo is what a guest says of one of its files. Its text is the guest's.
type FileInfo = files.Info

// FilePart is which part of a file is read.
type FilePart = files.Part

// maxFileLine bounds what a guest says of one file, in bytes.
const maxFileLine = 64 << 10

// StatFile returns what at is, in a VM or a clone of it. No such file is errs.ErrNotFound. It and the verbs below wait
// for the guest to be up for wait.
func (m *Manager) StatFile(ctx context.Context, at Place, wait time.Duration) (i FileInfo, err error) {
	err = m.fileTool(ctx, at, wait, files.StatArgs(at.Path), false, func(r *bufio.Reader) error { return readInfo(r, &i) })
	return i, err
}

// ListFiles lists the directory at, max files of it at most, in no order.
func (m *Manager) ListFiles(ctx context.Context, at Place, max int, wait time.Duration) (list []FileInfo, err error) {
	err = m.fileTool(ctx, at, wait, files.ListArgs(at.Path, max), false, func(r *bufio.Reader) error {
		for len(list) < max {
			var i FileInfo
			if err := readInfo(r, &i); err == io.EOF {
				return nil
			} else if err != nil {
				return err
			}
			list = append(list, i)
		}
		return nil
	})
	return list, err
}

// ReadFile reads length bytes of the regular file at from offset, or from its end if that is negative; a negative length
// is the rest. begin is told which part that is, and returns what gets it. Of a file that has become shorter meanwhile
// it is an error.
func (m *Manager) ReadFile(ctx context.Context, at Place, offset, length int64, wait time.Duration, begin func(FilePart) (io.Writer, error)) error {
	return m.fileTool(ctx, at, wait, files.ReadArgs(at.Path, offset, length), false, func(r *bufio.Reader) error {
		var p FilePart
		if err := readInfo(r, &p); err != nil {
			return err
		}
		if p.Offset < 0 || p.Length < -1 || p.Size < 0 || p.Length >= 0 && p.Offset > p.Size-p.Length {
			return fmt.Errorf("the guest's answer makes no sense: %d bytes from %d of %d", p.Length, p.Offset, p.Size)
		}
		w, err := begin(p)
		if err != nil {
			return err
		}
		if p.Length < 0 {
			_, err = io.Copy(w, r)
		} else if _, err = io.CopyN(w, r, p.Length); err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return err
	})
}

// MakeDir makes the directory at; with parents, those on the way to it too. One that is there is errs.ErrExists, but not
// with parents.
func (m *Manager) MakeDir(ctx context.Context, at Place, mode fs.FileMode, parents bool, wait time.Duration) error {
	return m.fileTool(ctx, at, wait, files.MkdirArgs(at.Path, mode, parents), true, nil)
}

// RemoveFile removes the file at, or with all a directory with what is in it.
func (m *Manager) RemoveFile(ctx context.Context, at Place, all bool, wait time.Duration) error {
	return m.fileTool(ctx, at, wait, files.RemoveArgs(at.Path, all), true, nil)
}

// RenameFile renames the file at to the path to. A file that is there is replaced.
func (m *Manager) RenameFile(ctx context.Context, at Place, to string, wait time.Duration) error {
	return m.fileTool(ctx, at, wait, files.RenameArgs(at.Path, to), true, nil)
}

// fileTool runs the tool for files in the VM of at, and has read read what it writes.
func (m *Manager) fileTool(ctx context.Context, at Place, wait time.Duration, args []string, changes bool, read func(*bufio.Reader) error) error {
	if changes && at.Ref != "" {
		return errs.New(errs.ErrUsage, "cp: %q would be lost: it is in a clone that goes away", at).Hint("make a vm and change that: noid fork " + at.at() + " --as NEW")
	}
	c := &copying{Manager: m, o: CopyOptions{Wait: wait}}
	defer c.close(ctx)
	tool, err := c.tool(ctx, at, args, changes)
	if err != nil {
		return err
	}
	if read == nil {
		return tool(ctx, nil, io.Discard)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, w := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := tool(ctx, nil, w)
		w.CloseWithError(err) // which read then returns
		ended <- err
	}()
	if err = read(bufio.NewReaderSize(r, maxFileLine)); err != nil {
		cancel()
	} else { // it has yet to say how it ended
		io.CopyN(io.Discard, r, 1<<20)
	}
	r.Close()
	return cmp.Or(err, <-ended)
}

// readInfo reads one line of JSON. io.EOF is that there is none.
func readInfo(r *bufio.Reader, to any) error {
	line, err := r.ReadSlice('\n')
	if err == io.EOF && len(line) > 0 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(bytes.TrimSpace(line), to); err != nil {
		return fmt.Errorf("the guest's answer makes no sense: %w", err)
	}
	return nil
}
