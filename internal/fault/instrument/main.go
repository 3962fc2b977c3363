// Command instrument writes the sources of noid's fault-injection build: in each of noid's packages, every call that leaves
// noid for the operating system is wrapped in fault.Wrap. It works in the way of 'go tool cover': the sources stay as they
// are, 'go build -overlay DIR/overlay.json ./cmd/noid' compiles the copies instead.
//
// Calls are found by their types: a function or method of the packages below that is not known to look only. So a call that
// nobody thought of is wrapped too.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sort"
	"strings"
)

// outside are the packages through which noid reaches the operating system.
var outside = []string{"os", "os/exec", "net", "net/http", "syscall", "golang.org/x/sys/unix", "database/sql"}

// looks are functions and methods of these packages that change nothing outside of the process, or nothing that a fault
// could leave half done.
var looks = []string{
	"Abs", "Access", "As", "Close", "CloseIdleConnections", "ErrnoName", "Environ", "Error", "Executable", "Exit", "ExitCode", "Exists",
	"Fd", "Flock", "Fstat", "Fstatat", "Getenv", "Getpid", "Getuid", "Getgid", "Geteuid", "Getegid", "Getpgrp", "Getwd", "Getxattr", "Hostname",
	"Info", "IoctlGetTermios", "IoctlGetWinsize", "Is", "IsDir", "IsNotExist", "IsExist", "IsRegular", "LookPath", "LookupEnv", "Lstat", "Mode", "ModTime", "Name", "New",
	"NewFile", "NewRequestWithContext", "Next", "Open", "PidfdOpen", "Poll", "Query", "QueryContext", "QueryRowContext", "Read", "ReadAt", "ReadDir", "ReadFile",
	"Readdirnames", "Readlink", "ReadFrom", "SameFile", "Scan", "Seek", "Set", "SetDeadline", "SetMaxOpenConns", "SetReadDeadline", "SetWriteDeadline", "Signaled", "Size",
	"Stat", "Statfs", "StatusText", "String", "Sys", "Sysconf", "Uname", "UnixRights", "Unwrap", "UserHomeDir", "Getsockopt", "GetsockoptInt", "Cmsg", "ParseSocketControlMessage", "ParseUnixRights",
	"Type", "IsVariadic", "Addr", "LocalAddr", "RemoteAddr", "Command", "CommandContext", "Exited", "ExitStatus", "Success", "SysUsage", "Pid", "ForkExec", "Umask", "SyscallConn",
}

// exempt are packages of noid's that are left as they are, with the reason.
var exempt = map[string]string{
	"noid/internal/fault": "it makes the faults",
	"noid/internal/kvm":   "its probe is timed, and makes nothing that lasts",
	"noid/internal/lazy":  "pure",
	"noid/internal/errs":  "pure",
	"noid/internal/wire":  "pure",
}

// listed is what 'go list' says of a package.
type listed struct {
	ImportPath string
	Dir        string
	Export     string
	GoFiles    []string
	Standard   bool
}

func main() {
	out := flag.String("o", "", "directory to write to")
	flag.Parse()
	if *out == "" || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "usage: instrument -o DIR")
		os.Exit(2)
	}
	if err := instrument(*out, "./cmd/noid"); err != nil {
		fmt.Fprintln(os.Stderr, "instrument:", err)
		os.Exit(1)
	}
}

