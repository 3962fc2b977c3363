package main

import (
	"go/ast"
	"go/types"
	"path"
	"slices"
)

// outside are the packages through which noid reaches the operating system: all that they have is a step, unless it is
// in looks. What only some functions of a package do is in onlySteps.
var outside = []string{"os", "os/exec", "net", "net/http", "syscall", "golang.org/x/sys/unix", "golang.org/x/term", "database/sql", "io"}

// onlySteps are packages that mostly compute, with those of their functions that write to what they are given. A
// bufio.Writer passes its bytes on when it is full or flushed; its errors come up at the latest then.
var onlySteps = map[string][]string{
	"bufio":         {"Writer.Flush"},
	"encoding/json": {"Encoder.Encode"},
	"fmt":           {"Fprint*"},

	"noid/internal/confine": {"Start"},
}

// looks are functions and methods, by package, that change nothing outside of the process, or nothing that could be
// left half done: closing, taking back a transaction and waiting do what the process's end does too. Patterns are
// path.Match's.
var looks = map[string][]string{
	"os": {
		"Get*", "Is*", "Environ", "LookupEnv", "Executable", "Exit", "Hostname", "UserHomeDir", "TempDir", "SameFile", "NewFile",
		"Open", "OpenRoot", "Stat", "Lstat", "ReadDir", "ReadFile", "Readlink", "DirFS",
		"File.Close", "File.Fd", "File.Name", "File.Read", "File.ReadAt", "File.ReadDir", "File.Readdir*", "File.Seek", "File.Set*Deadline",
		"File.Stat", "File.SyscallConn", "Process.Wait", "Process.Release", "ProcessState.*",
		"Root.Close", "Root.FS", "Root.Lstat", "Root.Name", "Root.Open", "Root.OpenRoot", "Root.ReadFile", "Root.Readlink", "Root.Stat",
		"SyscallError.*",
	},
	"os/exec": {"Command*", "LookPath", "Cmd.Environ", "Cmd.String", "Cmd.Wait", "Error.*", "ExitError.*"},
	"net": {
		"*.Close", "*.Read", "*.Set*Deadline", "*.Addr", "*.LocalAddr", "*.RemoteAddr", "*.String", "*.Network", "*.SyscallConn",
		"*.Error", "*.Timeout", "*.Unwrap", "Parse*", "JoinHostPort", "SplitHostPort", "UnixListener.SetUnlinkOnClose",
	},
	"net/http": {"Header.*", "NewRequest*", "StatusText", "Client.CloseIdleConnections", "Request.*Context", "Response.Cookies"},
	"syscall":  {"Errno.*", "Get*", "RawConn.Control", "RawConn.Read", "Signal.*", "Timespec.*", "WaitStatus.*"},
	"golang.org/x/sys/unix": {
		"Access", "Close", "Cmsg*", "Errno*", "Flock", "Fstat", "Fstatat", "Fstatfs", "Get*", "IoctlGet*", "Lstat", "NsecTo*", "Parse*",
		"PidfdOpen", "Poll", "Pread", "Read", "Readlink*", "Seek", "SignalName", "SignalNum", "Stat", "Statfs", "Timespec.*", "Uname", "UnixRights",
	},
	"golang.org/x/term": {"GetSize", "IsTerminal"},
	"database/sql":      {"Open", "DB.Close", "DB.Query*", "DB.Set*", "DB.Stats", "Row.*", "Rows.*", "Tx.Query*", "Tx.Rollback"},
	"io": {
		"*.Close", "*.CloseWithError", "*.Read", "*.ReadAt", "*.ReadByte", "*.Seek", "*.Size", "Pipe", "ReadAll", "ReadAtLeast", "ReadFull",
		"LimitReader", "MultiReader", "MultiWriter", "NewSectionReader", "NopCloser", "TeeReader", "PipeWriter.*",
	},
}

// openFlags are functions and methods that may open a file, and which of their arguments says whether that makes it.
// Only the runtime knows those of all calls.
var openFlags = map[string]int{"os.OpenFile": 1, "Root.OpenFile": 1, "unix.Open": 1, "unix.Openat": 2, "syscall.Open": 1}

// inMemory are destinations of which writing is no step.
var inMemory = []string{"bufio.Writer", "bytes.Buffer", "hash.Hash", "io.Discard", "io.PipeWriter", "strings.Builder"}

// isStep reports whether what selector names may change something outside of the process. Call is the call that it is
// the function of, or nil where it is passed on as a value: then only the name can tell.
func (r *rewriter) isStep(selector *ast.SelectorExpr, call *ast.CallExpr) bool {
	f, ok := r.info.Uses[selector.Sel].(*types.Func)
	if !ok || f.Pkg() == nil || f.Signature().TypeParams() != nil || f.Signature().RecvTypeParams() != nil {
		return false // Wrap would have to be told the types
	}
	name, pkg := method(f), f.Pkg().Path()
	if f.Signature().Recv() == nil {
		name = f.Name()
	}
	if some, ok := onlySteps[pkg]; ok {
		if !matches(some, name) {
			return false
		}
	} else if !slices.Contains(outside, pkg) || matches(looks[pkg], name) {
		return false
	}
	return call == nil || !r.writesMemory(selector, f, call)
}

// writesMemory reports whether call writes to what is known to be memory.
func (r *rewriter) writesMemory(selector *ast.SelectorExpr, f *types.Func, call *ast.CallExpr) bool {
	var to ast.Expr
	switch pkg := f.Pkg().Path(); {
	case pkg != "io" && pkg != "fmt":
		return false
	case f.Signature().Recv() != nil:
		to = selector.X
	case len(call.Args) > 0:
		to = call.Args[0]
	default:
		return false
	}
	if s, ok := to.(*ast.SelectorExpr); ok {
		if v, ok := r.info.Uses[s.Sel].(*types.Var); ok && v.Pkg() != nil && slices.Contains(inMemory, v.Pkg().Path()+"."+v.Name()) {
			return true
		}
	}
	t := named(r.info.TypeOf(to))
	return t != nil && t.Pkg() != nil && slices.Contains(inMemory, t.Pkg().Path()+"."+t.Name())
}

// matches reports whether a pattern fits name.
func matches(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		ok, err := path.Match(pattern, name)
		return ok && err == nil
	})
}

// method names a method by the type that declares it, as in File.Sync.
func method(f *types.Func) string {
	if recv := f.Signature().Recv(); recv != nil {
		if t := named(recv.Type()); t != nil {
			return t.Name() + "." + f.Name()
		}
	}
	return f.Pkg().Name() + "." + f.Name()
}

// named returns the name of t or of what it points to, or nil.
func named(t types.Type) *types.TypeName {
	if p, ok := types.Unalias(t).(*types.Pointer); ok {
		t = p.Elem()
	}
	if n, ok := types.Unalias(t).(*types.Named); ok {
		return n.Obj()
	}
	return nil
}
