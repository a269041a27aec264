package millrace

import (
	"fmt"
	"go/ast"
	"go/importer"
	"go/token"
	"go/types"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
)

const modulePath = "github.com/millrace/millrace"

// imports returns the import paths of a file.
func imports(f *ast.File) []string {
	var out []string
	for _, i := range f.Imports {
		p, _ := strconv.Unquote(i.Path.Value) // the parser took it
		out = append(out, p)
	}
	return out
}

// inside returns the folder of this module that an import path names.
func inside(importPath string) (string, bool) {
	if importPath == modulePath {
		return ".", true
	}
	return strings.CutPrefix(importPath, modulePath+"/")
}

// matches reports whether a pattern, "x" or "x/...", covers the folder.
func matches(pattern, folder string) bool {
	if base, ok := strings.CutSuffix(pattern, "/..."); ok {
		return folder == base || strings.HasPrefix(folder, base+"/")
	}
	return folder == pattern
}

// checkImports: imports go down only. Tests keep to it too, so that a package can be read with what is below it.
func checkImports(t *tree, allowed map[string][]string) []string {
	var problems []string
	for _, s := range t.files {
		rule := ""
		for pattern := range allowed {
			if matches(pattern, s.folder()) && len(pattern) > len(rule) {
				rule = pattern
			}
		}
		if rule == "" {
			problems = append(problems, fmt.Sprintf("%s: folder %s has no place in the house; move it, or add it to mayImport", s.path, s.folder()))
			continue
		}
		for _, p := range imports(s.file) {
			target, ok := inside(p)
			if !ok || s.test() && target == s.folder() {
				continue
			}
			if !slices.ContainsFunc(allowed[rule], func(pattern string) bool { return matches(pattern, target) }) {
				problems = append(problems, fmt.Sprintf("%s: imports %s, but %s may import only %v; imports go down", s.path, target, rule, allowed[rule]))
			}
		}
	}
	return problems
}

// selector returns the import path and the name of a qualified identifier such as time.Now.
func selector(f *ast.File, n ast.Node) (importPath, name string, ok bool) {
	sel, ok := n.(*ast.SelectorExpr)
	if !ok {
		return "", "", false
	}
	id, ok := sel.X.(*ast.Ident)
	if !ok {
		return "", "", false
	}
	for _, i := range f.Imports {
		p, _ := strconv.Unquote(i.Path.Value)
		local := path.Base(p)
		if local == "v2" {
			local = path.Base(path.Dir(p))
		}
		if i.Name != nil {
			local = i.Name.Name
		}
		if local == id.Name {
			return p, sel.Sel.Name, true
		}
	}
	return "", "", false
}

// checkPurity: the code of folder is a function of its inputs. No clock, goroutine, channel, lock, I/O, log or global
// randomness: what it may import is listed, and of some packages what it may use.
func checkPurity(t *tree, folder string) []string {
	var problems []string
	problem := func(n ast.Node, format string, args ...any) {
		problems = append(problems, fmt.Sprintf("%s: %s; take it in as an argument, or leave it to the caller", t.at(n), fmt.Sprintf(format, args...)))
	}
	t.code(func(s source, n ast.Node) {
		if s.folder() != folder {
			return
		}
		if importPath, name, ok := selector(s.file, n); ok {
			if names, limited := consensusNames[importPath]; limited && !slices.Contains(names, name) {
				problem(n, "uses %s.%s", importPath, name)
			}
		}
		switch n := n.(type) {
		case *ast.ImportSpec:
			p, _ := strconv.Unquote(n.Path.Value)
			if !slices.Contains(consensusStd, p) && p != modulePath+"/codec" {
				problem(n, "imports %s", p)
			}
			if n.Name != nil && (n.Name.Name == "." || n.Name.Name == "_") {
				problem(n, "imports %s as %q", p, n.Name.Name)
			}
		case *ast.GoStmt:
			problem(n, "starts a goroutine")
		case *ast.SelectStmt, *ast.SendStmt, *ast.ChanType:
			problem(n, "uses a channel")
		case *ast.CallExpr:
			if id, ok := n.Fun.(*ast.Ident); ok && (id.Name == "print" || id.Name == "println") {
				problem(n, "prints")
			}
		}
	})
	return problems
}

// checkMapRange: no loop over a map in folder, since Go shuffles its order. It needs types: packages of this module are
// checked from the tree, the standard library from the compiler's export data, and any other import is left empty.
func checkMapRange(t *tree, folder string) []string {
	var problems []string
	m := &moduleImporter{tree: t, std: importer.Default(), done: map[string]*types.Package{}}
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}}
	m.check(folder, info)
	t.code(func(s source, n ast.Node) {
		loop, ok := n.(*ast.RangeStmt)
		if !ok || s.folder() != folder {
			return
		}
		typ := info.Types[loop.X].Type
		if typ == nil || typ == types.Typ[types.Invalid] {
			problems = append(problems, fmt.Sprintf("%s: the type of what this loops over can't be seen; write it so that it can", t.at(n)))
			return
		}
		if _, isMap := typ.Underlying().(*types.Map); isMap {
			problems = append(problems, fmt.Sprintf("%s: loops over a map, whose order differs from run to run; keep a sorted slice", t.at(n)))
		}
	})
	return problems
}

