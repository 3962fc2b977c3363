package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"noid/internal/errs"
	"noid/internal/home"
	"noid/internal/link"
	"noid/internal/link/tarfs"
	"noid/internal/link/wire"
	"noid/internal/untrusted"
)

// copyOptions are the flags of cp.
type copyOptions struct {
	recursive, owners bool
	wait              time.Duration
}

func (a *app) cpCmd() *cobra.Command {
	var o copyOptions
	cmd := &cobra.Command{
		Use: "cp [-r] [-a] SRC DST", Short: "Copy files between this machine and a guest, or two guests",
		Long: `Copy a file, or with -r a directory, between this machine and a guest, or two guests. NAME:/path is a file in a VM, NAME:path one
below its root user's home, anything else a file here (./a:b if its name has a colon).

An existing directory as DST is copied into, any other DST becomes the copy; SRC/. copies what is in a directory. Contents, modes, times,
links and holes are kept. The copy belongs to the caller, in a guest to root; -a keeps owners, set-uid bits and what else only root can
give, and implies -r. Files are replaced whole: an interrupted copy leaves none half written. Devices, FIFOs and sockets are skipped
with a warning, and the exit code is then 1.

As DST, - writes a tar to standard output; as SRC, it unpacks the tar on standard input into a directory of the guest.
` + exitHelp,
		Example: "  noid cp app.conf dev:/etc/\n  noid cp -r dev:/var/log logs\n  noid cp dev:/srv - | gzip >srv.tar.gz",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.recursive = o.recursive || o.owners
			return a.cp(cmd.Context(), args[0], args[1], o)
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&o.recursive, "recursive", "r", false, "copy directories")
	f.BoolVarP(&o.owners, "archive", "a", false, "copy directories and keep owners")
	f.DurationVar(&o.wait, "wait-timeout", time.Minute, "how long to wait for the guest to be up")
	return cmd
}

// place is one side of a copy.
type place struct {
	vm     string // "" for this machine
	path   string
	stream bool // "-"
}

func (p place) String() string {
	if p.vm != "" {
		return p.vm + ":" + p.path
	}
	return p.path
}

// parsePlace takes an argument apart: NAME:PATH where NAME can be a VM's.
func parsePlace(arg string) (place, error) {
	if arg == "-" {
		return place{stream: true, path: arg}, nil
	}
	name, rest, colon := strings.Cut(arg, ":")
	switch {
	case arg == "":
		return place{}, errs.New(errs.ErrUsage, "cp: an empty path")
	case !colon || home.CheckName(name) != nil:
		return place{path: arg}, nil
	case rest == "":
		rest = "."
	}
	return place{vm: name, path: rest}, nil
}

// checkCopy refuses what cp does not do.
func checkCopy(src, dst place, in, out *os.File) error {
	var err error
	switch {
	case src.vm == "" && dst.vm == "":
		err = errs.WithHint(fmt.Errorf("cp: neither %q nor %q is in a vm", src, dst), "write NAME:/path for a file in a vm")
	case src.stream && term.IsTerminal(int(in.Fd())):
		err = errs.WithHint(errors.New("cp: standard input is a terminal"), "tar c FILES | noid cp - "+dst.String())
	case dst.stream && term.IsTerminal(int(out.Fd())):
		err = errs.WithHint(errors.New("cp: a tar is not for a terminal"), "noid cp "+src.String()+" - | tar tv")
	case src.vm == dst.vm && within(dst.path, src.path):
		err = fmt.Errorf("cp: %q is %q itself, or in it", dst, src)
	}
	return errs.Mark(err, errs.ErrUsage)
}

// within reports whether the absolute p is dir or below it: copying a directory there would not end.
func within(p, dir string) bool {
	if !path.IsAbs(p) || !path.IsAbs(dir) {
		return false
	}
	p, dir = path.Clean(p), path.Clean(dir)
	return p == dir || dir == "/" || strings.HasPrefix(p, dir+"/")
}

// cp copies src to dst.
func (a *app) cp(ctx context.Context, srcArg, dstArg string, o copyOptions) error {
	src, err := parsePlace(srcArg)
	if err != nil {
		return err
	}
	dst, err := parsePlace(dstArg)
	if err != nil {
		return err
	}
	if err := checkCopy(src, dst, os.Stdin, os.Stdout); err != nil {
		return err
	}
	c := &copying{app: a, o: o, progress: newProgress(a.err, !a.quiet && !dst.stream && term.IsTerminal(int(os.Stderr.Fd())))}
	source, err := c.source(ctx, src, tarfs.CreateOptions{Recursive: o.recursive || dst.stream, Plain: dst.stream, Warn: c.warner("")})
	if err != nil {
		return err
	}
	extract := tarfs.ExtractOptions{Recursive: true, Owners: o.owners, Warn: c.warner("")}
	if !src.stream {
		extract.Name, extract.Recursive = tarfs.BaseName(src.path), o.recursive
	}
	sink, err := c.sink(ctx, dst, extract)
	if err != nil {
		return err
	}
	err = c.run(ctx, source, sink)
	c.progress.stop()
	switch {
	case err != nil:
		if errors.Is(err, errs.ErrUsage) && !o.recursive {
			err = errs.WithHint(err, "noid cp -r copies directories")
		}
		return fmt.Errorf("copying %q to %q: %w", src, dst, err)
	case c.partial:
		return fmt.Errorf("copying %q to %q: not everything was copied", src, dst)
	}
	return nil
}