// instrument writes the copies of what target links to dir.
func instrument(dir, target string) error {
	packages, err := list(target)
	if err != nil {
		return err
	}
	exports := map[string]string{}
	for _, p := range packages {
		exports[p.ImportPath] = p.Export
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	for _, p := range packages {
		if !strings.HasPrefix(p.ImportPath, "noid/") || exempt[p.ImportPath] != "" {
			continue
		}
		files, err := rewrite(p, exports)
		if err != nil {
			return fmt.Errorf("%s: %w", p.ImportPath, err)
		}
		for path, source := range files {
			copied := filepath.Join(dir, strings.TrimPrefix(p.ImportPath, "noid/"), filepath.Base(path))
			if err := os.MkdirAll(filepath.Dir(copied), 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(copied, source, 0o644); err != nil {
				return err
			}
			overlay.Replace[path] = copied
		}
	}
	data, err := json.MarshalIndent(overlay, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "overlay.json"), data, 0o644)
}

// list returns target and all that it imports, compiled, so that their types can be read.
func list(target string) ([]listed, error) {
	cmd := exec.Command("go", "list", "-deps", "-export", "-json=ImportPath,Dir,Export,GoFiles,Standard", target)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	data, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	var packages []listed
	for d := json.NewDecoder(bytes.NewReader(data)); ; {
		var p listed
		if err := d.Decode(&p); err == io.EOF {
			return packages, nil
		} else if err != nil {
			return nil, err
		}
		packages = append(packages, p)
	}
}

// rewrite returns the files of p in which something is wrapped.
func rewrite(p listed, exports map[string]string) (map[string][]byte, error) {
	fset := token.NewFileSet()
	var files []*ast.File
	sources := map[*ast.File][]byte{}
	for _, name := range p.GoFiles {
		path := filepath.Join(p.Dir, name)
		source, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		f, err := parser.ParseFile(fset, path, source, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		files, sources[f] = append(files, f), source
	}
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}, Types: map[ast.Expr]types.TypeAndValue{}}
	config := types.Config{Importer: importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) {
		return os.Open(exports[path])
	})}
	if _, err := config.Check(p.ImportPath, fset, files, info); err != nil {
		return nil, err
	}
	changed := map[string][]byte{}
	for _, f := range files {
		place := filepath.Join(strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, "noid/"), "internal/"), filepath.Base(fset.File(f.Pos()).Name()))
		if source := wrapCalls(fset, f, sources[f], place, info); source != nil {
			changed[fset.File(f.Pos()).Name()] = source
		}
	}
	return changed, nil
}

// insertion puts text before the byte at.
type insertion struct {
	at   int
	text string
}

// wrapCalls returns the source of f with its calls to the outside wrapped, or nil when there are none. All is inserted
// within lines: the numbers of the lines stay.
func wrapCalls(fset *token.FileSet, f *ast.File, source []byte, place string, info *types.Info) []byte {
	var insertions []insertion
	sites := map[string]int{}
	for _, decl := range f.Decls {
		body, ok := decl.(*ast.FuncDecl)
		if !ok || body.Body == nil {
			continue // package-level initialisers run before anything is ordered
		}
		ast.Inspect(body.Body, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			selector, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || !steps(selector, info) {
				return true
			}
			from, to := fset.Position(selector.Pos()), fset.Position(selector.End())
			site := fmt.Sprintf("%s:%d %s", place, from.Line, callee(selector, info))
			if sites[site]++; sites[site] > 1 {
				site = fmt.Sprintf("%s/%d", site, sites[site])
			}
			// A call in the receiver, as in a().b(), is inside the wrapping: it runs once, before the step.
			insertions = append(insertions, insertion{from.Offset, fmt.Sprintf("fault.Wrap(%q, ", site)}, insertion{to.Offset, ")"})
			return true
		})
	}
	if insertions == nil {
		return nil
	}
	name := fset.Position(f.Name.End()).Offset
	insertions = append(insertions, insertion{name, `; import "noid/internal/fault"`})
	sort.SliceStable(insertions, func(i, j int) bool { return insertions[i].at < insertions[j].at })
	var out bytes.Buffer
	last := 0
	for _, in := range insertions {
		out.Write(source[last:in.at])
		out.WriteString(in.text)
		last = in.at
	}
	out.Write(source[last:])
	return out.Bytes()
}

// steps reports whether a call of selector may change something outside of the process.
func steps(selector *ast.SelectorExpr, info *types.Info) bool {
	f, ok := info.Uses[selector.Sel].(*types.Func)
	if !ok || f.Pkg() == nil || !slices.Contains(outside, f.Pkg().Path()) || slices.Contains(looks, f.Name()) {
		return false
	}
	signature := f.Signature()
	return signature.TypeParams() == nil && signature.RecvTypeParams() == nil
}

// callee names what is called: os.Mkdir, or File.Sync for a method.
func callee(selector *ast.SelectorExpr, info *types.Info) string {
	f := info.Uses[selector.Sel].(*types.Func)
	if recv := f.Signature().Recv(); recv != nil {
		t := recv.Type()
		if p, ok := t.(*types.Pointer); ok {
			t = p.Elem()
		}
		if named, ok := t.(*types.Named); ok {
			return named.Obj().Name() + "." + f.Name()
		}
	}
	return f.Pkg().Name() + "." + f.Name()
}
