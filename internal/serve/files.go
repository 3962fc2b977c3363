package serve

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"noid/internal/api"
	"noid/internal/errs"
	"noid/internal/untrusted"
	"noid/internal/vm"
)

// inFile names a file of a VM.
type inFile struct {
	inVM
	Path string `json:"-" query:"path" min:"1" max:"4096" pattern:"^/" jsonschema:"an absolute path in the guest"`
}

// inFileAt names a file of a VM, or of a moment of it.
type inFileAt struct {
	inFile
	At string `json:"-" query:"at,omitempty" max:"300" jsonschema:"in a throw-away clone of the VM: as its checkpoint of this id or label has it, or now"`
}

// PutFileRequest is a file that is written.
type PutFileRequest struct {
	inFile
	Mode string `json:"-" query:"mode,omitempty" pattern:"^[0-7]{3,4}$" jsonschema:"of a new file, in octal; 644 without it"`
}

// ListFilesRequest is a directory that is listed.
type ListFilesRequest struct {
	inFileAt
	Max int `json:"-" query:"max,omitempty" min:"0" max:"100000" jsonschema:"how many files at most; 10000 if 0"`
}

// DirRequest is a directory that is made.
type DirRequest struct {
	inVM
	Path    string `json:"path" min:"1" max:"4096" pattern:"^/"`
	Mode    string `json:"mode,omitempty" pattern:"^[0-7]{3}$" jsonschema:"in octal; 755 without it"`
	Parents bool   `json:"parents,omitempty" jsonschema:"make those on the way to it too; one that is there is no error"`
}

// RenameFileRequest is a file that gets another path.
type RenameFileRequest struct {
	inVM
	From string `json:"from" min:"1" max:"4096" pattern:"^/"`
	To   string `json:"to" min:"1" max:"4096" pattern:"^/" jsonschema:"a file that is there is replaced"`
}

// RemoveFileRequest is a file that is removed.
type RemoveFileRequest struct {
	inFile
	Recursive bool `json:"-" query:"recursive,omitempty" jsonschema:"a directory with what is in it"`
}

// TarRequest is a directory that gets what is in a tar.
type TarRequest struct {
	inFile
	Owners bool `json:"-" query:"owners,omitempty" jsonschema:"keep owners, set-uid bits and extended attributes"`
}

// GetTarRequest is a file or directory that is read as a tar.
type GetTarRequest struct {
	inFileAt
	Owners bool `json:"-" query:"owners,omitempty" jsonschema:"extended attributes too"`
}

// GuestFile is what stat(2) says of a file.
type GuestFile struct {
	Name       string    `json:"name"`
	NameBase64 []byte    `json:"name_base64,omitempty" jsonschema:"the name, where it is no UTF-8"`
	Type       string    `json:"type" enum:"file,dir,symlink,fifo,socket,char,block,unknown"`
	Mode       string    `json:"mode" jsonschema:"permissions, in octal"`
	UID        uint32    `json:"uid"`
	GID        uint32    `json:"gid"`
	Size       int64     `json:"size"`
	Modified   time.Time `json:"modified"`
	Target     string    `json:"target,omitempty" jsonschema:"of a symlink"`
}

// FileList is what is in a directory, by name.
type FileList struct {
	Files []GuestFile `json:"files"`
	Cut   bool        `json:"cut,omitempty" jsonschema:"there are more"`
}

// FileDone is the answer of a change of files.
type FileDone struct {
	Path string `json:"path"`
}

var fileTypes = []string{"file", "dir", "symlink", "fifo", "socket", "char", "block"}

func fileOf(i vm.FileInfo) GuestFile {
	f := GuestFile{i.Name, i.Raw, i.Type, fmt.Sprintf("%04o", i.Mode&0o7777), i.UID, i.GID, i.Size, i.Mtime, i.Target}
	if !slices.Contains(fileTypes, f.Type) { // the guest says what it likes
		f.Type = "unknown"
	}
	if year := f.Modified.Year(); year < 0 || year > 9999 {
		f.Modified = time.Time{}
	}
	return f
}

// inGuest marks what a guest could not do with its files, and is of no other kind.
func inGuest(err error) error {
	if err == nil || problemOf(err).Kind != "failed" {
		return err
	}
	return errs.Mark(err, vm.ErrGuest)
}

