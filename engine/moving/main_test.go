package moving

import (
	"flag"
	"os"
	"testing"

	"go.uber.org/goleak"
)

var (
	mibFlag      = flag.Int64("moving.mib", 0, "size in MiB of the state that moves; 0: a small one, without judging speed")
	secondsFlag  = flag.Int("moving.seconds", 30, "how long the load runs alone before a state of -moving.mib moves")
	clientsFlag  = flag.Int("moving.clients", 256, "clients of the load, a put at a time each")
	rateFlag     = flag.Int("moving.rate", 0, "SnapshotBytesPerSecond; 0: the default")
	niceFlag     = flag.Int("moving.nice", 0, "niceness of the learner's process, which would have processors of its own elsewhere")
	filesFlag    = flag.Bool("moving.files", false, "keep the large part of the state in files instead of memory")
	directoryArg = flag.String("moving.dir", "", "where the nodes keep their data; default: the test's own directory")
)

// childFlag, as the first argument, makes this binary a node instead of a test.
const childFlag = "-moving.child"

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == childFlag {
		if err := child(os.Args[2]); err != nil {
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
