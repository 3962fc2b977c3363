package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	// runtimePath is the package that the copies call.
	runtimePath = "noid/test/fault"
	// runtimeName is how they call it. No source uses the name, which rewrite checks.
	runtimeName = "noidfault"
)

// rewrite returns the files of p in which something is wrapped, by their paths.
func rewrite(p listed, exports map[string]string) (map[string][]byte, error) {
	fset := token.NewFileSet()
	var files []*ast.File
	var sources [][]byte
	for _, name := range p.GoFiles {
		path := filepath.Join(p.Dir, name)
		source, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		f, err := parser.ParseFile(fset, path, source, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		files, sources = append(files, f), append(sources, source)
	}
	r := &rewriter{fset: fset, info: &types.Info{
		Uses:       map[*ast.Ident]types.Object{},
		Types:      map[ast.Expr]types.TypeAndValue{},
		Selections: map[*ast.SelectorExpr]*types.Selection{},
	}}
	config := types.Config{Importer: importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) {
		return os.Open(exports[path])
	})}
	if _, err := config.Check(p.ImportPath, fset, files, r.info); err != nil {
		return nil, err
	}
	changed := map[string][]byte{}
	dir := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "internal/")
	for i, f := range files {
		if err := r.check(f); err != nil {
			return nil, err
		}
		r.place = dir + "/" + p.GoFiles[i]
		if source := r.wrap(f, sources[i]); source != nil {
			changed[filepath.Join(p.Dir, p.GoFiles[i])] = source
		}
	}
	return changed, nil
}

// rewriter works on one package, file by file.
type rewriter struct {
	fset  *token.FileSet
	info  *types.Info
	place string // the file's name in its sites

	insertions []insertion
	sites      map[string]int
}

// insertion puts text before the byte at.
type insertion struct {
	at   int
	text string
}

// check refuses what would be rewritten wrongly, or silently not at all.
func (r *rewriter) check(f *ast.File) (err error) {
	for _, spec := range f.Imports {
		if spec.Name != nil && spec.Name.Name == "." {
			return fmt.Errorf("%s: the functions of %s are used without its name: they would not be found", r.fset.Position(spec.Pos()), spec.Path.Value)
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok && id.Name == runtimeName {
			err = fmt.Errorf("%s: the name %s is taken", r.fset.Position(id.Pos()), runtimeName)
		}
		return true
	})
	return err
}

// wrap returns the source of f with its steps wrapped, or nil when there are none. All is inserted within lines: their
// numbers stay, in panics too.
func (r *rewriter) wrap(f *ast.File, source []byte) []byte {
	r.insertions, r.sites = nil, map[string]int{}
	for _, decl := range f.Decls {
		if fn, ok := decl.(*ast.FuncDecl); ok {
			r.walk(fn, false)
		} else {
			r.walk(decl, true)
		}
	}
	if r.insertions == nil {
		return nil
	}
	r.insert(f.Name.End(), fmt.Sprintf("; import %s %q", runtimeName, runtimePath))
	slices.SortStableFunc(r.insertions, func(a, b insertion) int { return a.at - b.at })
	var out bytes.Buffer
	last := 0
	for _, in := range r.insertions {
		out.Write(source[last:in.at])
		out.WriteString(in.text)
		last = in.at
	}
	out.Write(source[last:])
	return out.Bytes()
}

// walk wraps the steps in n: those that are called, and those that are passed on to be called elsewhere. Calls that an
// initialiser of the package makes are left alone: they run before a command does. The functions in it are not.
func (r *rewriter) walk(n ast.Node, initialiser bool) {
	calls := map[ast.Expr]*ast.CallExpr{}
	ast.Inspect(n, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncLit:
			if initialiser {
				r.walk(n, false)
				return false
			}
		case *ast.CallExpr:
			calls[ast.Unparen(n.Fun)] = n
		case *ast.SelectorExpr:
			if call := calls[n]; (call == nil || !initialiser) && r.isStep(n, call) {
				r.wrapOne(n)
			}
		}
		return true
	})
}

// wrapOne wraps what selector names. A call in its receiver, as in a().b(), comes to lie inside: it runs once, before
// the step. Of two selectors that begin at one place the outer is met, and opened, first.
func (r *rewriter) wrapOne(selector *ast.SelectorExpr) {
	callee := r.callee(selector)
	site := fmt.Sprintf("%s:%d %s", r.place, r.fset.Position(selector.Sel.Pos()).Line, callee)
	if r.sites[site]++; r.sites[site] > 1 {
		site = fmt.Sprintf("%s/%d", site, r.sites[site])
	}
	if flags, ok := openFlags[callee]; ok {
		if s := r.info.Selections[selector]; s != nil && s.Kind() == types.MethodExpr {
			flags++ // after the receiver
		}
		r.insert(selector.Pos(), fmt.Sprintf("%s.WrapOpen(%q, %d, ", runtimeName, site, flags))
	} else {
		r.insert(selector.Pos(), fmt.Sprintf("%s.Wrap(%q, ", runtimeName, site))
	}
	r.insert(selector.End(), ")")
}

func (r *rewriter) insert(at token.Pos, text string) {
	r.insertions = append(r.insertions, insertion{r.fset.Position(at).Offset, text})
}

// callee names what is called: os.Mkdir, or File.Sync for a method. A method that a type of noid's has from an embedded
// one is named after that.
func (r *rewriter) callee(selector *ast.SelectorExpr) string {
	f := r.info.Uses[selector.Sel].(*types.Func)
	if f.Signature().Recv() == nil {
		return f.Pkg().Name() + "." + f.Name()
	}
	if s := r.info.Selections[selector]; s != nil {
		if t := named(s.Recv()); t != nil && t.Pkg() != nil && !strings.HasPrefix(t.Pkg().Path(), module) {
			return t.Name() + "." + f.Name()
		}
	}
	return method(f)
}
