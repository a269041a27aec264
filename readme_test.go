package millrace

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

const embedProgram = "examples/embed/main.go"

func readText(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestReadmeShowsTheExample: the program in the README is the one that is built and run, within forty lines.
func TestReadmeShowsTheExample(t *testing.T) {
	program := readText(t, embedProgram)
	_, rest, ok := strings.Cut(readText(t, "README.md"), "```go\n")
	shown, _, closed := strings.Cut(rest, "```")
	if !ok || !closed || shown != program {
		t.Errorf("the Go program in README.md differs from %s; copy it there", embedProgram)
	}
	if n := strings.Count(program, "\n"); n > 40 {
		t.Errorf("%s has %d lines, limit 40", embedProgram, n)
	}
}

// TestExampleRuns builds the program with the Go toolchain and runs it as a reader would.
func TestExampleRuns(t *testing.T) {
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Skipf("no go tool to build the example with: %v", err)
	}
	binary := filepath.Join(t.TempDir(), "embed")
	if out, err := exec.Command(goTool, "build", "-o", binary, "./"+filepath.Dir(embedProgram)).CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, binary)
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGQUIT) } // it then says where it hangs
	out, err := command.CombinedOutput()
	want := regexp.MustCompile(`^node ([123]) leads and answers "line 1" at T[0-9]+-N[123]-[0-9]+\n$`)
	if err != nil || !want.Match(out) {
		t.Errorf("the example says %q (%v), want %v", out, err, want)
	}
}

var (
	markdownLink = regexp.MustCompile(`\]\(([^)#:]+)\)`)
	codeBlock    = regexp.MustCompile("(?s)```.*?```")
)

// TestLinks: relative links of the Markdown files lead somewhere.
func TestLinks(t *testing.T) {
	files, err := filepath.Glob("examples/*/README.md")
	if err != nil {
		t.Fatal(err)
	}
	links := 0
	for _, file := range append(files, "README.md", "CHANGELOG.md") {
		for _, m := range markdownLink.FindAllStringSubmatch(codeBlock.ReplaceAllString(readText(t, file), ""), -1) {
			links++
			if _, err := os.Stat(filepath.Join(filepath.Dir(file), m[1])); err != nil {
				t.Errorf("%s: link to %s: %v", file, m[1], err)
			}
		}
	}
	if links < 10 {
		t.Errorf("only %d links found; the test no longer reads them", links)
	}
}