func (s *server) addFiles() {
	const tag = "Files"
	addRaw(s, op{method: "GET", path: "/vms/{vm}/files", id: "read_file", verb: "cp", tag: tag, summary: "Read a file", reads: true, gives: bytesType,
		about: "Range may name one range of bytes; the answer is 206 then. A file of /proc has no length before it was read."}, s.readFile)
	addRaw(s, op{method: "PUT", path: "/vms/{vm}/files", id: "write_file", verb: "cp", tag: tag, summary: "Write a file, whole", takes: bytesType, status: http.StatusNoContent,
		about: "A file that is there keeps owner and mode. The new one is complete before it has its name."}, s.writeFile)
	add(s, op{method: "DELETE", path: "/vms/{vm}/files", id: "remove_file", verb: "cp", tag: tag, summary: "Remove a file or a directory"}, func(ctx context.Context, c *call, in RemoveFileRequest) (FileDone, error) {
		return FileDone{in.Path}, inGuest(c.m.RemoveFile(ctx, vm.Place{VM: in.VM, Path: in.Path}, in.Recursive, api.BootWait))
	})
	add(s, op{method: "GET", path: "/vms/{vm}/files/stat", id: "stat_file", verb: "cp", tag: tag, summary: "Say what a file is, without following a symlink", reads: true}, func(ctx context.Context, c *call, in inFileAt) (GuestFile, error) {
		i, err := c.m.StatFile(ctx, in.place(), api.BootWait)
		return fileOf(i), inGuest(err)
	})
	add(s, op{method: "GET", path: "/vms/{vm}/files/list", id: "list_files", verb: "cp", tag: tag, summary: "List a directory", reads: true}, s.listFiles)
	add(s, op{method: "POST", path: "/vms/{vm}/files/mkdir", id: "make_dir", verb: "cp", tag: tag, summary: "Make a directory", example: `{"path":"/srv/a/b","parents":true}`}, s.makeDir)
	add(s, op{method: "POST", path: "/vms/{vm}/files/rename", id: "rename_file", verb: "cp", tag: tag, summary: "Rename a file or a directory", example: `{"from":"/tmp/new","to":"/srv/app"}`},
		func(ctx context.Context, c *call, in RenameFileRequest) (FileDone, error) {
			return FileDone{in.To}, inGuest(c.m.RenameFile(ctx, vm.Place{VM: in.VM, Path: in.From}, in.To, api.BootWait))
		})
	addRaw(s, op{method: "GET", path: "/vms/{vm}/files/tar", id: "read_tar", verb: "cp", tag: tag, summary: "Read a file or a directory as a tar", reads: true, gives: tarType}, s.readTar)
	addRaw(s, op{method: "PUT", path: "/vms/{vm}/files/tar", id: "write_tar", verb: "cp", tag: tag, summary: "Unpack a tar into a directory", takes: tarType, status: http.StatusNoContent}, s.writeTar)
}

func (in inFileAt) place() vm.Place { return vm.Place{VM: in.VM, Ref: in.At, Path: in.Path} }

func (s *server) readFile(ctx context.Context, c *call, in inFileAt) error {
	offset, length, ranged, err := byteRange(c.r.Header.Values("Range"))
	if err != nil {
		return err
	}
	if c.r.Method == http.MethodHead {
		length = 0
	}
	return inGuest(c.m.ReadFile(ctx, in.place(), offset, length, api.BootWait, func(p vm.FilePart) (io.Writer, error) {
		h, status := c.w.Header(), http.StatusOK
		h.Set("Content-Type", bytesType)
		h.Set("Accept-Ranges", "bytes")
		h.Set("Last-Modified", p.Mtime.UTC().Format(http.TimeFormat))
		if ranged && p.Length >= 0 {
			if p.Offset >= p.Size && p.Size > 0 || offset > p.Offset {
				h.Set("Content-Range", fmt.Sprintf("bytes */%d", p.Size))
				return nil, errs.New(errRange, "%s has %d bytes", untrusted.Line(in.Path, 300), p.Size)
			}
			if p.Length > 0 {
				status = http.StatusPartialContent
				h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", p.Offset, p.Offset+p.Length-1, p.Size))
			}
		}
		switch {
		case c.r.Method == http.MethodHead && p.Length >= 0:
			h.Set("Content-Length", strconv.FormatInt(p.Size, 10))
		case p.Length >= 0:
			h.Set("Content-Length", strconv.FormatInt(p.Length, 10))
		}
		c.w.WriteHeader(status)
		return c.w, nil
	}))
}

