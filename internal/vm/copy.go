package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"sync"
	"syscall"
	"time"

	"noid/internal/errs"
	"noid/internal/link"
	"noid/internal/link/tarfs"
	"noid/internal/link/wire"
)

// Place is one side of a Copy: a path in a VM, a path on this machine, or a tar stream.
type Place struct {
	VM   string // "" for this machine
	Ref  string // a checkpoint of it, or Now: the path is in a throw-away clone. "" for the VM itself
	Path string
	In   io.Reader // a tar to unpack, as the source
	Out  io.Writer // what gets a tar, as the destination
	// File is, as the source, the content of a file that Path names, and Mode its mode.
	File io.Reader
	Mode fs.FileMode
}

func (p Place) stream() bool { return p.In != nil || p.Out != nil }

// String is the place as a user writes it.
func (p Place) String() string {
	switch {
	case p.stream():
		return "-"
	case p.VM != "":
		return p.at() + ":" + p.Path
	}
	return p.Path
}

// at is the VM as a user writes it, with the moment.
func (p Place) at() string {
	if p.Ref != "" {
		return p.VM + "@" + p.Ref
	}
	return p.VM
}

// ErrPartial is a Copy that left something out, as a socket, and has copied the rest.
var ErrPartial = errors.New("not all")

// CopyOptions say how Copy copies.
type CopyOptions struct {
	Recursive bool          // directories too
	Owners    bool          // keep owners, set-uid bits, what else only root can give, and extended attributes
	Wait      time.Duration // how long to wait for a guest to be up
	Warn      func(string)  // takes what was left out, a bounded number of lines that are fit for a terminal. Nil drops it
	Count     func(n int)   // is told of every n bytes of the stream. Nil for nobody
}

// Copy copies the sources to dst; at least one side is in a VM. Several sources are all in one VM, or here, and go into
// a directory: all are looked at before the first is copied. Contents, modes, times, links and holes are kept. A new
// file, and one that is replaced, is complete before it has its name; one with several names, or a mount point, is
// written in place. Devices, FIFOs and sockets in a directory are left out with a warning, and the error is then
// ErrPartial. A directory without Recursive is errs.ErrUsage, a source that is not there errs.ErrNotFound.
func (m *Manager) Copy(ctx context.Context, srcs []Place, dst Place, o CopyOptions) error {
	if err := checkCopy(srcs, dst); err != nil {
		return err
	}
	src, c := srcs[0], &copying{Manager: m, o: o}
	defer c.close(ctx)
	var paths, names []string
	for _, s := range srcs {
		paths, names = append(paths, s.Path), append(names, tarfs.BaseName(s.Path))
	}
	create := tarfs.CreateOptions{Recursive: o.Recursive || dst.stream(), Plain: dst.stream(), Owners: o.Owners, Warn: c.warner("")}
	source, err := c.source(ctx, src, paths, create)
	if err != nil {
		return err
	}
	extract := tarfs.ExtractOptions{Recursive: true, Owners: o.Owners, Warn: c.warner("")}
	if !src.stream() {
		extract.Name, extract.Others, extract.Recursive = names[0], names[1:], o.Recursive
	}
	sink, err := c.sink(ctx, dst, extract)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("copying %q", src)
	if len(srcs) > 1 {
		what += fmt.Sprintf(" and %d more", len(srcs)-1)
	}
	err = c.run(ctx, source, sink)
	switch {
	case err != nil:
		return advise(fmt.Errorf("%s to %q: %w", what, dst, err), o)
	case c.partial:
		return errs.Mark(fmt.Errorf("%s to %q: not everything was copied", what, dst), ErrPartial)
	}
	return nil
}

// advise adds the cure to what ended a copy.
func advise(err error, o CopyOptions) error {
	switch {
	case errs.Hint(err) != "":
	case errors.Is(err, errs.ErrUsage) && !o.Recursive:
		return errs.WithHint(err, "noid cp -r copies directories")
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return errs.WithHint(err, "make room there, or copy to a larger file system")
	}
	return err
}

// checkCopy refuses what Copy does not do.
func checkCopy(srcs []Place, dst Place) error {
	if dst.Ref != "" {
		return errs.New(errs.ErrUsage, "cp: %q would be lost: it is in a clone that goes away", dst).
			Hint("make a vm and copy into that: noid fork " + dst.at() + " --as NEW")
	}
	names := map[string]Place{}
	for _, src := range srcs {
		name := tarfs.BaseName(src.Path)
		other, taken := names[name]
		switch {
		case src.VM == "" && dst.VM == "":
			return errs.New(errs.ErrUsage, "cp: neither %q nor %q is in a vm", src, dst).Hint("write NAME:/path for a file in a vm")
		case src.at() == dst.at() && within(dst.Path, src.Path):
			return errs.New(errs.ErrUsage, "cp: %q is %q itself, or in it", dst, src)
		case src.stream() && len(srcs) > 1, dst.stream() && len(srcs) > 1:
			return errs.New(errs.ErrUsage, "cp: a tar stream has one source and one destination")
		case src.at() != srcs[0].at():
			return errs.New(errs.ErrUsage, "cp: %q and %q are not in one place", srcs[0], src).Hint("copy from one vm after the other")
		case taken && name != tarfs.Contents:
			return errs.New(errs.ErrUsage, "cp: %q and %q would both be called %q", other, src, name)
		}
		names[name] = src
	}
	return nil
}

// within reports whether the absolute p is dir or below it: copying a directory there would not end.
func within(p, dir string) bool {
	if !path.IsAbs(p) || !path.IsAbs(dir) {
		return false
	}
	p, dir = path.Clean(p), path.Clean(dir)
	return p == dir || dir == "/" || strings.HasPrefix(p, dir+"/")
}

