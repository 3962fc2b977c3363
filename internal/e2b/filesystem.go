package e2b

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"noid/internal/api"
	"noid/internal/errs"
	"noid/internal/untrusted"
	"noid/internal/vm"
)

const filesystemService = "filesystem.Filesystem"

// Bounds of a listing: files, and directories that are looked into.
const (
	maxEntries = 10_000
	maxDirs    = 1000
	maxPath    = 4096 // bytes, as Linux has it
)

// entry is a file.
type entry struct {
	Name        string    `json:"name"`
	Type        string    `json:"type"`
	Path        string    `json:"path"`
	Size        int64     `json:"size,string"`
	Mode        uint32    `json:"mode"`
	Permissions string    `json:"permissions"`
	Owner       string    `json:"owner"`
	Group       string    `json:"group"`
	Modified    time.Time `json:"modifiedTime"`
	Target      *string   `json:"symlinkTarget,omitempty"`
}

type oneEntry struct {
	Entry entry `json:"entry"`
}

type entries struct {
	Entries []entry `json:"entries"`
}

type pathRequest struct {
	Path        string `json:"path"`
	Depth       int    `json:"depth"`
	Source      string `json:"source"`
	Destination string `json:"destination"`
}

func (h *Handler) addFilesystem() {
	unary(h, filesystemService, "Stat", func(ctx context.Context, c *call, in pathRequest) (oneEntry, error) {
		p, err := c.path(ctx, in.Path)
		if err != nil {
			return oneEntry{}, err
		}
		return c.stat(ctx, p)
	})
	unary(h, filesystemService, "ListDir", h.listDir)
	unary(h, filesystemService, "MakeDir", h.makeDir)
	unary(h, filesystemService, "Move", h.move)
	unary(h, filesystemService, "Remove", func(ctx context.Context, c *call, in pathRequest) (empty, error) {
		p, err := c.path(ctx, in.Path)
		if err == nil {
			err = c.m.RemoveFile(ctx, c.at(p), true, api.BootWait)
		}
		if errors.Is(err, errs.ErrNotFound) { // as envd has it
			err = nil
		}
		return empty{}, err
	})
	for _, name := range []string{"CreateWatcher", "GetWatcherEvents", "RemoveWatcher"} {
		unary(h, filesystemService, name, func(context.Context, *call, pathRequest) (empty, error) {
			return empty{}, unserved("watching directories")
		})
	}
	serverStream(h, filesystemService, "WatchDir", func(context.Context, *call, pathRequest, *stream) error { return unserved("watching directories") })
}

func (c *call) at(p string) vm.Place { return vm.Place{VM: c.id, Path: p} }

// path is p as an absolute path: what is relative, or begins with ~, is in the home of who acts. Empty stays empty.
func (c *call) path(ctx context.Context, p string) (string, error) {
	switch {
	case p == "":
		return "", nil
	case len(p) > maxPath || strings.ContainsRune(p, 0):
		return "", errs.New(errs.ErrUsage, "path: %.60q… is longer than %d bytes, or has a zero byte", p, maxPath)
	case path.IsAbs(p) && (c.user == "" || c.isRoot()): // whom there is
		return path.Clean(p), nil
	}
	accounts, err := c.accounts(ctx, "/etc/passwd")
	if err != nil {
		return "", fmt.Errorf("the sandbox's users: %w", err)
	}
	name, _, _ := strings.Cut(c.actor(), ":")
	for _, a := range accounts {
		if a[0] == name || a[2] == name {
			if path.IsAbs(p) {
				return path.Clean(p), nil
			}
			return path.Join("/", a[5], strings.TrimPrefix(strings.TrimPrefix(p, "~"), "/")), nil
		}
	}
	return "", errs.New(errs.ErrUsage, "no user %.60q in the sandbox", name)
}

// actor is who acts: USER or USER:GROUP, names or numbers.
func (c *call) actor() string {
	if c.user != "" {
		return c.user
	}
	if i := c.info.Image; i != nil && i.Config.User != "" {
		return i.Config.User
	}
	return "root"
}

// maxAccounts bounds what is read of a guest's list of users, in bytes.
const maxAccounts = 1 << 20