// byteRange is the part of a file that lines, of the header Range, name. As with other servers, what is not one range of
// bytes is the whole file.
func byteRange(lines []string) (offset, length int64, ranged bool, err error) {
	text, ok := strings.CutPrefix(strings.Join(lines, ","), "bytes=")
	from, to, found := strings.Cut(strings.TrimSpace(text), "-")
	if !ok || !found || strings.Contains(text, ",") {
		return 0, -1, false, nil
	}
	first, fromErr := strconv.ParseInt(from, 10, 63)
	last, toErr := strconv.ParseInt(to, 10, 63)
	switch {
	case from == "" && toErr == nil && last > 0:
		return -last, -1, true, nil
	case fromErr == nil && to == "" && first >= 0:
		return first, -1, true, nil
	case fromErr == nil && toErr == nil && 0 <= first && first <= last:
		return first, last - first + 1, true, nil
	case from == "" && to == "0":
		return 0, 0, false, errs.New(errRange, "range: the last 0 bytes are none")
	}
	return 0, -1, false, nil
}

func (s *server) writeFile(ctx context.Context, c *call, in PutFileRequest) error {
	mode, err := strconv.ParseUint(cmp.Or(in.Mode, "644"), 8, 12)
	if err != nil {
		return errs.New(errs.ErrUsage, "mode: %q is no mode", in.Mode)
	}
	if strings.HasSuffix(in.Path, "/") || strings.HasSuffix(in.Path, "/.") || strings.HasSuffix(in.Path, "/..") {
		return errs.New(errs.ErrUsage, "path: %q is a directory", in.Path)
	}
	src := vm.Place{Path: in.Path, File: s.upload(c), Mode: fs.FileMode(mode)}
	return s.copy(ctx, c, src, vm.Place{VM: in.VM, Path: in.Path}, vm.CopyOptions{})
}

// upload is a body of any length, which may take its time.
func (s *server) upload(c *call) io.Reader { return &patient{r: c.r.Body, w: c.w, slow: s.o.slow} }

func (s *server) copy(ctx context.Context, c *call, src, dst vm.Place, o vm.CopyOptions) error {
	o.Wait, o.Warn = api.BootWait, c.warn
	if err := inGuest(c.m.Copy(ctx, []vm.Place{src}, dst, o)); err != nil {
		return err
	}
	if dst.Out == nil {
		c.w.WriteHeader(http.StatusNoContent)
	}
	return nil
}

func (s *server) listFiles(ctx context.Context, c *call, in ListFilesRequest) (FileList, error) {
	max := cmp.Or(in.Max, 10_000)
	list, err := c.m.ListFiles(ctx, in.place(), max+1, api.BootWait)
	out := FileList{Files: []GuestFile{}, Cut: len(list) > max}
	for _, i := range list[:min(len(list), max)] {
		out.Files = append(out.Files, fileOf(i))
	}
	slices.SortFunc(out.Files, func(a, b GuestFile) int { return strings.Compare(a.Name, b.Name) })
	return out, inGuest(err)
}

func (s *server) makeDir(ctx context.Context, c *call, in DirRequest) (FileDone, error) {
	mode, err := strconv.ParseUint(cmp.Or(in.Mode, "755"), 8, 9)
	if err == nil {
		err = c.m.MakeDir(ctx, vm.Place{VM: in.VM, Path: in.Path}, fs.FileMode(mode), in.Parents, api.BootWait)
	}
	return FileDone{in.Path}, inGuest(err)
}

func (s *server) readTar(ctx context.Context, c *call, in GetTarRequest) error {
	c.w.Header().Set("Content-Type", tarType)
	return s.copy(ctx, c, in.place(), vm.Place{Path: "-", Out: c.w}, vm.CopyOptions{Recursive: true, Owners: in.Owners})
}

func (s *server) writeTar(ctx context.Context, c *call, in TarRequest) error {
	return s.copy(ctx, c, vm.Place{Path: "-", In: s.upload(c)}, vm.Place{VM: in.VM, Path: in.Path}, vm.CopyOptions{Recursive: true, Owners: in.Owners})
}