// moduleImporter imports for the type checker.
type moduleImporter struct {
	tree *tree
	std  types.Importer
	done map[string]*types.Package
}

func (m *moduleImporter) Import(p string) (*types.Package, error) {
	if folder, ok := inside(p); ok {
		return m.check(folder, nil), nil
	}
	if pkg := m.done[p]; pkg != nil {
		return pkg, nil
	}
	if !strings.Contains(strings.Split(p, "/")[0], ".") {
		return m.std.Import(p)
	}
	pkg := types.NewPackage(p, path.Base(p))
	pkg.MarkComplete()
	m.done[p] = pkg
	return pkg, nil
}

// check type-checks a folder. Errors are left to the compiler: here they come from imports that are left empty.
func (m *moduleImporter) check(folder string, info *types.Info) *types.Package {
	if pkg := m.done[folder]; pkg != nil && info == nil {
		return pkg
	}
	var files []*ast.File
	for _, s := range m.tree.files {
		if s.folder() == folder && !s.test() {
			files = append(files, s.file)
		}
	}
	config := types.Config{Importer: m, Error: func(error) {}}
	pkg, _ := config.Check(modulePath+"/"+folder, m.tree.fset, files, info)
	m.done[folder] = pkg
	return pkg
}

// checkGoStatements: goroutines start in the listed files alone; methods named Go, as wait groups have, and the
// AfterFunc of time and context count.
func checkGoStatements(t *tree, allowed map[string]string) []string {
	var problems []string
	used := map[string]bool{}
	t.code(func(s source, n ast.Node) {
		starts := false
		switch n := n.(type) {
		case *ast.GoStmt:
			starts = true
		case *ast.CallExpr:
			sel, ok := n.Fun.(*ast.SelectorExpr)
			starts = ok && (sel.Sel.Name == "Go" && len(n.Args) == 1 || isCall(s.file, n, "time", "AfterFunc") || isCall(s.file, n, "context", "AfterFunc"))
		}
		if !starts {
			return
		}
		used[s.path] = true
		if allowed[s.path] == "" {
			problems = append(problems, fmt.Sprintf("%s: a goroutine starts here; give the work to an existing one, or add the file to goFiles with what it is for and who ends it", t.at(n)))
		}
	})
	return append(problems, unused(allowed, used, "goFiles", "starts no goroutine")...)
}

// unused reports the entries of a list that its rule did not need.
func unused(allowed map[string]string, used map[string]bool, list, why string) []string {
	var problems []string
	for _, p := range slices.Sorted(maps.Keys(allowed)) {
		if !used[p] {
			problems = append(problems, fmt.Sprintf("%s: %s; remove it from %s", p, why, list))
		}
	}
	return problems
}

func isCall(f *ast.File, n ast.Node, importPath string, names ...string) bool {
	call, ok := n.(*ast.CallExpr)
	if !ok {
		return false
	}
	p, name, ok := selector(f, call.Fun)
	return ok && p == importPath && slices.Contains(names, name)
}

// sleepsInSelect reports whether a select only lets time pass: nothing is done when it is up, and nothing is waited for
// but a Done that cuts it short. Where time running out is a failure, or there is an event, it is a timeout.
func sleepsInSelect(f *ast.File, s *ast.SelectStmt) bool {
	sleeps := false
	for _, c := range s.Body.List {
		clause := c.(*ast.CommClause)
		st, ok := clause.Comm.(*ast.ExprStmt)
		if !ok {
			return false
		}
		receive, ok := st.X.(*ast.UnaryExpr) // the grammar has nothing else here
		if !ok {
			return false
		}
		if isCall(f, receive.X, "time", "After", "Tick") {
			sleeps = len(clause.Body) == 0 || len(s.Body.List) == 1
			continue
		}
		call, ok := receive.X.(*ast.CallExpr)
		if !ok {
			return false
		}
		if sel, ok := call.Fun.(*ast.SelectorExpr); !ok || sel.Sel.Name != "Done" {
			return false
		}
	}
	return sleeps
}

