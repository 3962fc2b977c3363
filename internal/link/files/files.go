// Package files is the agent's tool for single files and directories of a guest: stat, list, read, mkdir, remove and
// rename. The host gives it arguments (Args), and reads what it answers: not to be trusted, like all that a guest says.
package files

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Tool is the tool's name, the first of its arguments.
const Tool = "file"

// What an exit code of the tool says, as noid's own do. The last line on standard error, after ErrorPrefix, says why.
const (
	ExitFailed   = 1
	ExitUsage    = 2
	ExitNotFound = 3
	ExitExists   = 4
	ExitState    = 5 // the file, its directory or its file system is not one with which that can be done
	ExitNoSpace  = 8 // on the guest's file system, which is not this machine's

	ErrorPrefix = "error: "
)

// Info is what stat(2) says of a file.
type Info struct {
	Name   string    `json:"name"`
	Type   string    `json:"type"` // file, dir, symlink, fifo, socket, char or block
	Mode   uint32    `json:"mode"` // permissions, with set-uid, set-gid and sticky as chmod(2) has them
	UID    uint32    `json:"uid"`
	GID    uint32    `json:"gid"`
	Size   int64     `json:"size"`
	Mtime  time.Time `json:"mtime"`
	Target string    `json:"target,omitempty"` // of a symlink
	// Raw is the name where it is no UTF-8.
	Raw []byte `json:"raw,omitempty"`
}

// Part is what goes before the bytes that read answers with: the file, and which part of it they are. A Length of -1 is
// all until their end.
type Part struct {
	Info
	Offset int64 `json:"offset"`
	Length int64 `json:"length"`
}

// StatArgs, and those after it, are the arguments for what they are called. Stat does not follow a symlink.
func StatArgs(path string) []string { return []string{Tool, "stat", path} }

// ListArgs lists a directory, max files of it at most, each as an Info in a line of JSON.
func ListArgs(path string, max int) []string { return []string{Tool, "list", path, strconv.Itoa(max)} }

// ReadArgs reads length bytes of a regular file from offset, or from its end if that is negative: a Part in a line of
// JSON, and the bytes. A negative length is the rest.
func ReadArgs(path string, offset, length int64) []string {
	return []string{Tool, "read", path, strconv.FormatInt(offset, 10), strconv.FormatInt(length, 10)}
}

// MkdirArgs makes a directory, with parents those on the way to it too; then one that is there is no error.
func MkdirArgs(path string, mode fs.FileMode, parents bool) []string {
	return []string{Tool, "mkdir", path, strconv.FormatUint(uint64(mode.Perm()), 8), strconv.FormatBool(parents)}
}

// RemoveArgs removes a file or an empty directory, or with all a directory with what is in it.
func RemoveArgs(path string, all bool) []string {
	return []string{Tool, "remove", path, strconv.FormatBool(all)}
}

// RenameArgs renames a file, which replaces one that is there.
func RenameArgs(from, to string) []string { return []string{Tool, "rename", from, to} }

// Main runs the tool with args, without its name, and returns its exit code.
func Main(args []string, out, errw io.Writer) int {
	w := bufio.NewWriterSize(out, 64<<10)
	err := run(args, w)
	if flushErr := w.Flush(); err == nil {
		err = flushErr
	}
	if err == nil {
		return 0
	}
	fmt.Fprintln(errw, ErrorPrefix+strings.ReplaceAll(err.Error(), "\n", " "))
	return code(err)
}

var errUsage = errors.New("wrong arguments")

func code(err error) int {
	switch {
	case errors.Is(err, errUsage), errors.Is(err, syscall.ENAMETOOLONG), errors.Is(err, syscall.EINVAL):
		return ExitUsage
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return ExitNoSpace
	case errors.Is(err, syscall.ENOTEMPTY): // errors.Is takes it for fs.ErrExist too
		return ExitState
	case errors.Is(err, fs.ErrNotExist):
		return ExitNotFound
	case errors.Is(err, fs.ErrExist):
		return ExitExists
	}
	if _, ok := errors.AsType[syscall.Errno](err); ok || errors.Is(err, errState) {
		return ExitState
	}
	return ExitFailed
}

var errState = errors.New("not such a file")

