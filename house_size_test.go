package millrace

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// source is one Go file of the tree.
type source struct {
	path  string // slash-separated, from the root
	file  *ast.File
	lines int
}

func (s source) folder() string { return path.Dir(s.path) }
func (s source) test() bool     { return strings.HasSuffix(s.path, "_test.go") }

// below reports whether the file lies in one of the folders or under it.
func (s source) below(folders ...string) bool {
	return slices.ContainsFunc(folders, func(f string) bool { return strings.HasPrefix(s.path, f+"/") })
}

// tree is every Go file of the module, parsed.
type tree struct {
	fset  *token.FileSet
	files []source
}

// loadTree parses all Go files of fsys. Folders that the Go tool leaves out are left out here.
func loadTree(fsys fs.FS) (*tree, error) {
	t := &tree{fset: token.NewFileSet()}
	err := fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := d.Name(); d.IsDir() && p != "." && (name[0] == '.' || name[0] == '_' || name == "testdata") {
			return fs.SkipDir
		}
		if d.IsDir() || path.Ext(p) != ".go" {
			return nil
		}
		data, err := fs.ReadFile(fsys, p)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(t.fset, p, data, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		t.files = append(t.files, source{path: p, file: f, lines: strings.Count(string(data), "\n")})
		return nil
	})
	return t, err
}

// at returns "path:line" of a node.
func (t *tree) at(n ast.Node) string {
	p := t.fset.Position(n.Pos())
	return fmt.Sprintf("%s:%d", p.Filename, p.Line)
}

// code visits every node of every file that is not a test.
func (t *tree) code(visit func(s source, n ast.Node)) {
	for _, s := range t.files {
		if !s.test() {
			ast.Inspect(s.file, func(n ast.Node) bool { visit(s, n); return true })
		}
	}
}

var fileNames = regexp.MustCompile(`[A-Za-z0-9_/]*[a-z0-9_]+\.go\b`)

// checkDocs: each folder opens with doc.go, which says what the package is, in docLinesMax lines at most, and names no
// file that isn't there.
func checkDocs(t *tree) []string {
	var problems []string
	docs, folders, paths := map[string]source{}, map[string]bool{}, map[string]bool{}
	for _, s := range t.files {
		folders[s.folder()] = true
		paths[s.path] = true
		if path.Base(s.path) == "doc.go" {
			docs[s.folder()] = s
		}
	}
	for _, folder := range slices.Sorted(maps.Keys(folders)) {
		s, ok := docs[folder]
		switch {
		case !ok:
			problems = append(problems, fmt.Sprintf("%s: no doc.go; write one: what the folder is for, a picture, what it promises, reading order", folder))
			continue
		case len(strings.Fields(s.file.Doc.Text())) < 20:
			problems = append(problems, fmt.Sprintf("%s: the package comment says too little; say what the folder is for and what it promises", s.path))
		case s.lines > docLinesMax:
			problems = append(problems, fmt.Sprintf("%s: %d lines, limit %d; shorten it", s.path, s.lines, docLinesMax))
		}
		for _, name := range fileNames.FindAllString(s.file.Doc.Text(), -1) {
			if !paths[path.Join(folder, name)] && !paths[name] {
				problems = append(problems, fmt.Sprintf("%s: names %s, which does not exist; name the file that does", s.path, name))
			}
		}
	}
	return problems
}

// exception allows one function or file to be as long as it is.
type exception struct {
	lines  int
	reason string
}

// checkLengths compares lengths with a limit and its exceptions, which must be needed, exact and reasoned.
func checkLengths(lengths map[string]int, limit int, exceptions map[string]exception) []string {
	var problems []string
	for _, name := range slices.Sorted(maps.Keys(lengths)) {
		lines := lengths[name]
		if _, ok := exceptions[name]; !ok && lines > limit {
			problems = append(problems, fmt.Sprintf("%s: %d lines, limit %d; split it, or add an exception with the reason", name, lines, limit))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(exceptions)) {
		e, lines := exceptions[name], lengths[name]
		switch {
		case lines <= limit:
			problems = append(problems, fmt.Sprintf("%s: has %d lines, so its exception is not needed any more; remove it", name, lines))
		case lines != e.lines:
			problems = append(problems, fmt.Sprintf("%s: has %d lines, its exception allows %d; an exception may only shrink", name, lines, e.lines))
		case e.reason == "":
			problems = append(problems, fmt.Sprintf("%s: its exception gives no reason", name))
		}
	}
	return problems
}

// checkFunctionLength: a function outside the tests fits a screen.
func checkFunctionLength(t *tree, exceptions map[string]exception) []string {
	lengths := map[string]int{}
	t.code(func(s source, n ast.Node) {
		if f, ok := n.(*ast.FuncDecl); ok {
			lines := t.fset.Position(f.End()).Line - t.fset.Position(f.Pos()).Line + 1
			lengths[s.path+": "+functionName(f)] = lines
		}
	})
	return checkLengths(lengths, functionLinesMax, exceptions)
}

func functionName(f *ast.FuncDecl) string {
	if f.Recv == nil || len(f.Recv.List) == 0 {
		return f.Name.Name
	}
	receiver := f.Recv.List[0].Type
	if star, ok := receiver.(*ast.StarExpr); ok {
		receiver = star.X
	}
	switch generic := receiver.(type) {
	case *ast.IndexExpr:
		receiver = generic.X
	case *ast.IndexListExpr:
		receiver = generic.X
	}
	return receiver.(*ast.Ident).Name + "." + f.Name.Name
}

// checkFileLength: a file, tests included, is one concern.
func checkFileLength(t *tree, exceptions map[string]exception) []string {
	lengths := map[string]int{}
	for _, s := range t.files {
		lengths[s.path] = s.lines
	}
	return checkLengths(lengths, fileLinesMax, exceptions)
}

var openEnds = regexp.MustCompile(`\b(TODO|FIXME|XXX|HACK)\b`)

// checkOpenEnds: what is not done is not there; comments leave no notes for later.
func checkOpenEnds(t *tree) []string {
	var problems []string
	for _, s := range t.files {
		for _, group := range s.file.Comments {
			for _, c := range group.List {
				if word := openEnds.FindString(c.Text); word != "" {
					problems = append(problems, fmt.Sprintf("%s: a comment with %s; do it, or say in doc.go what is not covered", t.at(c), word))
				}
			}
		}
	}
	return problems
}
