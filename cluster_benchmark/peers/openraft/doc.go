// Package openraft holds a Rust program that measures the published crate openraft under the load of the suite, and a test
// that it does so. Of the suite it shares no code, only what package peer defines: one request on standard input, one
// result line on standard output. ./bench.sh builds it where cargo is present; elsewhere the target is left out with a line.
//
//	clients, tasks of a tokio runtime -> Raft::client_write -> the core's channel -> leader's core: append to the log
//	                                                                                    |            \-- streams of
//	      the state machine's task, in batches <-- commit <-- quorum <------------------+                appends --> followers
//	                  |
//	                  \-> oneshot channels -> clients
//
// # How it is configured
//
// The workload is that of openraft's own benchmark, benchmarks/minimal in its repository, with the suite's clients, histograms
// and safety check; where that benchmark leaves a choice, as was fastest on two cores:
//
//   - Version 0.10.0-alpha.37, the newest published one: under load it does more than the last 0.9.
//   - The log is in memory: a deque under a mutex, where the benchmark has a BTreeMap under an asynchronous lock.
//   - Messages are calls of the other node's Raft. Appends go as a stream (stream_append), so that several are under way.
//   - Config as there: elections after 200 to 2000 ms, 1024 entries per append, purges of 1024 entries; by default snapshots every
//     5000 entries, with 1000 kept behind. A snapshot holds the state that the safety check looks at, so that a node that
//     falls behind can be given it.
//   - Several leaders per term are allowed (leader_id_adv), and a batch of one needs no allocation (InlineBatch).
//   - Two tokio runtimes, one for nodes and one for clients, each with a worker per core. The benchmark's 1 for clients and 16 for
//     nodes are for ten cores.
//   - Built with cargo's release profile, thin LTO and one codegen unit; the system's allocator.
//
// # What differs from the other targets
//
//   - The clients are tasks, not goroutines; otherwise they do the same: a window issues all its puts, then awaits them all; a
//     batch is one client_write_many.
//   - Store memory and net inproc only: the crate has neither a log in files nor a transport, and ones of ours would be what is
//     measured. The closed loop only. Anything else is refused, and the table says so.
//   - There is no garbage collector: gogc is 0. Bytes allocated are not counted. Frames are the batches that the first node's state
//     machine was given.
//   - A failed put is always of unknown fate: openraft answers one that it would not take as it answers one that it had
//     appended before it lost the lead.
//
// # Promises
//
//   - The safety check is the suite's: every acknowledged put is applied on every replica, once, at the log id that was
//     answered, with equal hashes.
//   - The request is checked as package peer checks it, and exit codes are the same; SIGINT ends early with what was measured.
//   - Cargo.lock fixes every crate.
//
// # Reading order
//
// src/main.rs; request.rs; measure.rs, from the start to the result line; cluster.rs; load.rs, the clients; recorder.rs;
// safety.rs; log.rs, machine.rs, network.rs and types.rs, what openraft asks of its user; system.rs.
package openraft