// accounts are the lines of the guest's passwd(5), seven fields each, or of its group(5), padded.
func (c *call) accounts(ctx context.Context, file string) (list [][]string, err error) {
	text := &kept{max: maxAccounts}
	err = c.m.ReadFile(ctx, c.at(file), 0, maxAccounts, api.BootWait, func(p vm.FilePart) (io.Writer, error) {
		if p.Length > maxAccounts { // the guest says what it likes
			return nil, errs.New(errs.ErrUsage, "%s has more than %d bytes", file, maxAccounts)
		}
		return text, nil
	})
	lines := bufio.NewScanner(text)
	for lines.Scan() {
		fields := strings.Split(lines.Text(), ":")
		for len(fields) < 7 {
			fields = append(fields, "")
		}
		list = append(list, fields)
	}
	return list, err
}

// names are the names of users or groups by their numbers.
type names struct {
	c    *call
	file string
	by   map[uint32]string
}

func (n *names) of(ctx context.Context, id uint32) string {
	if id == 0 {
		return "root"
	}
	if n.by == nil {
		n.by = map[uint32]string{}
		accounts, _ := n.c.accounts(ctx, n.file) // without them, numbers will do
		for _, a := range accounts {
			if id, err := strconv.ParseUint(a[2], 10, 32); err == nil {
				n.by[uint32(id)] = a[0]
			}
		}
	}
	if name, ok := n.by[id]; ok {
		return name
	}
	return strconv.FormatUint(uint64(id), 10)
}

// owners names users and groups for one request.
type owners struct{ users, groups names }

func (c *call) owners() *owners {
	return &owners{names{c: c, file: "/etc/passwd"}, names{c: c, file: "/etc/group"}}
}

// entryOf is what a guest says of its file at p.
func (o *owners) entryOf(ctx context.Context, p string, i vm.FileInfo) entry {
	mode := fs.FileMode(i.Mode & 0o777)
	e := entry{Name: path.Base(p), Path: p, Size: i.Size, Mode: i.Mode & 0o7777, Owner: o.users.of(ctx, i.UID), Group: o.groups.of(ctx, i.GID), Modified: i.Mtime.UTC(),
		Type: "FILE_TYPE_FILE"}
	switch i.Type {
	case "dir":
		e.Type, mode = "FILE_TYPE_DIRECTORY", mode|fs.ModeDir
	case "symlink":
		e.Type, mode, e.Target = "FILE_TYPE_SYMLINK", mode|fs.ModeSymlink, &i.Target
	}
	e.Permissions = mode.String()
	if year := e.Modified.Year(); year < 1 || year > 9999 {
		e.Modified = time.Unix(0, 0).UTC()
	}
	return e
}

func (c *call) stat(ctx context.Context, p string) (oneEntry, error) {
	i, err := c.m.StatFile(ctx, c.at(p), api.BootWait)
	if err != nil {
		return oneEntry{}, err
	}
	return oneEntry{c.owners().entryOf(ctx, p, i)}, nil
}

func (h *Handler) listDir(ctx context.Context, c *call, in pathRequest) (entries, error) {
	root, err := c.path(ctx, in.Path)
	if err != nil {
		return entries{}, err
	}
	out, names, dirs := entries{[]entry{}}, c.owners(), []string{root}
	for depth, looked := max(in.Depth, 1), 0; depth > 0 && len(dirs) > 0; depth-- {
		var below []string
		for _, dir := range dirs {
			if looked++; looked > maxDirs {
				return out, faultf("resource_exhausted", "there are more than %d directories in %s: ask for less depth", maxDirs, untrusted.Line(root, 200))
			}
			list, err := c.m.ListFiles(ctx, c.at(dir), maxEntries-len(out.Entries)+1, api.BootWait)
			if errors.Is(err, errs.ErrNotFound) && dir != root { // it has gone since
				continue
			} else if err != nil {
				return out, err
			}
			slices.SortFunc(list, func(a, b vm.FileInfo) int { return strings.Compare(a.Name, b.Name) })
			for _, i := range list {
				e := names.entryOf(ctx, path.Join(dir, path.Base("/"+i.Name)), i)
				if out.Entries = append(out.Entries, e); i.Type == "dir" && len(i.Raw) == 0 {
					below = append(below, e.Path)
				}
			}
			if len(out.Entries) > maxEntries {
				return out, faultf("resource_exhausted", "there are more than %d files in %s: list less of it", maxEntries, untrusted.Line(root, 200))
			}
		}
		dirs = below
	}
	return out, nil
}

