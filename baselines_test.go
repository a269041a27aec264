package millrace

import (
	"bufio"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestBenchmarksOfBaselinesExist: a saved baseline of the micro-benchmarks is of benchmarks that are still there.
func TestBenchmarksOfBaselinesExist(t *testing.T) {
	files, err := filepath.Glob("profiles/baselines/*/micro.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d baselines, %v", len(files), err)
	}
	line := regexp.MustCompile(`^(Benchmark\w*)`)
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		sources, missing := "", map[string]bool{}
		found := 0
		for lines := bufio.NewScanner(f); lines.Scan(); {
			if pkg, ok := strings.CutPrefix(lines.Text(), "pkg: github.com/millrace/millrace/"); ok {
				sources = testSources(t, pkg)
			}
			if m := line.FindString(lines.Text()); m != "" {
				found++
				missing[m] = missing[m] || !strings.Contains(sources, "func "+m+"(b *testing.B)")
			}
		}
		if found == 0 {
			t.Errorf("%s holds no benchmark", name)
		}
		for benchmark, gone := range missing {
			if gone {
				t.Errorf("%s: there is no %s any more", name, benchmark)
			}
		}
	}
}

// testSources returns the text of a folder's tests.
func testSources(t *testing.T, folder string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(filepath.FromSlash(folder), "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}
