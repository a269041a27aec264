// Package target makes what is measured: a cluster of this engine, or one of the ceilings, which show what the machine
// allows without Raft.
//
//	millrace          clients -> Intake -> leader's loop -> WALs and networks of all nodes -> quorum -> answers
//	ceiling-handoff   clients -> Intake -> one goroutine ---------------------------------------------> answers
//	ceiling-disk      clients -> Intake -> one goroutine -> a file per node, write + fdatasync -> quorum -> answers
//	ceiling-net       clients -> Intake -> one goroutine -> loopback TCP -> another goroutine -> back ---> answers
//
// # Promises
//
//   - All targets are driven by the same clients through the same [pipeline.Intake], with the same wake of each client
//     and the same runtime.Gosched before the intake is drained. What differs is only what happens in between.
//   - ceiling-disk writes each batch to every file, which was preallocated and written over before, and syncs each
//     with one fdatasync for all that waited; a batch is answered when a majority of the files has it.
//   - ceiling-net sends everything that waited in one write and reads one byte of answer: a round trip at a time. An
//     engine that has several round trips under way may exceed it; it shows what one costs, and no run is invalid
//     because of it.
//   - Close answers everyone, leaves no goroutine and no file.
//   - The cluster tells where the time of some puts goes ([Staged]): of all that its leader took, since the reading before.
//   - The cluster answers reads, which are made as the scenario says; a read returns up to which index the state machine was
//     that it looked at. Ceilings have nothing to read.
//   - The cluster plays events ([Eventful]), which really happen and are put right again when the measured time is over. What
//     did not happen is an error.
//
// # Decisions
//
//   - ceiling-disk takes the next batch when a majority has the one before: a sync is under way meanwhile, and what
//     waits for it grows into one large batch. A form that took and handed on at once, so that each file's writer
//     found several small batches, was measured too: it is slower by 15 to 80 %, since clients are then woken in
//     small groups. A file that lags behind the majority takes all that waits for it when its sync is over.
//   - Stages are measured in every run: two thousand puts a second are followed, whatever their rate, which costs less than
//     can be told from noise. --stages off shows that.
//   - A leader is killed by closing its node with no time to answer what it has taken: callers learn that the fate of their
//     puts is unknown, peers lose their connections without a word, the office is not handed over, and the node comes back with
//     its log alone. A process that is killed differs in that its log is not sealed, which only matters to a node that may
//     take its leadership up again, and this one may not.
//   - A slow follower has a slow disk: each sync takes 100 ms longer, whatever store and network there are. That is neither
//     dead nor bound in bytes: it has all entries, late.
//   - Snapshots carry 64 MiB beside the benchmark's own small state, and nothing is taken by policy. All nodes take theirs at
//     once, as they would by policy, since they have applied the same. They lie in files whatever the store is. All logs are
//     purged up to the newest one before a learner joins, so that it is sent that, and not the entries from the first one on.
//     It is checked at the end like the other nodes, and no client reads there.
//   - Nodes of a cluster run in this process and listen on free ports of 127.0.0.1. Those of package node run elsewhere.
//
// # Reading order
//
// target.go, what a target is; handoff.go, the simplest one; disk.go, net.go; cluster.go, with log.go, stages.go, read.go and
// event.go, with a file for each event; errors.go.
package target
