package millrace

import (
	"strings"
	"testing"
	"testing/fstest"
)

// treeOf is a tree of the given files.
func treeOf(t *testing.T, files map[string]string) *tree {
	t.Helper()
	fsys := fstest.MapFS{}
	for name, text := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	h, err := loadTree(fsys)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func lines(n int) string { return strings.Repeat("\n", n) }

const doc = "// Package x is a package that this test made up, with a comment of more than twenty words, so that the rule about doc.go is content with it.\npackage x\n"

// selfTest is a small bad tree, and a part of each message that a rule must give about it, in order; none for a good one.
type selfTest struct {
	name  string
	files map[string]string
	want  []string
}

func one(name, path, text string, want ...string) selfTest {
	return selfTest{name, map[string]string{path: text}, want}
}

func runSelfTests(t *testing.T, check func(*tree) []string, cases ...selfTest) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := check(treeOf(t, c.files))
			if len(got) != len(c.want) {
				t.Fatalf("%d problems, want %d: %q", len(got), len(c.want), got)
			}
			for i := range got {
				if !strings.Contains(got[i], c.want[i]) {
					t.Errorf("problem %q, want one with %q", got[i], c.want[i])
				}
			}
		})
	}
}

func TestSelfImports(t *testing.T) {
	file := func(p string) string { return "package x\nimport _ \"" + modulePath + "/" + p + "\"\n" }
	runSelfTests(t, func(h *tree) []string { return checkImports(h, mayImport) },
		one("down", "engine/a.go", file("codec")),
		one("own test", "wal/a_test.go", file("wal")),
		one("sub-folder", "wal/a.go", file("wal/vfs")),
		one("up", "codec/a.go", file("engine"), "codec/a.go: imports engine"),
		one("sibling", "wal/a.go", file("netio"), "imports netio"),
		one("sibling in a test", "netio/a_test.go", file("pipeline"), "imports pipeline"),
		one("own parent", "wal/vfs/a.go", file("wal"), "imports wal"),
		one("consensus reaches out", "engine/consensus/a.go", file("pipeline"), "imports pipeline"),
		one("simulator imported", "engine/a.go", file("engine/consensus/simulation"), "imports engine/consensus/simulation"),
		one("profiles for the suite alone", "engine/a.go", file("profiles"), "imports profiles"),
		one("example imports suite", "examples/kv/a.go", file("cluster_benchmark/load"), "imports cluster_benchmark/load"),
		one("stray folder", "util/a.go", "package util\n", "util has no place in the house"))
}

func TestSelfPurity(t *testing.T) {
	file := func(imported, body string) selfTest {
		return one(imported+body, "engine/consensus/a.go", "package consensus\nimport "+imported+"\nfunc f() {\n"+body+"\n}\n")
	}
	bad := func(s selfTest, want ...string) selfTest { s.want = want; return s }
	runSelfTests(t, func(h *tree) []string { return checkPurity(h, "engine/consensus") },
		file(`"time"`, `_ = 3 * time.Second; var d time.Duration; _ = d`),
		file(`"math/rand/v2"`, `_ = rand.New(rand.NewPCG(1, 2)).IntN(3)`),
		one("tests are free", "engine/consensus/a_test.go", "package consensus\nimport \"os\"\nvar _ = os.Args\n"),
		one("other folders are free", "engine/a.go", "package engine\nimport \"os\"\nfunc f() { go f(); _ = os.Args }\n"),
		bad(file(`"time"`, `_ = time.Now()`), "uses time.Now"),
		bad(file(`clock "time"`, `_ = clock.Since(clock.Time{})`), "uses time.Since", "uses time.Time"),
		bad(file(`. "time"`, `_ = Now()`), `as "."`),
		bad(file(`"math/rand/v2"`, `_ = rand.IntN(3)`), "uses math/rand/v2.IntN"),
		bad(file(`"fmt"`, `fmt.Println()`), "uses fmt.Println"),
		bad(file(`"sync"`, `var m sync.Mutex; m.Lock()`), "imports sync"),
		bad(file(`"os"`, ``), "imports os"),
		bad(file(`"log/slog"`, ``), "imports log/slog"),
		bad(file(`"maps"`, ``), "imports maps"),
		bad(file(`"fmt"`, `go f()`), "starts a goroutine"),
		bad(file(`"fmt"`, `var c chan int; c <- 1`), "uses a channel", "uses a channel"),
		bad(file(`"fmt"`, `select {}`), "uses a channel"),
		bad(file(`"fmt"`, `println()`), "prints"))
}

