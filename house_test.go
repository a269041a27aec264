package millrace

import (
	"os"
	"testing"
)

// The rules this house is kept by, and their exceptions. An exception names what it allows and why; one that allows
// more than is needed fails, so the lists only shrink.

// mayImport says which folders of this module a folder may import: "x/..." means x and everything below. The longest
// match counts, and a folder without one is not allowed to exist.
var mayImport = map[string][]string{
	".":                           {},
	"codec":                       {},
	"pipeline":                    {"codec", "pipeline/session"},
	"pipeline/session":            {"codec"},
	"wal":                         {"codec", "wal/..."},
	"wal/vfs":                     {},
	"wal/snapshot":                {"codec", "wal/vfs"},
	"netio":                       {"codec"},
	"engine/consensus":            {"codec"},
	"engine/consensus/simulation": {"codec", "engine/consensus", "pipeline/...", "wal/..."},
	"engine":                      {"codec", "engine/consensus", "engine/shipment", "engine/storagetest", "netio", "pipeline/...", "wal/..."},
	"engine/shipment":             {"codec", "wal/..."},
	"engine/storagetest":          {"codec", "pipeline", "wal/..."},
	"engine/moving":               {"codec", "engine"},
	"engine/crash":                {"codec", "engine", "netio", "pipeline/...", "wal/..."},
	"profiles":                    {},
	"cluster_benchmark/...":       {"cluster_benchmark/...", "codec", "engine/...", "netio", "pipeline", "profiles", "wal/..."},
	"examples/...":                {"codec", "engine", "engine/storagetest", "netio", "pipeline/...", "wal/..."},
}

// consensusStd lists the standard packages that engine/consensus may import. Of time and math/rand/v2 it may use only
// what consensusNames lists: durations, and generators seeded by the caller.
var consensusStd = []string{"cmp", "errors", "fmt", "math", "math/bits", "math/rand/v2", "slices", "sort", "strconv", "strings", "time"}

var consensusNames = map[string][]string{
	"time":         {"Duration", "Nanosecond", "Microsecond", "Millisecond", "Second", "Minute", "Hour"},
	"math/rand/v2": {"New", "NewPCG", "NewChaCha8", "Rand", "PCG", "ChaCha8", "Source"},
	"fmt":          {"Errorf", "Sprint", "Sprintf", "Sprintln", "Append", "Appendf", "Appendln", "Stringer", "Formatter", "State", "Fprintf", "Fprint"},
}

// goFiles lists the files in which goroutines start, and what each of those is for.
var goFiles = map[string]string{
	"cluster_benchmark/load/load.go":                "the clients and their time-keeper, which end with the run",
	"cluster_benchmark/measure/event.go":            "plays the scenario's event, ended with the measured time",
	"cluster_benchmark/measure/measure.go":          "stops the load when the run is interrupted, a call that returns at once",
	"cluster_benchmark/peers/dragonboat/cluster.go": "answers the puts whose caller does not wait, one per node, ended by Close",
	"cluster_benchmark/node/caller.go":              "ends a question when its context does, a call that returns at once",
	"cluster_benchmark/node/connection.go":          "writes what a client is owed, ended with its connection",
	"cluster_benchmark/node/node.go":                "the accept loop and one goroutine per client, ended by Close",
	"cluster_benchmark/node/processes.go":           "waits for the end of each node's process, which Close brings about",
	"cluster_benchmark/node/remote.go":              "asks all nodes at once, and looks for the leader until Close",
	"cluster_benchmark/node/stream.go":              "writes puts to the leader and reads their answers, ended by close",
	"cluster_benchmark/peers/etcd/cluster.go":       "the drivers of the nodes, ended by Close",
	"cluster_benchmark/peers/etcd/network.go":       "the two ends of each connection, ended by Close",
	"cluster_benchmark/peers/etcd-new/cluster.go":   "the drivers of the nodes, ended by Close",
	"cluster_benchmark/peers/etcd-new/network.go":   "the two ends of each connection, ended by Close",
	"cluster_benchmark/peers/hashicorp/cluster.go":  "answers the puts whose caller does not wait, one per node, ended by Close",
	"cluster_benchmark/target/disk.go":              "the ceiling's committer and its file writers, ended by Close",
	"cluster_benchmark/target/event_slow.go":        "a timer for each sync answered late, stopped by Close",
	"cluster_benchmark/target/event_snapshot.go":    "a snapshot on each node at once, awaited",
	"cluster_benchmark/target/handoff.go":           "the ceiling's one consumer, ended by Close",
	"cluster_benchmark/target/net.go":               "the ceiling's two ends of a connection, ended by Close",
	"engine/callback.go":                            "calls what a caller registered, one each, awaited by Close",
	"engine/raft.go":                                "the group's loop, ended by Close",
	"engine/snapshot_send.go":                       "waits for senders, and verifies a snapshot a peer could not, awaited by Close",
	"engine/snapshot_take.go":                       "writes one snapshot, awaited by Close",
	"engine/shipment/receiver.go":                   "writes what a leader sends, from the first piece on, ended by Close",
	"engine/shipment/sender.go":                     "reads a snapshot for one peer, ended by Stop",
	"examples/kv/main.go":                           "answers HTTP requests, ended with the node",
	"engine/storagetest/machine_apply.go":           "writes a captured state while the state goes on, awaited by the case",
	"engine/storagetest/log_together.go":            "groups and peers at the same time, awaited by the case",
	"netio/dial.go":                                 "closes a connection when its dialer ends, awaited by release",
	"netio/listen.go":                               "one hand-shake each, bounded in number and time, awaited by Close",
	"netio/tcp.go":                                  "the accept loop and one dialer per lane and peer, awaited by Close",
	"pipeline/applier.go":                           "applies committed frames and answers, ended by Close",
	"wal/log.go":                                    "the writer and the reader of cold frames, ended by Close",
}

