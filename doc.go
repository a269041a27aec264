// Package millrace is the root of the module: a Raft engine for high-write workloads, to be embedded in a Go program,
// and the benchmark suite that shows what it does on a given machine. There is no code here but the house test; a
// program imports [github.com/millrace/millrace/engine].
//
//	cluster_benchmark/     measures clusters: workloads, histograms, comparisons, safety check
//	        |
//	     engine/           what a program embeds. One loop per group owns that group's state.
//	        |-- engine/consensus/    the protocol as a pure function: Step(now, input) -> output
//	        |-- engine/shipment/     a snapshot's way to a peer
//	        |-- engine/storagetest/  cases that a log or state machine of your own must pass
//	        |
//	  +-----+------+
//	  |     |      |
//	pipeline/ wal/  netio/   the stages of the hot path, the durable log, the network. Siblings: none imports another.
//	  |     |                pipeline/session/ keeps what sessions were answered, wal/snapshot/ files of a state
//	  |     |      |
//	  +-----+------+
//	        |
//	     codec/            the words of the protocol (Term, Index, Vote, Entry, Frame, messages) and their bytes
//
//	profiles/              workload profiles, used by cluster_benchmark alone
//	examples/              programs that embed the engine
//
// Imports go down only. That, and the other rules this house is kept by, are checked by the house test: house_test.go
// lists the rules with their exceptions, house_rules_test.go and house_size_test.go implement them, and
// house_self_test.go shows that each of them can fail. Each folder opens with a doc.go that says what the folder is
// for, what it promises, and in which order to read its files.
//
// To start reading, take one put on its way: engine/doc.go, then pipeline/doc.go, wal/doc.go and netio/doc.go; codec
// for the bytes, engine/consensus for the decisions.
package millrace