func TestSelfMapRange(t *testing.T) {
	types := "package codec\nimport \"example.org/other\"\ntype Set map[int]bool\ntype T struct{ M Set; S []int; O other.X }\n"
	file := func(name, body string, want ...string) selfTest {
		text := "package consensus\nimport (\"slices\"; \"" + modulePath + "/codec\")\n" +
			"func f(t codec.T, s []int) {\n_ = slices.Max(s)\nfor range " + body + " {}\n}\n"
		return selfTest{name, map[string]string{"codec/a.go": types, "engine/consensus/a.go": text}, want}
	}
	runSelfTests(t, func(h *tree) []string { return checkMapRange(h, "engine/consensus") },
		file("slice", "t.S"),
		file("result of a standard function", "slices.Clone(s)"),
		file("number", "3"),
		file("map of another package", "t.M", "loops over a map"),
		file("literal", "map[int]int{}", "loops over a map"),
		file("unknown type", "t.O", "can't be seen"))
}

func TestSelfDocs(t *testing.T) {
	runSelfTests(t, checkDocs,
		selfTest{"good", map[string]string{"x/doc.go": doc, "x/a.go": "package x\n"}, nil},
		one("missing", "x/a.go", "package x\n", "x: no doc.go"),
		one("missing beside tests alone", "x/a_test.go", "package x\n", "x: no doc.go"),
		one("empty", "x/doc.go", "package x\n", "says too little"),
		one("too long", "x/doc.go", doc+lines(docLinesMax), "152 lines, limit 150"),
		one("names a file that is gone", "x/doc.go", "// Start with gone.go.\n"+doc, "names gone.go"))
}

func TestSelfLengths(t *testing.T) {
	long := "package x\nfunc (t *T[K]) f() {" + lines(functionLinesMax) + "}\n"
	name := "x/a.go: T.f"
	with := func(e map[string]exception) func(*tree) []string {
		return func(h *tree) []string { return checkFunctionLength(h, e) }
	}
	runSelfTests(t, with(nil),
		one("fits", "x/a.go", "package x\nfunc f() {"+lines(functionLinesMax-1)+"}\n"),
		one("tests are free", "x/a_test.go", long),
		one("too long", "x/a.go", long, name+": 71 lines, limit 70"))
	runSelfTests(t, with(map[string]exception{name: {71, "why"}}), one("excepted", "x/a.go", long))
	runSelfTests(t, with(map[string]exception{name: {71, ""}}), one("no reason", "x/a.go", long, "gives no reason"))
	runSelfTests(t, with(map[string]exception{name: {72, "why"}}), one("too generous", "x/a.go", long, "may only shrink"))
	runSelfTests(t, with(map[string]exception{name: {70, "why"}}), one("grown", "x/a.go", long, "may only shrink"))
	runSelfTests(t, with(map[string]exception{name: {71, "why"}}), one("unused", "x/a.go", "package x\n", "not needed any more"))
	runSelfTests(t, func(h *tree) []string { return checkFileLength(h, nil) },
		one("file fits", "x/a.go", "package x"+lines(fileLinesMax)),
		one("file too long", "x/a_test.go", "package x"+lines(fileLinesMax+1), "501 lines, limit 500"))
}

func TestSelfGoStatements(t *testing.T) {
	runSelfTests(t, func(h *tree) []string { return checkGoStatements(h, nil) },
		one("none", "x/a.go", "package x\nfunc f() {}\n"),
		one("tests are free", "x/a_test.go", "package x\nfunc f() { go f() }\n"),
		one("go", "x/a.go", "package x\nfunc f() { go f() }\n", "x/a.go:2: a goroutine starts here"),
		one("wait group", "x/a.go", "package x\nfunc f() { wg.Go(f) }\n", "a goroutine starts here"),
		one("end of a context", "x/a.go", "package x\nimport \"context\"\nfunc f() { context.AfterFunc(ctx, f) }\n", "a goroutine starts here"),
		one("timer", "x/a.go", "package x\nimport \"time\"\nfunc f() { time.AfterFunc(1, f) }\n", "a goroutine starts here"))
	runSelfTests(t, func(h *tree) []string { return checkGoStatements(h, map[string]string{"x/a.go": "why"}) },
		one("allowed", "x/a.go", "package x\nfunc f() { go f() }\n"),
		one("not needed", "x/a.go", "package x\n", "remove it from goFiles"))
}

