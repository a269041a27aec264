package simulation

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var (
	plantedFlag      = flag.Bool("planted", false, "look for every planted bug, not for a few")
	plantedSeedsFlag = flag.Int("plantedseeds", 500, "seeds to look for each planted bug in")
)

// root is the module's folder, seen from this one.
const root = "../../.."

// edit is one change of a planted bug.
type edit struct{ file, old, new string }

// planted is a bug to be found: testdata/planted/NAME.txt says what it is in a line that starts with "# ", then for each
// change "--- file PATH", the old text, "--- becomes", the new text.
type planted struct {
	name, what string
	edits      []edit
}

func loadPlanted(t *testing.T) []planted {
	t.Helper()
	names, err := filepath.Glob("testdata/planted/*.txt")
	if err != nil || len(names) == 0 {
		t.Fatalf("%d planted bugs, %v", len(names), err)
	}
	var out []planted
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(string(text), "--- file ")
		p := planted{name: strings.TrimSuffix(filepath.Base(name), ".txt"), what: strings.TrimSpace(strings.TrimPrefix(parts[0], "# "))}
		for _, part := range parts[1:] {
			file, change, _ := strings.Cut(part, "\n")
			old, becomes, ok := strings.Cut(change, "\n--- becomes\n")
			if !ok {
				t.Fatalf("%s: no line %q", name, "--- becomes")
			}
			p.edits = append(p.edits, edit{file, old, strings.TrimSuffix(becomes, "\n")})
		}
		out = append(out, p)
	}
	return out
}

// plant applies a bug to texts of files, reading those that are not there yet. It reports false, and changes nothing,
// where a text that is to be changed is not there exactly once.
func (p *planted) plant(t *testing.T, texts map[string]string) bool {
	t.Helper()
	changed := maps.Clone(texts)
	for _, e := range p.edits {
		if changed[e.file] == "" {
			b, err := os.ReadFile(filepath.Join(root, e.file))
			if err != nil {
				t.Fatal(err)
			}
			changed[e.file] = string(b)
		}
		if strings.Count(changed[e.file], e.old) != 1 {
			return false
		}
		changed[e.file] = strings.Replace(changed[e.file], e.old, e.new, 1)
	}
	maps.Copy(texts, changed)
	return true
}

// overlay writes changed files and the list that the go command takes with -overlay.
func overlay(t *testing.T, texts map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	list := struct{ Replace map[string]string }{map[string]string{}}
	for file, text := range texts {
		from, err := filepath.Abs(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(dir, strings.ReplaceAll(file, "/", "_"))
		if err := os.WriteFile(to, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		list.Replace[from] = to
	}
	b, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func goCommand(t *testing.T, args ...string) ([]byte, error) {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skipf("no go command to build with: %v", err)
	}
	return exec.Command("go", args...).CombinedOutput()
}

// TestPlantedApplyAndBuild: every planted bug still finds the text it changes, and all of them compile, as many together
// as don't change the same lines.
func TestPlantedApplyAndBuild(t *testing.T) {
	rest := loadPlanted(t)
	for i := range rest {
		p := &rest[i]
		if p.what == "" || len(p.edits) == 0 {
			t.Errorf("planted bug %s says %q and changes %d places", p.name, p.what, len(p.edits))
		}
		if !p.plant(t, map[string]string{}) {
			t.Errorf("planted bug %s: a text that it changes is not there exactly once", p.name)
		}
	}
	for !t.Failed() && len(rest) > 0 {
		texts, later := map[string]string{}, []planted(nil)
		for i := range rest {
			if !rest[i].plant(t, texts) {
				later = append(later, rest[i])
			}
		}
		out, err := goCommand(t, "vet", "-overlay", overlay(t, texts), root+"/codec", root+"/wal/...", root+"/pipeline/...", root+"/engine/consensus/...")
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		rest = later
	}
}

// plantedDefault are the bugs that each test run looks for: some in the protocol, one in the log, one in the bytes.
var plantedDefault = []string{"late_completion", "message_checksum", "no_directory_sync", "joint_by_last"}

// TestPlantedAreFound builds the simulator with one planted bug after the other and expects some seed to fail. It prints
// how many seeds that took: the first one, and over all seeds the median and the greatest distance between two.
func TestPlantedAreFound(t *testing.T) {
	switch {
	case *findFlag:
		t.Skip("this is such a build")
	case testing.Short() && !*plantedFlag:
		t.Skip("builds take long")
	}
	seeds := 60
	if *plantedFlag {
		seeds = *plantedSeedsFlag
	}
	for _, p := range loadPlanted(t) {
		if !*plantedFlag && !slices.Contains(plantedDefault, p.name) {
			continue
		}
		t.Run(p.name, func(t *testing.T) {
			texts := map[string]string{}
			if !p.plant(t, texts) {
				t.Fatal("a text that it changes is not there exactly once")
			}
			out, _ := goCommand(t, "test", "-overlay", overlay(t, texts), "-count=1", "-timeout", "20m", "-run", "^TestSeeds$", ".", "-find", "-seeds", fmt.Sprint(seeds))
			gaps, first := failures(out)
			if !bytes.Contains(out, []byte("--- FAIL: TestSeeds")) || len(gaps) == 0 {
				t.Fatalf("%s\nnot found in %d seeds:\n%.2000s", p.what, seeds, out)
			}
			firstGap := gaps[0]
			slices.Sort(gaps)
			t.Logf("%d of %d seeds; seeds to find: first %d, median %d, worst %d; %s", len(gaps), seeds, firstGap, gaps[len(gaps)/2], gaps[len(gaps)-1], first)
		})
	}
}

// failures reads which seeds failed and returns the distances between them, and what the first one said.
func failures(out []byte) (gaps []int, first string) {
	before := 0
	for line := range strings.Lines(string(out)) {
		_, fails, ok := strings.Cut(line, "FAILS ")
		if !ok {
			continue
		}
		var seed int
		if _, err := fmt.Sscanf(fails, "%d:", &seed); err != nil {
			continue
		}
		gaps = append(gaps, seed-before)
		before = seed
		if first == "" {
			first = strings.TrimSpace(fails)
		}
	}
	return gaps, first
}