// copying is one run of cp.
type copying struct {
	*app
	o        copyOptions
	progress *progress
	mu       sync.Mutex
	partial  bool
	warnings int
}

// source returns what writes src as a tar.
func (c *copying) source(ctx context.Context, src place, opts tarfs.CreateOptions) (func(context.Context, io.Writer) error, error) {
	switch {
	case src.stream:
		return func(_ context.Context, w io.Writer) error {
			_, err := io.Copy(w, os.Stdin)
			return err
		}, nil
	case src.vm == "":
		return func(ctx context.Context, w io.Writer) error {
			stats, err := tarfs.Create(ctx, w, []string{src.path}, opts)
			c.count(stats)
			return err
		}, nil
	}
	tool, err := c.tool(ctx, src.vm, tarfs.CreateArgs(src.path, opts))
	return func(ctx context.Context, w io.Writer) error { return tool(ctx, nil, w) }, err
}

// sink returns what unpacks a tar at dst.
func (c *copying) sink(ctx context.Context, dst place, opts tarfs.ExtractOptions) (func(context.Context, io.Reader) error, error) {
	switch {
	case dst.stream:
		return func(_ context.Context, r io.Reader) error {
			_, err := io.Copy(c.out, r)
			return err
		}, nil
	case dst.vm == "":
		return func(ctx context.Context, r io.Reader) error {
			stats, err := tarfs.Extract(ctx, r, dst.path, opts)
			c.count(stats)
			return err
		}, nil
	}
	tool, err := c.tool(ctx, dst.vm, tarfs.ExtractArgs(dst.path, opts))
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
		err := source(ctx, c.progress.count(w))
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

// tool returns what runs one of the agent's tools in a VM.
func (c *copying) tool(ctx context.Context, name string, args []string) (func(context.Context, io.Reader, io.Writer) error, error) {
	m, info, err := c.live(ctx, name, "cp")
	if err != nil {
		return nil, err
	}
	if !hasAgent(info) {
		return nil, noAgent("cp", name, "make a vm without --no-agent, or go through 'noid exec'")
	}
	client, err := m.Agent(info)
	if err != nil {
		return nil, err
	}
	client.Patience = max(c.o.wait, time.Millisecond)
	in := func(err error) error {
		err = fmt.Errorf("vm %q: %w", name, err)
		if errors.Is(err, link.ErrNoAnswer) {
			err = errs.WithHint(err, "the boot has not finished or failed: 'noid logs "+name+"' shows it; --wait-timeout waits longer")
		}
		return err
	}
	if err := c.introduce(ctx, m, client, info, client.Patience); err != nil {
		return nil, in(err)
	}
	return func(ctx context.Context, stdin io.Reader, out io.Writer) error {
		said := &toolErrors{warn: c.warner(fmt.Sprintf("in vm %q: ", name))}
		exit, err := client.Exec(ctx, wire.Exec{Tool: true, Argv: bytesOf(args), Stdin: stdin != nil}, link.Streams{In: stdin, Out: out, Err: said})
		if err != nil {
			return in(err)
		}
		return c.toolEnded(name, exit, said)
	}, nil
}

// toolEnded turns the end of a guest's tool into an error.
func (c *copying) toolEnded(name string, exit wire.Exit, said *toolErrors) error {
	said.flush()
	switch {
	case exit.Code == 0 && said.last == "":
		return nil
	case exit.Code == tarfs.ExitFailed && said.last == "" && said.warned:
		c.setPartial()
		return nil
	}
	text := said.last
	if text == "" {
		text = fmt.Sprintf("its tar ended with exit code %d %s", exit.Code, untrusted.Line(exit.Error, 200))
	}
	err := fmt.Errorf("vm %q: %s", name, strings.TrimSpace(text))
	switch exit.Code {
	case tarfs.ExitUsage:
		return errs.Mark(err, errs.ErrUsage)
	case tarfs.ExitNotFound:
		return errs.Mark(err, errs.ErrNotFound)
	}
	return err
}

func (c *copying) setPartial() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.partial = true
}

func (c *copying) count(s tarfs.Stats) {
	if s.Failed > 0 {
		c.setPartial()
	}
}

// warner returns what prints warnings: the first ones, so that a guest cannot fill a log.
func (c *copying) warner(prefix string) func(string) {
	return func(s string) {
		c.mu.Lock()
		c.warnings++
		n := c.warnings
		c.mu.Unlock()
		switch {
		case n < tarfs.MaxWarnings:
			c.progress.say("noid: cp: " + prefix + untrusted.Line(s, tarfs.MaxLine))
		case n == tarfs.MaxWarnings:
			c.progress.say("noid: cp: more warnings are not shown")
		}
	}
}
