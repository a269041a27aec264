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
//
// # Decisions
//
//   - ceiling-disk takes the next batch when a majority has the one before: a sync is under way meanwhile, and what
//     waits for it grows into one large batch. A form that took and handed on at once, so that each file's writer
//     found several small batches, was measured too: it is slower by 15 to 80 %, since clients are then woken in
//     small groups. A file that lags behind the majority takes all that waits for it when its sync is over.
//   - Stages are measured in every run: two thousand puts a second are followed, whatever their rate, which costs less than
//     can be told from noise. --stages off shows that.
//   - Nodes of a cluster run in this process and listen on free ports of 127.0.0.1. Those of package node run elsewhere.
//
// # Reading order
//
// target.go, what a target is; handoff.go, the simplest one; disk.go, net.go; cluster.go, with log.go, stages.go and read.go; errors.go.
package target
