package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

// rowFirstRun pulls an image from a registry on this host and runs a command in it, beside the same by the tools at
// hand and a bare boot of the disk that they make.
func rowFirstRun(x *trial) error {
	b, err := x.imageBuilder()
	if err != nil {
		return err
	}
	ref, closeRegistry, err := x.serveLayout(b.layout)
	if err != nil {
		return err
	}
	defer closeRegistry()
	if err := x.importBusybox(); err != nil {
		return err
	}
	if _, err := x.noid("run", "--rm", "app", "true"); err != nil { // makes the kernel and the initramfs that the home keeps
		return err
	}
	as, bs, err := x.pairs(func(int) (float64, error) {
		took, err := x.firstByte("run", "--rm", "--mem", fmt.Sprint(bootMiB), ref, "echo", "first")
		return took, errors.Join(err, b.remove())
	}, func(int) (float64, error) {
		took, err := b.firstBare(ref)
		return took, errors.Join(err, b.remove())
	})
	if err != nil {
		return err
	}
	x.add(result{A: as, B: bs})
	return nil
}

// serveLayout has a registry on this host serve the image of a layout, and returns the image's reference.
func (x *trial) serveLayout(layout string) (ref string, closeIt func() error, err error) {
	if _, err := exec.LookPath("skopeo"); err != nil {
		return "", nil, notRun("no skopeo")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	go http.Serve(l, registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	ref = l.Addr().String() + "/debian:test"
	return ref, l.Close, x.tool("skopeo", "copy", "--quiet", "--dest-tls-verify=false", "oci:"+layout+":test", "docker://"+ref)
}

func (x *trial) tool(name string, args ...string) error {
	if out, err := exec.CommandContext(x.ctx, name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}

// firstByte runs noid and returns when it wrote its first byte to stdout, in milliseconds.
func (x *trial) firstByte(args ...string) (float64, error) {
	w := &clocked{began: time.Now()}
	var stderr bytes.Buffer
	cmd := x.command(args...)
	cmd.Stdout, cmd.Stderr = w, &stderr
	if err := cmd.Run(); err != nil {
		return 0, fmt.Errorf("noid %s: %w: %s", strings.Join(args, " "), err, stderr.Bytes())
	}
	return w.first, w.want("first\n")
}

// clocked keeps what is written, and when the first byte came.
type clocked struct {
	text  []byte
	began time.Time
	first float64 // in milliseconds
}

func (w *clocked) Write(p []byte) (int, error) {
	if len(w.text) == 0 {
		w.first = since(w.began)
	}
	w.text = append(w.text, p...)
	return len(p), nil
}

func (w *clocked) want(text string) error { return same("the command", string(w.text), text, nil) }

// firstBare is firstByte without noid.
func (b *imageBuilder) firstBare(ref string) (float64, error) {
	w := &clocked{began: time.Now()}
	copied := &imageBuilder{b.x, filepath.Join(b.x.dir, "layout")}
	defer os.RemoveAll(copied.layout)
	if err := b.x.tool("skopeo", "copy", "--quiet", "--src-tls-verify=false", "docker://"+ref, "oci:"+copied.layout+":test"); err != nil {
		return 0, err
	}
	disk, err := copied.flat()
	if err != nil {
		return 0, err
	}
	v, err := b.x.place(bootMiB, disk)
	if err != nil {
		return 0, err
	}
	defer v.remove()
	if err := v.boot(); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(b.x.ctx, askLimit)
	defer cancel()
	err = v.runTo(ctx, w, "echo", "first")
	return w.first, errors.Join(err, w.want("first\n"))
}
