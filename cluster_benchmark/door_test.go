package main

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// door is a copy of bench.sh in a tree of its own, with a suite that prints its arguments.
type door struct {
	t    *testing.T
	root string
	path string // of the programs that it finds
}

func newDoor(t *testing.T) *door {
	t.Helper()
	if testing.Short() {
		t.Skip("builds programs")
	}
	d := &door{t, t.TempDir(), t.TempDir()}
	for _, tool := range []string{"bash", "env", "go", "git", "dirname", "mkdir", "rm", "cp"} {
		found, err := exec.LookPath(tool)
		if err != nil {
			t.Skipf("bench.sh needs %s: %v", tool, err)
		}
		if err := os.Symlink(found, filepath.Join(d.path, tool)); err != nil {
			t.Fatal(err)
		}
	}
	script, err := os.ReadFile("../bench.sh")
	if err != nil {
		t.Fatal(err)
	}
	d.write(d.root, "bench.sh", string(script))
	d.write(d.root, "go.mod", "module example.org/suite\n\ngo 1.26\n")
	d.write(d.root, "cluster_benchmark/main.go", "package main\n\nimport (\n\t\"fmt\"\n\t\"os\"\n)\n\nfunc main() { fmt.Println(os.Args[1:]) }\n")
	return d
}

func (d *door) write(dir, name, content string) {
	d.t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		d.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o700); err != nil {
		d.t.Fatal(err)
	}
}

// open runs the door and returns what it printed on standard output.
func (d *door) open(args ...string) string {
	d.t.Helper()
	c := exec.Command(filepath.Join(d.root, "bench.sh"), args...)
	c.Dir = d.t.TempDir()
	c.Env = append(os.Environ(), "PATH="+d.path)
	out, err := c.Output()
	if err != nil {
		var exit *exec.ExitError
		errors.As(err, &exit)
		d.t.Fatalf("%v: %v\n%s%s", c.Args, err, out, exit.Stderr)
	}
	return string(out)
}

// built returns what lies in bin/peers, with the content of text files.
func (d *door) built() map[string]string {
	d.t.Helper()
	found := map[string]string{}
	entries, err := os.ReadDir(filepath.Join(d.root, "bin/peers"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.t.Fatal(err)
	}
	for _, e := range entries {
		found[e.Name()] = ""
		if filepath.Ext(e.Name()) == whyExtension {
			data, err := os.ReadFile(filepath.Join(d.root, "bin/peers", e.Name()))
			if err != nil {
				d.t.Fatal(err)
			}
			found[e.Name()] = string(data)
		}
	}
	return found
}

// TestDoor: what bench.sh builds, and what it says of what it can't.
func TestDoor(t *testing.T) {
	d := newDoor(t)
	const good, bad = "package main\n\nfunc main() {}\n", "package main\n\nfunc main() { undefined() }\n"
	for name, source := range map[string]string{"fine": good, "broken": bad} {
		d.write(d.root, "cluster_benchmark/peers/"+name+"/go.mod", "module example.org/"+name+"\n\ngo 1.26\n")
		d.write(d.root, "cluster_benchmark/peers/"+name+"/main.go", source)
	}
	d.write(d.root, "cluster_benchmark/peers/rusty/Cargo.toml", "")
	d.write(d.root, "cluster_benchmark/peers/notes/text.txt", "")

	if got := d.open(); got != "[run quick]\n" {
		t.Errorf("without arguments it runs %q", got)
	}
	if got := d.open("list", "a b"); got != "[list a b]\n" || len(d.built()) > 0 {
		t.Errorf("list: it runs %q and builds %v, want no programs around libraries", got, d.built())
	}
	if got := d.open("peers", "quick"); got != "[peers quick]\n" {
		t.Errorf("peers: it runs %q", got)
	}
	built := d.built()
	if _, ok := built["fine"]; !ok || len(built) != 3 || built["rusty.why"] != "cargo, which builds it, is not on PATH\n" ||
		!strings.HasSuffix(built["broken.why"], "undefined: undefined\n") || strings.Count(built["broken.why"], "\n") != 1 {
		t.Errorf("built are %q", built)
	}

	// What is mended or comes later is built, and what breaks is gone.
	d.write(d.root, "cluster_benchmark/peers/broken/main.go", good)
	d.write(d.root, "cluster_benchmark/peers/fine/main.go", bad)
	d.write(d.path, "cargo", "#!/usr/bin/env bash\nset -eu\n"+
		"mkdir -p \"${*: -1}/release\"\necho > \"${*: -1}/release/rusty-peer\"\n")
	d.open("peers")
	built = d.built()
	_, broken := built["broken"]
	_, rusty := built["rusty"]
	if len(built) != 3 || !broken || !rusty || built["fine.why"] == "" {
		t.Errorf("built later are %q", built)
	}
}
