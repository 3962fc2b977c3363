//go:build linux

// Package sample has calls of every shape.
package sample // its copy imports the runtime on this line

import (
	"context"
	"database/sql"
	"net"
	"net/http"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

type holder struct {
	file *os.File
	*net.UnixConn
}

func functions(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	return unix.Mkfifo(dir+"/x", 0o600)
}

func methods(h holder, c net.Conn, u *net.UnixConn) {
	h.file.Sync()
	h.UnixConn.Write(nil)
	h.Write(nil)
	c.Write([]byte("a"))
	u.WriteMsgUnix(nil, nil, nil)
}

func deferred(dir string, f *os.File) {
	defer os.RemoveAll(dir)
	go f.Sync()
	defer func() { os.Remove(dir) }()
}

func lines(ctx context.Context, client *http.Client) {
	exec.CommandContext(ctx, "true").
		Run()
	os.
		Rename(
			"a",
			"b",
		)
	client.Do(nil)
}

func variadic(ctx context.Context, tx *sql.Tx, args ...any) {
	tx.ExecContext(ctx, "x", 1, 2)
	tx.ExecContext(ctx, "x", args...)
}

func twice() { os.Remove("a"); (os.Remove)("b"); os.Chmod("c", 0) }

func inReceiver() error {
	return must(os.Create("a")).Truncate(int64(len(must(os.CreateTemp("", "")).Name())))
}

func must(f *os.File, err error) *os.File { return f }

func opens(root *os.Root, flags int) {
	os.OpenFile("a", flags, 0)
	root.OpenFile("a", flags, 0)
	(*os.Root).OpenFile(root, "a", flags, 0)
	unix.Openat(unix.AT_FDCWD, "a", flags, 0)
}

type remover struct{}

func (remover) Remove(string) {}

func shadowed() {
	os := remover{}
	os.Remove("not a step")
	fault := 1
	_ = fault
}