func TestSelfSleeps(t *testing.T) {
	file := func(name, body string, want ...string) selfTest {
		return one(name, "x/a_test.go", "package x\nimport (\"time\"; \"testing/synctest\")\nfunc f() {\n"+body+"\n}\n", want...)
	}
	runSelfTests(t, func(h *tree) []string { return checkSleeps(h, nil) },
		file("timeout of a select", "select { case <-c: case <-time.After(9): }"),
		file("timeout of an end", "select { case <-n.Done(): case <-time.After(9): t.Fatal() }"),
		file("timeout beside an end", "select { case v := <-c: g(v); case <-ctx.Done(): case <-time.After(9): }"),
		file("virtual time in a select", "synctest.Test(t, func(t *testing.T) { select { case <-ctx.Done(): case <-time.After(9): } })"),
		file("sleep that an end cuts short", "select { case <-time.After(9): case <-ctx.Done(): return }", "a test sleeps"),
		file("sleep in a select of its own", "select { case <-time.After(9): g() }", "a test sleeps"),
		file("virtual time", "synctest.Test(t, func(t *testing.T) { time.Sleep(9) })"),
		file("sleep", "time.Sleep(9)", "a test sleeps"),
		file("sleep in disguise", "<-time.After(9)", "a test sleeps"))
	runSelfTests(t, func(h *tree) []string { return checkSleeps(h, map[string]string{"x/a_test.go": "why"}) },
		file("allowed", "time.Sleep(9)"),
		file("not needed", "", "remove it from sleepFiles"))
}

func TestSelfPanics(t *testing.T) {
	file := func(argument string, want ...string) selfTest {
		return one(argument, "x/a.go", "package x\nimport \"fmt\"\nfunc f() { panic("+argument+") }\n", want...)
	}
	runSelfTests(t, checkPanics,
		file(`"BUG: text"`), file(`"BUG: " + err.Error()`), file(`fmt.Sprintf("BUG: %d", 1)`),
		file(`"text"`, "x/a.go:3: a panic"), file(`err`, "a panic"), file(`fmt.Sprintf("%d", 1)`, "a panic"),
		one("tests are free", "x/a_test.go", "package x\nfunc f() { panic(1) }\n"))
}

func TestSelfIgnoredErrors(t *testing.T) {
	file := func(statement string, want ...string) selfTest {
		return one(statement, "wal/vfs/a.go", "package vfs\nfunc f() {\n"+statement+"\n}\n", want...)
	}
	runSelfTests(t, func(h *tree) []string { return checkIgnoredErrors(h, "wal", nil) },
		file("err := f.Sync()"), file("return errors.Join(err, f.Close())"), file("f.Unlock()"),
		file("f.Sync()", "error of f.Sync is ignored"),
		file("defer f.Close()", "error of f.Close is ignored"),
		file("_ = f.Close()", "error of f.Close is ignored"),
		file("n, _ := f.Write(b)", "error of f.Write is ignored"),
		file("os.Rename(a, b)", "error of os.Rename is ignored"),
		one("other folders are free", "x/a.go", "package x\nfunc f() { f.Close() }\n"))
	allowed := map[string]string{"wal/vfs/a.go: h.file.Write": "why"}
	runSelfTests(t, func(h *tree) []string { return checkIgnoredErrors(h, "wal", allowed) },
		file("h.file.Write(b)"),
		file("h.file.Write(b); f.Write(b)", "error of f.Write is ignored"),
		file("", "remove it from quietErrors"))
}

func TestSelfErrorFiles(t *testing.T) {
	text := "package x\nimport \"errors\"\nvar ErrX = errors.New(\"x\")\n"
	runSelfTests(t, checkErrorFiles,
		one("there", "x/errors.go", text), one("tests are free", "x/a_test.go", text),
		one("elsewhere", "x/a.go", text, "declared outside errors.go"))
}

func TestSelfEnvironment(t *testing.T) {
	text := "package x\nimport \"os\"\nfunc f() { os.Getenv(\"X\") }\n"
	runSelfTests(t, func(h *tree) []string { return checkEnvironment(h, "engine") },
		one("main programs are free", "cluster_benchmark/a.go", text),
		one("engine", "engine/a.go", text, "reads the environment"))
}

func TestSelfOpenEnds(t *testing.T) {
	note := "TO" + "DO"
	runSelfTests(t, checkOpenEnds,
		one("none", "x/a.go", "package x // done\n"),
		one("note", "x/a.go", "package x // "+note+": later\n", "x/a.go:1: a comment with "+note))
}
