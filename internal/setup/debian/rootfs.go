package debian

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"noid/internal/boot"
	"noid/internal/setup/distro"
	"noid/internal/storage"
)

const (
	// rootfsName is the image that Rootfs makes in ImagesDir.
	rootfsName = "busybox.ext4"
	// rootfsSize is the image's size as mke2fs takes it. The file is sparse: it takes a few MiB.
	rootfsSize = "256M"
)

// HasBusybox reports whether this host has a static busybox.
func HasBusybox() bool { return busyboxIn("/") != "" }

// FindRootfs returns the path of the image that Rootfs has made, "" where there is none.
func FindRootfs(o Options) string {
	if path := filepath.Join(o.ImagesDir, rootfsName); boot.CheckExt4(path) == nil {
		return path
	}
	return ""
}

// Rootfs returns the path of a small root filesystem in ImagesDir, which it makes if there is none: busybox, a root
// shell on the console, nothing else. It needs e2fsprogs, and the host's static busybox or Debian's package tools to
// fetch one; without them that is errs.ErrHost.
func Rootfs(ctx context.Context, o Options) (string, error) {
	if path := FindRootfs(o); path != "" {
		return path, nil
	}
	path := filepath.Join(o.ImagesDir, rootfsName)
	work, done, err := storage.WorkDir(o.ImagesDir)
	if err != nil {
		return "", fmt.Errorf("making a root filesystem: %w", err)
	}
	defer done()
	if err := makeRootfs(ctx, o, work, path); err != nil {
		return "", fmt.Errorf("making a root filesystem: %w", err)
	}
	return path, nil
}

func makeRootfs(ctx context.Context, o Options, work, path string) error {
	busybox, err := findBusybox(ctx, o, work)
	if err != nil {
		return err
	}
	o.say("making the root filesystem %s", path)
	tree := filepath.Join(work, "root")
	if err := fillTree(ctx, tree, busybox); err != nil {
		return err
	}
	img := filepath.Join(work, rootfsName)
	if err := makeExt4(ctx, tree, img); err != nil {
		return err
	}
	return storage.PublishTree(img, path)
}

// findBusybox returns the path of a static busybox: the host's or a downloaded one.
func findBusybox(ctx context.Context, o Options, work string) (string, error) {
	if path := busyboxIn("/"); path != "" {
		return path, nil
	}
	a, err := newApt(work)
	if err != nil {
		return "", err
	}
	tree, err := a.fetch(ctx, o, listsRoom, func() ([]string, error) { return []string{"busybox-static"}, nil })
	if err != nil {
		return "", err
	}
	if path := busyboxIn(tree); path != "" {
		return path, nil
	}
	return "", errors.New("package busybox-static holds no static busybox")
}

func busyboxIn(tree string) string {
	for _, name := range []string{"bin/busybox", "usr/bin/busybox", "bin/busybox.static"} { // the last is Alpine's
		if path := filepath.Join(tree, name); isStatic(path) {
			return path
		}
	}
	return ""
}

// isStatic reports whether path is a program that needs no dynamic linker.
func isStatic(path string) bool {
	f, err := elf.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return false
		}
	}
	return f.Type == elf.ET_EXEC || f.Type == elf.ET_DYN
}

// fillTree makes the root filesystem's files below tree.
func fillTree(ctx context.Context, tree, busybox string) error {
	for _, d := range rootfsDirs {
		if err := makeDir(filepath.Join(tree, d.path), d.mode); err != nil {
			return err
		}
	}
	program, err := os.ReadFile(busybox)
	if err != nil {
		return err
	}
	for _, f := range append(rootfsFiles, rootfsFile{"bin/busybox", 0o755, string(program)}) {
		path := filepath.Join(tree, f.path)
		err := errors.Join(makeDir(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(f.text), 0o600), os.Chmod(path, f.mode))
		if err != nil {
			return err
		}
	}
	applets, err := run(ctx, tree, busybox, "--list-full")
	if err != nil {
		return err
	}
	return linkApplets(tree, applets)
}

// linkApplets makes a link to busybox for each applet of its list: "sbin/init". A file that is there stays.
func linkApplets(tree, applets string) error {
	for _, applet := range strings.Fields(applets) {
		if !filepath.IsLocal(applet) || !strings.Contains(applet, "/") {
			continue // such as linuxrc, which belongs into no root directory today
		}
		path := filepath.Join(tree, applet)
		if err := makeDir(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.Symlink("/bin/busybox", path); err != nil && !os.IsExist(err) {
			return err
		}
	}
	return nil
}

// makeDir makes a directory; a mode given by this process's umask would end up in the image.
func makeDir(path string, mode fs.FileMode) error {
	if _, err := os.Lstat(path); err == nil {
		return nil
	}
	if err := os.MkdirAll(path, 0o755); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}

// makeExt4 makes img from tree, owned by root throughout whoever runs this.
func makeExt4(ctx context.Context, tree, img string) error {
	chown, err := chownCommands(tree)
	if err != nil {
		return err
	}
	for _, step := range []struct {
		input string
		argv  []string
	}{
		{"", []string{"mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-L", "noid", "-m", "0", "-E", "root_owner=0:0", "-d", tree, img, rootfsSize}},
		{chown, []string{"debugfs", "-w", "-f", "-", img}},
		{"", []string{"e2fsck", "-f", "-n", img}},
	} {
		if step.argv[0], err = FindTool(step.argv[0], distro.E2fsprogs); err != nil {
			return err
		}
		if _, err := runInput(ctx, filepath.Dir(img), step.input, step.argv...); err != nil {
			return err
		}
	}
	return nil
}

// chownCommands returns a script for debugfs that gives all of tree to root: mke2fs -d copies the owners that it finds,
// and only root can make files of root's.
func chownCommands(tree string) (string, error) {
	var script strings.Builder
	err := filepath.WalkDir(tree, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		inside, err := filepath.Rel(tree, path)
		fmt.Fprintf(&script, "sif \"/%[1]s\" uid 0\nsif \"/%[1]s\" gid 0\n", inside)
		return err
	})
	return script.String() + "sif /lost+found uid 0\nsif /lost+found gid 0\n", err
}
