package engine

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"slices"
	"strings"
	"testing"
)

// Every method of a node that can fail, and what opens or makes one, has an example of its own; everything else that a
// program calls is called in one. All of them say what comes out.
func TestWhatIsExportedHasAnExample(t *testing.T) {
	examples, calls := map[string]bool{}, map[string]bool{}
	type function struct{ example, name string }
	var own, used []function
	eachFile(t, func(name string, file *ast.File) {
		test := strings.HasSuffix(name, "_test.go")
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			switch {
			case !ok:
			case test:
				if strings.HasPrefix(name, "example") {
					ast.Inspect(f, func(n ast.Node) bool {
						if sel, ok := n.(*ast.SelectorExpr); ok {
							calls[sel.Sel.Name] = true
						}
						return true
					})
				}
				if strings.HasPrefix(f.Name.Name, "Example") {
					examples[f.Name.Name] = printed(file, f)
				}
			case f.Name.IsExported():
				receiver := receiverOf(f)
				x := function{"Example" + f.Name.Name, f.Name.Name}
				if receiver != "" {
					x.example = "Example" + receiver + "_" + f.Name.Name
				}
				switch {
				case receiver == "Raft" && fails(f), receiver == "" && fails(f) && f.Name.Name != "ResumeSession" && f.Name.Name != "OpenExport":
					own = append(own, x)
				case slices.Contains([]string{"", "Raft", "Session", "Trigger", "View", "EventStream"}, receiver):
					used = append(used, x)
				}
			}
		}
	})
	if len(own) < 25 || len(used) < 50 {
		t.Fatalf("only %d and %d functions found", len(own), len(used))
	}
	for _, f := range own {
		if !examples[f.example] {
			t.Errorf("%s is missing, or has no output that is checked", f.example)
		}
	}
	for _, f := range used {
		if !calls[f.name] {
			t.Errorf("no example calls %s", f.name)
		}
	}
	for name, printed := range examples {
		if !printed {
			t.Errorf("%s has no output that is checked", name)
		}
	}
}

// eachFile parses the files of this package, tests included.
func eachFile(t *testing.T, visit func(name string, file *ast.File)) {
	t.Helper()
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), e.Name(), nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		visit(e.Name(), file)
	}
}

// receiverOf returns the name of a method's type, "" for a function.
func receiverOf(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return ""
	}
	return strings.TrimPrefix(types.ExprString(f.Recv.List[0].Type), "*")
}

// fails reports whether a function returns an error, or a sequence of such pairs.
func fails(f *ast.FuncDecl) bool {
	return f.Type.Results != nil && slices.ContainsFunc(f.Type.Results.List, func(r *ast.Field) bool {
		return strings.Contains(types.ExprString(r.Type), "error")
	})
}

// printed reports whether an example's output is checked: without that it is only compiled.
func printed(file *ast.File, f *ast.FuncDecl) bool {
	return slices.ContainsFunc(file.Comments, func(c *ast.CommentGroup) bool {
		return c.Pos() > f.Body.Pos() && c.End() < f.Body.End() && strings.HasPrefix(c.Text(), "Output:")
	})
}