func run(args []string, w *bufio.Writer) error {
	want := map[string]int{"stat": 2, "list": 3, "read": 4, "mkdir": 4, "remove": 3, "rename": 3}
	if len(args) == 0 || want[args[0]] != len(args) || args[1] == "" || !filepath.IsAbs(args[1]) {
		return fmt.Errorf("%w: a path is absolute", errUsage)
	}
	path := args[1]
	switch args[0] {
	case "stat":
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		return line(w, infoOf(path, info))
	case "list":
		max, err := strconv.Atoi(args[2])
		if err != nil {
			return errUsage
		}
		return list(w, path, max)
	case "read":
		offset, err := strconv.ParseInt(args[2], 10, 64)
		length, err2 := strconv.ParseInt(args[3], 10, 64)
		if err != nil || err2 != nil {
			return errUsage
		}
		return read(w, path, offset, length)
	case "mkdir":
		mode, err := strconv.ParseUint(args[2], 8, 9)
		if err != nil {
			return errUsage
		}
		return mkdir(path, fs.FileMode(mode), args[3] == "true")
	case "remove":
		return remove(path, args[2] == "true")
	default:
		if !filepath.IsAbs(args[2]) {
			return fmt.Errorf("%w: a path is absolute", errUsage)
		}
		return os.Rename(path, args[2])
	}
}

func line(w io.Writer, v any) error {
	return json.NewEncoder(w).Encode(v)
}

// infoOf describes the file at path, without following a link.
func infoOf(path string, info fs.FileInfo) Info {
	st := info.Sys().(*syscall.Stat_t)
	i := Info{Name: info.Name(), Mode: st.Mode & 0o7777, UID: st.Uid, GID: st.Gid, Size: info.Size(), Mtime: info.ModTime().UTC()}
	if i.Mtime.Year() < 0 || i.Mtime.Year() > 9999 { // RFC 3339 has no other
		i.Mtime = time.Time{}
	}
	if name := strings.ToValidUTF8(i.Name, "\uFFFD"); name != i.Name {
		i.Name, i.Raw = name, []byte(i.Name)
	}
	switch info.Mode().Type() {
	case 0:
		i.Type = "file"
	case fs.ModeDir:
		i.Type = "dir"
	case fs.ModeSymlink:
		i.Type = "symlink"
		i.Target, _ = os.Readlink(path)
	case fs.ModeNamedPipe:
		i.Type = "fifo"
	case fs.ModeSocket:
		i.Type = "socket"
	case fs.ModeDevice:
		i.Type = "block"
	default:
		i.Type = "char"
	}
	return i
}

func list(w io.Writer, path string, max int) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	for n := 0; n < max; {
		names, err := dir.Readdirnames(min(1024, max-n))
		for _, name := range names {
			at := filepath.Join(path, name)
			info, err := os.Lstat(at)
			if errors.Is(err, fs.ErrNotExist) { // removed since
				continue
			} else if err != nil {
				return err
			}
			if n++; line(w, infoOf(at, info)) != nil {
				return errors.New("nobody reads")
			}
		}
		if err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
	return nil
}

func read(w *bufio.Writer, path string, offset, length int64) error {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO is not waited for
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file: %w", path, errState)
	}
	p := Part{Info: infoOf(path, info), Offset: offset, Length: length}
	if p.Size == 0 { // or one of /proc, which says so of itself
		p.Offset, p.Length = 0, -1
		length = math.MaxInt64
	} else {
		if p.Offset < 0 {
			p.Offset = max(0, p.Size+p.Offset)
		}
		p.Offset = min(p.Offset, p.Size)
		if p.Length < 0 || p.Length > p.Size-p.Offset {
			p.Length = p.Size - p.Offset
		}
		length = p.Length
	}
	if err := line(w, p); err != nil {
		return err
	}
	if p.Offset > 0 {
		if _, err := f.Seek(p.Offset, io.SeekStart); err != nil {
			return err
		}
	}
	n, err := io.Copy(w, io.LimitReader(f, length))
	if err == nil && p.Length > n {
		err = fmt.Errorf("%s has become shorter", path)
	}
	return err
}

func mkdir(path string, mode fs.FileMode, parents bool) error {
	made := os.Mkdir
	if parents {
		made = os.MkdirAll
	}
	if err := made(path, mode); err != nil {
		return err
	}
	if parents {
		return nil
	}
	return os.Chmod(path, mode) // whatever the umask is
}

func remove(path string, all bool) error {
	if _, err := os.Lstat(path); err != nil {
		return err
	}
	if all {
		return os.RemoveAll(path)
	}
	return os.Remove(path)
}
