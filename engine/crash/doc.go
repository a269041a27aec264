// Package crash holds the tests that kill whole nodes and feed them what they should never see. It has no code of its
// own beside them.
//
//	clients: closed loop, and many in flight          each put carries (client, serial)
//	   |  asked, acked, refused, unknown
//	   v
//	  book  <----- pipe ----- child process: three nodes, TCP, WAL     killed, or its disks lose power
//	   |    <---------------- three nodes in this process: vfs.Mem     disks lose power
//	   v
//	 check <----- the logs as the crash left them, read without the engine
//	   +   <----- the state machines of the nodes that were opened again
//
// # What the checker holds the engine to
//
//   - Each acknowledged put is found by its identity at the log id it was acknowledged with, on a quorum of logs.
//   - No identity stands in a log twice: a client repeats a put only after an error that says that nothing happened.
//   - A put whose last answer was such an error is in no log.
//   - In each log the serials of a client ascend: a client's puts are in the order in which it made them.
//   - Where two logs hold the same log id they hold the same bytes.
//   - After each crash the cluster elects a leader and acknowledges new puts.
//
// The logs are copied before they are read: opening a log ends in a seal, and one on a crashed node's own disk would
// claim that the node was closed cleanly.
//
// # How nodes die
//
//   - kill_test.go: SIGKILL of the process that runs the three nodes.
//   - powercut_test.go: power cut of one, two or all nodes over [vfs.Mem], at a random operation of the disk, also while
//     a node repairs what the cut before left, with slow disks, and behind leaders that were cut off from the others and
//     deposed; and proof that the checker notices a disk whose sync lies.
//   - snapshotcut_test.go: the same while nodes take snapshots, purge their logs and install what others send; and a cut before
//     each single operation of taking and of installing one. After each there is an intact snapshot that reaches the log's
//     beginning.
//   - newnode_test.go: a cut before each operation of a node that gets to know its cluster. What it had noted of its peers is
//     gone, and the cluster needs it at once.
//   - ext4_linux_test.go: the whole node on loop-mounted ext4 that is shut down under it, and proof that the test fails
//     when the sync of the group commit is taken out of the code; reclaim_linux_test.go: a log alone, while it gives back the
//     space of old segments.
//
// Each kind counts what it really did (kills with puts in flight, bytes taken, canaries gone) and fails below a minimum.
//
// # What nodes are fed
//
// directory_test.go: directories of others, in use, or damaged. fulldisk_test.go and fulldisk_linux_test.go: no space
// left. coldread_test.go: a log that can't be read back. strangers_test.go: garbage and candidates nobody knows on the peer port. limits_test.go:
// proposals and addresses that can't be taken.
//
// # Read in this order
//
// put_test.go (identities), book_test.go (the checker), load_test.go (clients and state machine), disklog_test.go (logs
// read without the engine), powerdisk_test.go (disks that lose power), child_test.go and parent_test.go (the process that
// is killed, and its killer), journal_test.go (what nodes say of themselves when a test fails), then the tests; main_test.go
// has the flags.
//
// # Decisions
//
//   - A random run prints its seed, and -crash.seed repeats its choices. It does not repeat the interleaving of
//     goroutines, so a failure may need several runs to come again.
//   - The power cuts over memory run in a testing/synctest bubble: elections take no real time there, and a cluster that
//     hangs fails at once.
//   - A disk without power fails each operation instead of vanishing. Its node stops by itself, and what it still says
//     until then rests on syncs before the cut, as if the network had delayed it.
package crash
