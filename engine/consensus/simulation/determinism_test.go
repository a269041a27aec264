package simulation

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"
)

var hashesFlag = flag.Int("hashes", 0, "print the hashes of that many runs and nothing else")

// hashSeeds is how many seeds are run again.
const hashSeeds = 20

func hashes(n int) (out string) {
	for seed := uint64(1); seed <= uint64(n); seed++ {
		r := Run(Options{Seed: seed})
		out += fmt.Sprintf("seed %d: %016x after %d events\n", seed, r.Hash, r.Events)
	}
	return out
}

// TestPrintHashes is what [TestDeterminism] starts in another process.
func TestPrintHashes(t *testing.T) {
	if *hashesFlag == 0 {
		t.Skip("only in the process that another test starts")
	}
	fmt.Fprint(os.Stdout, "\n", hashes(*hashesFlag), "\n")
}

// TestDeterminism: the same seed is the same run, to the last byte sent and written: again in this process, and in
// another one with another number of processors.
func TestDeterminism(t *testing.T) {
	count := hashSeeds
	if testing.Short() || raceEnabled {
		count /= 4
	}
	first := hashes(count)
	if again := hashes(count); again != first {
		t.Errorf("first\n%sthen\n%s", first, again)
	}
	procs := 1
	if runtime.GOMAXPROCS(0) == 1 {
		procs = 4
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^TestPrintHashes$", "-hashes", fmt.Sprint(count))
	cmd.Env = append(os.Environ(), fmt.Sprintf("GOMAXPROCS=%d", procs))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if got := string(out); len(got) < len(first) || got[1:1+len(first)] != first {
		t.Errorf("here\n%sin another process\n%s", first, out)
	}
}

// TestTraceChangesNothing: looking on is not taking part.
func TestTraceChangesNothing(t *testing.T) {
	lines := 0
	a, b := Run(Options{Seed: 3}), Run(Options{Seed: 3, Trace: func(string) { lines++ }})
	if a.Hash != b.Hash || lines == 0 {
		t.Errorf("hash %x without trace, %x with %d lines of it", a.Hash, b.Hash, lines)
	}
}