// copying is one run of Copy.
type copying struct {
	*Manager
	o        CopyOptions
	mu       sync.Mutex
	partial  bool
	warnings int
	clone    *session // of src, or nil
}

// source returns what writes paths, which are where src is, as a tar.
func (c *copying) source(ctx context.Context, src Place, paths []string, opts tarfs.CreateOptions) (func(context.Context, io.Writer) error, error) {
	switch {
	case src.In != nil:
		return func(_ context.Context, w io.Writer) error { return sendTar(w, src.In) }, nil
	case src.File != nil:
		return func(ctx context.Context, w io.Writer) error {
			return tarfs.CreateFile(ctx, w, tarfs.BaseName(src.Path), src.Mode, src.File)
		}, nil
	case src.VM == "":
		return func(ctx context.Context, w io.Writer) error {
			stats, err := tarfs.Create(ctx, w, paths, opts)
			c.count(stats)
			return err
		}, nil
	}
	tool, err := c.tool(ctx, src, tarfs.CreateArgs(opts, paths...), false)
	return func(ctx context.Context, w io.Writer) error { return tool(ctx, nil, w) }, err
}

// sink returns what unpacks a tar at dst.
func (c *copying) sink(ctx context.Context, dst Place, opts tarfs.ExtractOptions) (func(context.Context, io.Reader) error, error) {
	switch {
	case dst.Out != nil:
		return func(_ context.Context, r io.Reader) error {
			_, err := io.Copy(dst.Out, r)
			return err
		}, nil
	case dst.VM == "":
		return func(ctx context.Context, r io.Reader) error {
			stats, err := tarfs.Extract(ctx, r, dst.Path, opts)
			c.count(stats)
			return err
		}, nil
	}
	tool, err := c.tool(ctx, dst, tarfs.ExtractArgs(dst.Path, opts), true)
	return func(ctx context.Context, r io.Reader) error { return tool(ctx, r, nil) }, err
}

// errStopped is what a source gets when its sink has ended.
var errStopped = errors.New("the copy has ended")

// lastWord is how long a source may take to end after its sink took the whole copy, and cancelled to return.
const (
	lastWord = 30 * time.Second
	letGo    = 3 * time.Second
)

// run connects the two. The first that fails says why; the other is then ended.
func (c *copying) run(ctx context.Context, source func(context.Context, io.Writer) error, sink func(context.Context, io.Reader) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var once sync.Once
	var first error
	fail := func(err error) {
		once.Do(func() { first = err })
		cancel()
	}
	r, w := io.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		err := source(ctx, counted{w, c.o.Count})
		if err != nil {
			fail(err)
		}
		w.CloseWithError(err)
	}()
	if err := sink(ctx, r); err != nil {
		fail(err)
		r.CloseWithError(errStopped)
	} else { // a guest's tool has yet to say how it ended
		go func() {
			io.CopyN(io.Discard, r, 1<<20)
			r.CloseWithError(errStopped)
		}()
		select {
		case <-ended:
		case <-ctx.Done():
		case <-time.After(lastWord):
			fail(errors.New("its source does not end"))
			r.CloseWithError(errStopped)
		}
	}
	select {
	case <-ended:
	case <-time.After(letGo): // a Read of standard input does not end
	}
	fail(nil) // first is not written to from here on
	return first
}

// counted is a writer whose bytes are counted.
type counted struct {
	io.Writer
	count func(int)
}

func (c counted) Write(b []byte) (int, error) {
	n, err := c.Writer.Write(b)
	if c.count != nil {
		c.count(n)
	}
	return n, err
}

// guest is the session of the VM at p, or of a clone.
func (c *copying) guest(ctx context.Context, p Place) (s *session, err error) {
	if p.Ref == "" {
		return c.surelyRunning(ctx, p.VM, "cp")
	}
	c.clone, err = c.lookInto(ctx, p.VM, p.Ref, "cp", c.o.Wait)
	return c.clone, err
}

// close removes the clone.
func (c *copying) close(ctx context.Context) {
	if c.clone != nil {
		c.clone.vanish(ctx)
	}
}

// tool returns what runs one of the agent's tools in the VM of p, and changes the guest or not.
func (c *copying) tool(ctx context.Context, p Place, args []string, changes bool) (func(context.Context, io.Reader, io.Writer) error, error) {
	name := p.at()
	s, err := c.guest(ctx, p)
	if err != nil {
		return nil, err
	}
	if !s.vm.Machine.Agent {
		return nil, s.errNoAgent("make a vm without --no-agent, or go through 'noid exec'")
	}
	in := func(err error) error {
		if errors.Is(err, link.ErrDead) {
			err = s.explain(err)
		}
		err = s.errorf("cp:", err)
		if errors.Is(err, link.ErrNoAnswer) {
			err = errs.WithHint(err, "the boot has not finished or failed: 'noid logs "+name+"' shows it; --wait-timeout waits longer")
		}
		return err
	}
	client := s.agent()
	client.Patience = max(c.o.Wait, time.Millisecond)
	err = s.introduce(ctx, client.Patience)
	if s.line.Close(); err != nil {
		return nil, in(err)
	}
	if changes {
		if err := s.beforeChange(ctx, "(cp)"); err != nil {
			return nil, in(err)
		}
	}
	return func(ctx context.Context, stdin io.Reader, out io.Writer) error {
		if changes {
			defer s.touchStill()
		}
		said := &toolErrors{warn: c.warner(fmt.Sprintf("in vm %q: ", name))}
		exit, err := client.Exec(ctx, wire.Exec{Tool: true, Argv: byteSlices(args), Stdin: stdin != nil}, link.Streams{In: stdin, Out: out, Err: said})
		if err != nil {
			return in(err)
		}
		return c.toolEnded(name, exit, said)
	}, nil
}
