package mcp

import (
	"archive/tar"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode/utf8"

	"noid/internal/api"
	"noid/internal/errs"
	"noid/internal/vm"
)

type readFileIn struct {
	VM     string `json:"vm" jsonschema:"the VM, or NAME@ID for a checkpoint of it"`
	Path   string `json:"path"`
	Offset int64  `json:"offset,omitempty" jsonschema:"where to begin, in bytes"`
	Max    int64  `json:"max,omitempty" jsonschema:"how many bytes to read; 65536 if 0"`
}

type readFileOut struct {
	Content  string `json:"content"`
	Encoding string `json:"encoding" jsonschema:"utf-8, or base64 where it is not that"`
	Size     int64  `json:"size"`
	Mode     string `json:"mode" jsonschema:"in octal"`
	Next     int64  `json:"next,omitempty" jsonschema:"the offset to go on at; missing at the end"`
}

type writeFileIn struct {
	vmIn
	Path     string `json:"path"`
	Content  string `json:"content"`
	Encoding string `json:"encoding,omitempty" jsonschema:"utf-8 or base64; utf-8 if empty"`
	Mode     string `json:"mode,omitempty" jsonschema:"of a new file, in octal; 644 if empty"`
}

type writeFileOut struct {
	Bytes int `json:"bytes"`
}

type copyIn struct {
	vmIn
	Host  string `json:"host" jsonschema:"a file or directory on this machine, below the directory that noid mcp was started with"`
	Guest string `json:"guest" jsonschema:"a path in the VM"`
}

type copyOut struct {
	Warnings []string `json:"warnings,omitempty"`
}

// defaultRead is how many bytes of a file are read.
const defaultRead = 64 << 10

func (s *server) addFiles() {
	add(s, "read_file", "Read a file", reads, "Read a file of a VM, or of a checkpoint.", s.readFile)
	add(s, "write_file", "Write a file", changes, "Write a file of a VM, whole. A file that is there keeps its owner and mode.", s.writeFile)
	if s.o.Files != "" {
		add(s, "copy_in", "Copy into a VM", changes, "Copy a file or directory of this machine into a VM.", func(ctx context.Context, c call, in copyIn) (copyOut, error) {
			return s.copy(ctx, c, in, false)
		})
		add(s, "copy_out", "Copy out of a VM", removes, "Copy a file or directory of a VM to this machine. What is there is replaced.", func(ctx context.Context, c call, in copyIn) (copyOut, error) {
			return s.copy(ctx, c, in, true)
		})
	}
}

func (s *server) readFile(ctx context.Context, c call, in readFileIn) (out readFileOut, err error) {
	at, err := place(in.VM, in.Path)
	if err != nil {
		return out, err
	}
	if in.Offset < 0 {
		return out, errs.New(errs.ErrUsage, "offset: %d is before the file", in.Offset)
	}
	if in.Max <= 0 {
		in.Max = defaultRead
	}
	part, header, err := c.part(ctx, at, in.Offset, min(in.Max, maxRead))
	if err != nil {
		return out, err
	}
	out = readFileOut{Content: base64.StdEncoding.EncodeToString(part), Encoding: "base64", Size: header.Size, Mode: strconv.FormatInt(header.Mode&0o7777, 8)}
	if utf8.Valid(part) {
		out.Content, out.Encoding = string(part), "utf-8"
	}
	if next := in.Offset + int64(len(part)); next < header.Size {
		out.Next = next
	}
	return out, nil
}

// part reads max bytes from offset of the file at a place. header is nil where nothing is there.
func (c call) part(ctx context.Context, at vm.Place, offset, max int64) (part []byte, header *tar.Header, err error) {
	ctx, enough := context.WithCancel(ctx)
	defer enough()
	r, w := io.Pipe()
	copied := make(chan error, 1)
	go func() {
		err := c.m.Copy(ctx, []vm.Place{at}, vm.Place{Path: "-", Out: w}, vm.CopyOptions{Wait: api.BootWait})
		w.CloseWithError(errors.Join(err, io.EOF))
		copied <- err
	}()
	part, header, err = readPart(r, at.Path, offset, max)
	enough()
	r.Close()
	if copyErr := <-copied; header == nil && copyErr != nil {
		return nil, nil, copyErr
	}
	return part, header, err
}

