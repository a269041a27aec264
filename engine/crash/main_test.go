package crash

import (
	"flag"
	"math/rand/v2"
	"os"
	"testing"

	"go.uber.org/goleak"
)

var (
	seedFlag   = flag.Uint64("crash.seed", 0, "seed of the random choices; 0 takes a new one and prints it")
	roundsFlag = flag.Int("crash.rounds", 0, "crashes of each kind of test; 0 takes the test's own number")
)

// childFlag, as the first argument, makes this binary a child of a test instead of a test: see children.
const childFlag = "-crash.child"

// children are the roles this binary can play for a test, by the second argument.
var children = map[string]func(args []string) error{
	"cluster": clusterChild,
	"open":    openChild,
}

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == childFlag {
		if err := children[os.Args[2]](os.Args[3:]); err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(2)
		}
		os.Exit(0)
	}
	// gnet's import starts a worker pool of the process, which it never ends.
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).purgeStaleWorkers"),
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).ticktock"))
}

// newSeed returns the seed of a test and prints how to use it again.
func newSeed(t *testing.T) uint64 {
	t.Helper()
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("repeat the choices with -crash.seed=%d", seed)
	return seed
}

// rounds returns how many crashes a test makes.
func rounds(long, short int) int {
	switch {
	case *roundsFlag > 0:
		return *roundsFlag
	case testing.Short():
		return short
	}
	return long
}