func (h *Handler) makeDir(ctx context.Context, c *call, in pathRequest) (oneEntry, error) {
	p, err := c.path(ctx, in.Path)
	if err != nil {
		return oneEntry{}, err
	}
	switch i, err := c.m.StatFile(ctx, c.at(p), api.BootWait); {
	case err == nil && i.Type == "dir":
		return oneEntry{}, errs.New(errs.ErrExists, "%s is there already", untrusted.Line(p, 200))
	case err == nil:
		return oneEntry{}, errs.New(errs.ErrUsage, "%s is there, and is no directory", untrusted.Line(p, 200))
	case !errors.Is(err, errs.ErrNotFound):
		return oneEntry{}, err
	}
	if err := c.mkdir(ctx, p); err != nil {
		return oneEntry{}, err
	}
	return c.stat(ctx, p)
}

func (h *Handler) move(ctx context.Context, c *call, in pathRequest) (oneEntry, error) {
	from, err := c.path(ctx, in.Source)
	if err != nil {
		return oneEntry{}, err
	}
	to, err := c.path(ctx, in.Destination)
	if err != nil {
		return oneEntry{}, err
	}
	if _, err := c.m.StatFile(ctx, c.at(from), api.BootWait); err != nil {
		return oneEntry{}, err
	}
	err = c.m.RenameFile(ctx, c.at(from), to, api.BootWait)
	if errors.Is(err, errs.ErrNotFound) { // the directory that it goes to
		if err = c.mkdir(ctx, path.Dir(to)); err == nil {
			err = c.m.RenameFile(ctx, c.at(from), to, api.BootWait)
		}
	}
	if err != nil {
		return oneEntry{}, err
	}
	return c.stat(ctx, to)
}

// mkdir makes a directory and those on the way to it, which who acts owns.
func (c *call) mkdir(ctx context.Context, p string) error {
	if c.isRoot() {
		return c.m.MakeDir(ctx, c.at(p), 0o755, true, api.BootWait)
	}
	return c.script(ctx, `mkdir -p -- "$1"`, p, nil)
}

// isRoot reports whether root acts, for whom noid's own tools do.
func (c *call) isRoot() bool {
	name, _, _ := strings.Cut(c.actor(), ":")
	return name == "root" || name == "0"
}

// maxSaid bounds what is kept of what a script says, in bytes.
const maxSaid = 4 << 10

// script runs a line of sh in the sandbox as who acts, with a path as $1.
func (c *call) script(ctx context.Context, line, p string, in io.Reader) error {
	said, content := &kept{max: maxSaid}, &noted{r: in}
	exit, err := c.m.Exec(ctx, c.id, vm.Command{Argv: []string{"sh", "-c", line, "sh", p}, User: c.actor(), Stdin: in != nil, Wait: api.BootWait},
		vm.Streams{In: content, Err: said})
	switch {
	case err != nil:
		return err
	case exit.Code != 0:
		kind := errs.ErrUsage
		if strings.Contains(said.String(), "No space left on device") {
			kind = vm.ErrGuestFull
		}
		return errs.New(kind, "as %s: %s", c.actor(), untrusted.Line(said.String()+exit.Error, 300))
	}
	return content.failed()
}

// noted notes how reading has ended, which a command's input does all the same.
type noted struct {
	r   io.Reader
	mu  sync.Mutex // a Read may outlast the command
	err error
}

func (n *noted) failed() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.err != nil && n.err != io.EOF {
		return n.err
	}
	return nil
}

// Read implements io.Reader.
func (n *noted) Read(b []byte) (int, error) {
	if n.r == nil {
		return 0, io.EOF
	}
	k, err := n.r.Read(b)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.err = err
	return k, err
}

// kept keeps the first max bytes of what is written to it.
type kept struct {
	bytes.Buffer
	max int
}

// Write implements io.Writer.
func (k *kept) Write(b []byte) (int, error) {
	k.Buffer.Write(b[:min(len(b), k.max-k.Len())])
	return len(b), nil
}
