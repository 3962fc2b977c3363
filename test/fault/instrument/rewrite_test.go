package main

import (
	"flag"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

// exportsForTests has the types of all that noid imports, and of the runtime.
var exportsForTests = sync.OnceValues(func() (map[string]string, error) {
	packages, err := list(target, runtimePath)
	return exportsOf(packages), err
})

func TestRewrite(t *testing.T) {
	exports, err := exportsForTests()
	if err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob("testdata/*.go")
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	for _, path := range names {
		name := filepath.Base(path)
		t.Run(name, func(t *testing.T) {
			p := listed{ImportPath: "noid/internal/sample", Dir: "testdata", GoFiles: []string{name}}
			files, err := rewrite(p, exports)
			if err != nil {
				t.Fatal(err)
			}
			got := string(files[path])
			golden := path + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Error(diff)
			}
			if got == "" {
				return
			}
			source, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if a, b := strings.Count(string(source), "\n"), strings.Count(got, "\n"); a != b {
				t.Errorf("%d lines have become %d", a, b)
			}
			fset := token.NewFileSet()
			f, err := parser.ParseFile(fset, name, got, 0)
			if err != nil {
				t.Fatal(err)
			}
			config := types.Config{Importer: importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })}
			if _, err := config.Check(p.ImportPath, fset, []*ast.File{f}, nil); err != nil {
				t.Errorf("the copy does not compile: %v", err)
			}
		})
	}
}

func TestRewriteRefuses(t *testing.T) {
	exports, err := exportsForTests()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, source, want string }{
		{"an import without a name", "package p\nimport . \"os\"\nfunc f() { Remove(\"a\") }\n", `the functions of "os" are used without its name`},
		{"the runtime's name", "package p\nvar noidfault int\n", "the name noidfault is taken"},
		{"what does not compile", "package p\nvar a int = \"\"\n", "cannot use"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "p.go"), []byte(test.source), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := rewrite(listed{ImportPath: "noid/internal/p", Dir: dir, GoFiles: []string{"p.go"}}, exports)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one that has %q", err, test.want)
			}
		})
	}
}