// readPart reads max bytes from offset of the only file in a tar, which path names. header is nil where there is none.
func readPart(r io.Reader, path string, offset, max int64) (part []byte, header *tar.Header, err error) {
	archive := tar.NewReader(r)
	if header, err = archive.Next(); err != nil {
		return nil, nil, err
	}
	if header.Typeflag != tar.TypeReg {
		return nil, header, errs.New(errs.ErrUsage, "%s is not a regular file", path)
	}
	if offset > header.Size {
		return nil, header, errs.New(errs.ErrUsage, "offset: %d is behind the file, which has %d bytes", offset, header.Size)
	}
	if _, err := io.CopyN(io.Discard, archive, offset); err != nil {
		return nil, header, err
	}
	part, err = io.ReadAll(io.LimitReader(archive, max))
	return part, header, err
}

func (s *server) writeFile(ctx context.Context, c call, in writeFileIn) (out writeFileOut, err error) {
	at, err := place(in.VM, in.Path)
	if err == nil && at.Ref != "" {
		err = errs.New(errs.ErrUsage, "nothing can be written into %s", in.VM).Hint("restore it first")
	}
	if err != nil {
		return out, err
	}
	data := []byte(in.Content)
	switch in.Encoding {
	case "", "utf-8":
	case "base64":
		if data, err = base64.StdEncoding.DecodeString(in.Content); err != nil {
			return out, errs.New(errs.ErrUsage, "content: %v", err)
		}
	default:
		return out, errs.New(errs.ErrUsage, "encoding: %.20q is neither utf-8 nor base64", in.Encoding)
	}
	mode := int64(0o644)
	if in.Mode != "" {
		if mode, err = strconv.ParseInt(in.Mode, 8, 16); err != nil || mode < 0 || mode > 0o777 {
			return out, errs.New(errs.ErrUsage, "mode: %.20q is not octal, up to 777", in.Mode)
		}
	}
	if _, there, err := c.part(ctx, at, 0, 0); there != nil && err != nil { // a directory: the file would get into it
		return out, err
	}
	dir, err := os.MkdirTemp("", "noid-mcp-")
	if err != nil {
		return out, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "file")
	if err := errors.Join(os.WriteFile(file, data, 0o600), os.Chmod(file, fs.FileMode(mode))); err != nil {
		return out, err
	}
	if err := c.m.Copy(ctx, []vm.Place{{Path: file}}, at, vm.CopyOptions{Wait: api.BootWait}); err != nil {
		text := strings.ReplaceAll(err.Error(), strconv.Quote(file), "content") // the client knows nothing of the file
		return out, errs.WithHint(errors.New(text), errs.Hint(err))
	}
	return writeFileOut{len(data)}, nil
}

// place is a path in the VM, or VM@ID, that arg names.
func place(arg, path string) (vm.Place, error) {
	name, ref, err := vm.ParseRef(arg)
	if err == nil && path == "" {
		err = errs.New(errs.ErrUsage, "path: it is empty")
	}
	return vm.Place{VM: name, Ref: ref, Path: path}, err
}

func (s *server) copy(ctx context.Context, c call, in copyIn, toHost bool) (out copyOut, err error) {
	guest, err := place(in.VM, in.Guest)
	if err != nil {
		return out, err
	}
	s.copies.Lock()
	defer s.copies.Unlock()
	host, err := s.below(in.Host)
	if err != nil {
		return out, err
	}
	src, dst := vm.Place{Path: host}, guest
	if toHost {
		src, dst = guest, vm.Place{Path: host}
	}
	o := vm.CopyOptions{Recursive: true, Wait: api.BootWait, Warn: func(text string) { out.Warnings = append(out.Warnings, text) }}
	err = c.m.Copy(ctx, []vm.Place{src}, dst, o)
	return out, err
}

// below is path, which may be relative, if it is in the directory that the client may use. No symbolic link on the way
// leads out of it: a guest's file that was copied here may be one.
func (s *server) below(path string) (string, error) {
	root, err := filepath.EvalSymlinks(s.o.Files)
	if err != nil {
		return "", err
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(root, path)
	}
	path = filepath.Clean(path)
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) { // it is to be made; a symbolic link that leads nowhere would be followed
		if _, lerr := os.Lstat(path); lerr == nil {
			return "", errs.New(errs.ErrUsage, "%.200q is a symbolic link that leads nowhere", path)
		}
		if real, err = filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
			real = filepath.Join(real, filepath.Base(path))
		}
	}
	if err != nil {
		return "", err
	}
	if rel, err := filepath.Rel(root, real); err != nil || !filepath.IsLocal(rel) {
		return "", errs.New(errs.ErrUsage, "%.200q is not below %s", path, root).Hint("noid mcp --files DIR says which directory of this machine may be used")
	}
	return real, nil
}