// checkSleeps: a test waits for an event, or uses virtual time inside synctest.Test; it never sleeps and hopes.
func checkSleeps(t *tree, allowed map[string]string) []string {
	var problems []string
	used, timeouts := map[string]bool{}, map[ast.Stmt]bool{}
	for _, s := range t.files {
		if !s.test() {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if isCall(s.file, n, "testing/synctest", "Test") {
				return false
			}
			if clause, ok := n.(*ast.CommClause); ok {
				timeouts[clause.Comm] = true // one of several events that are waited for
			}
			wait := isCall(s.file, n, "time", "Sleep")
			if st, ok := n.(*ast.SelectStmt); ok {
				wait = sleepsInSelect(s.file, st)
			}
			if st, ok := n.(*ast.ExprStmt); ok && !timeouts[st] {
				receive, ok := st.X.(*ast.UnaryExpr)
				wait = ok && receive.Op == token.ARROW && isCall(s.file, receive.X, "time", "After", "Tick")
			}
			if wait {
				used[s.path] = true
				if allowed[s.path] == "" {
					problems = append(problems, fmt.Sprintf("%s: a test sleeps; wait for an event, use testing/synctest, or, where only another process knows, add the file to sleepFiles with the reason", t.at(n)))
				}
			}
			return true
		})
	}
	return append(problems, unused(allowed, used, "sleepFiles", "does not sleep")...)
}

// checkPanics: only our own bugs panic, and say so.
func checkPanics(t *tree) []string {
	var problems []string
	t.code(func(s source, n ast.Node) {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return
		}
		if id, ok := call.Fun.(*ast.Ident); !ok || id.Name != "panic" || len(call.Args) != 1 {
			return
		}
		if text := leftmost(s.file, call.Args[0]); !strings.HasPrefix(text, "BUG: ") {
			problems = append(problems, fmt.Sprintf(`%s: a panic whose text does not start with "BUG: "; return an error, or say what went wrong in our own code`, t.at(n)))
		}
	})
	return problems
}

// leftmost returns the string literal that a message starts with.
func leftmost(f *ast.File, e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, _ := strconv.Unquote(e.Value)
		return text
	case *ast.BinaryExpr:
		return leftmost(f, e.X)
	case *ast.CallExpr:
		if isCall(f, e, "fmt", "Sprintf", "Sprint", "Errorf") && len(e.Args) > 0 {
			return leftmost(f, e.Args[0])
		}
	}
	return ""
}

// mayFail are the methods whose error tells whether data is safe.
var mayFail = []string{"Write", "WriteAt", "Writev", "WriteString", "Sync", "SyncDir", "Datasync", "Fdatasync", "Close", "Rename", "Remove", "Truncate"}

// checkIgnoredErrors: in folder, what may fail to make data durable has its error looked at, also when deferred. It
// goes by the method's name; allowed lists calls, as "path: call", whose error means nothing, with the reason.
func checkIgnoredErrors(t *tree, folder string, allowed map[string]string) []string {
	var problems []string
	used := map[string]bool{}
	t.code(func(s source, n ast.Node) {
		if !s.below(folder) {
			return
		}
		call, ok := dropped(n).(*ast.CallExpr)
		if !ok {
			return
		}
		sel, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || !slices.Contains(mayFail, sel.Sel.Name) {
			return
		}
		name := s.path + ": " + types.ExprString(sel)
		used[name] = true
		if allowed[name] == "" {
			problems = append(problems, fmt.Sprintf("%s: the error of %s is ignored; return it, or join it with the error at hand", t.at(n), types.ExprString(sel)))
		}
	})
	return append(problems, unused(allowed, used, "quietErrors", "its error is not ignored")...)
}

// dropped returns the expression whose error, its last result, a statement throws away.
func dropped(n ast.Node) ast.Expr {
	switch n := n.(type) {
	case *ast.ExprStmt:
		return n.X
	case *ast.DeferStmt:
		return n.Call
	case *ast.GoStmt:
		return n.Call
	case *ast.AssignStmt:
		if last, ok := n.Lhs[len(n.Lhs)-1].(*ast.Ident); ok && last.Name == "_" && len(n.Rhs) == 1 {
			return n.Rhs[0]
		}
	}
	return nil
}

// checkErrorFiles: sentinel errors are declared in errors.go, where their comments say who returns them on what.
func checkErrorFiles(t *tree) []string {
	var problems []string
	for _, s := range t.files {
		if s.test() || path.Base(s.path) == "errors.go" {
			continue
		}
		for _, d := range s.file.Decls {
			decl, ok := d.(*ast.GenDecl)
			if !ok || decl.Tok != token.VAR {
				continue
			}
			for _, spec := range decl.Specs {
				for _, v := range spec.(*ast.ValueSpec).Values {
					if isCall(s.file, v, "errors", "New") || isCall(s.file, v, "fmt", "Errorf") {
						problems = append(problems, fmt.Sprintf("%s: an error declared outside errors.go; move it there and say who returns it, on what, and what the caller does", t.at(v)))
					}
				}
			}
		}
	}
	return problems
}

// checkEnvironment: settings come in by Config; nothing in folders reads the environment.
func checkEnvironment(t *tree, folders ...string) []string {
	var problems []string
	t.code(func(s source, n ast.Node) {
		if s.below(folders...) && isCall(s.file, n, "os", "Getenv", "LookupEnv", "Environ", "ExpandEnv") {
			problems = append(problems, fmt.Sprintf("%s: reads the environment; make it a field of the package's Config", t.at(n)))
		}
	})
	return problems
}
