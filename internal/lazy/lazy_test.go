package lazy

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

func TestRegexp(t *testing.T) {
	digits := Regexp(`^[0-9]+$`)
	if !digits().MatchString("42") || digits().MatchString("x") {
		t.Error("it does not match as it should")
	}
	if first := digits(); first != digits() {
		t.Error("compiled twice")
	}
}

// TestEveryRegexpIsLazy finds the expressions of noid's that are compiled whenever it starts.
func TestEveryRegexpIsLazy(t *testing.T) {
	files, seen := token.NewFileSet(), 0
	err := filepath.WalkDir("..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range file.Decls {
			vars, ok := decl.(*ast.GenDecl)
			if !ok || vars.Tok != token.VAR {
				continue
			}
			for _, spec := range vars.Specs {
				for _, value := range spec.(*ast.ValueSpec).Values {
					switch callee(value) {
					case "lazy.Regexp":
						seen++
					case "regexp.MustCompile":
						t.Errorf("%s: not by lazy.Regexp", files.Position(value.Pos()))
					}
				}
			}
		}
		return nil
	})
	if err != nil || seen == 0 {
		t.Errorf("%d lazy ones seen, error %v", seen, err)
	}
}

// callee is pkg.Name of a call of that, else "".
func callee(e ast.Expr) string {
	if call, ok := e.(*ast.CallExpr); ok {
		if f, ok := call.Fun.(*ast.SelectorExpr); ok {
			if pkg, ok := f.X.(*ast.Ident); ok {
				return pkg.Name + "." + f.Sel.Name
			}
		}
	}
	return ""
}