// sleepFiles lists the test files that may sleep between two looks at something that gives no event.
var sleepFiles = map[string]string{
	"engine/crash/load_test.go": "rests between puts, which are part of the load, and looks for a leader among nodes that are exchanged meanwhile",
}

// quietErrors lists the calls in wal whose error says nothing about what is durable, and why.
var quietErrors = map[string]string{
	"wal/tidwall.go: a.batch.Write":       "returns nothing: it fills a batch in memory",
	"wal/reader.go: s.file.Close":         "closes a file that was only read",
	"wal/reclaim.go: r.walker.file.Close": "closes a file that was only read",

	"wal/snapshot/export.go: r.Close":   "closes a file that was only read",
	"wal/snapshot/store.go: f.Close":    "closes a file that was only read",
	"wal/snapshot/walk.go: w.sha.Write": "a hash takes everything",
	"wal/snapshot/walk.go: sha.Write":   "a hash takes everything",
	"wal/vfs/vfs.go: f.Close":           "closes a file that was only read",
}

const (
	docLinesMax      = 150
	functionLinesMax = 70
	fileLinesMax     = 500
)

// longFunctions and longFiles list what may exceed the limits: exactly as long as it is now, and why. A function is
// named "path: Name" or "path: Type.Name".
var (
	longFunctions = map[string]exception{}
	longFiles     = map[string]exception{}
)

func house(t *testing.T) *tree {
	t.Helper()
	h, err := loadTree(os.DirFS("."))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func report(t *testing.T, problems []string) {
	t.Helper()
	for _, p := range problems {
		t.Error(p)
	}
}

func TestImportGraph(t *testing.T)       { report(t, checkImports(house(t), mayImport)) }
func TestConsensusIsPure(t *testing.T)   { report(t, checkPurity(house(t), "engine/consensus")) }
func TestConsensusMapOrder(t *testing.T) { report(t, checkMapRange(house(t), "engine/consensus")) }
func TestDocFiles(t *testing.T)          { report(t, checkDocs(house(t))) }
func TestFunctionLength(t *testing.T)    { report(t, checkFunctionLength(house(t), longFunctions)) }
func TestFileLength(t *testing.T)        { report(t, checkFileLength(house(t), longFiles)) }
func TestGoStatements(t *testing.T)      { report(t, checkGoStatements(house(t), goFiles)) }
func TestNoSleepInTests(t *testing.T)    { report(t, checkSleeps(house(t), sleepFiles)) }
func TestPanicsAreBugs(t *testing.T)     { report(t, checkPanics(house(t))) }
func TestLogErrorsAreUsed(t *testing.T)  { report(t, checkIgnoredErrors(house(t), "wal", quietErrors)) }
func TestErrorsLiveTogether(t *testing.T) {
	report(t, checkErrorFiles(house(t)))
}
func TestNoEnvironment(t *testing.T) {
	report(t, checkEnvironment(house(t), "codec", "pipeline", "wal", "netio", "engine"))
}
func TestNoOpenEnds(t *testing.T) { report(t, checkOpenEnds(house(t))) }
