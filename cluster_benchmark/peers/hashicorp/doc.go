// Command hashicorp measures github.com/hashicorp/raft, durable with github.com/hashicorp/raft-wal, under the suite's own
// clients. It is a module of its own, so that nothing of what it needs comes into the engine's.
//
//	clients -> Raft.Apply, each on its own goroutine -> apply channel -> leader's loop: group commit
//	                                                                        |
//	      StoreLogs (raft-wal: one fsync) -> a replicator per follower -> commit -> BatchingFSM -> futures -> clients
//
// # How it is configured
//
// As who knows the library would:
//
//   - BatchApplyCh on and MaxAppendEntries 1024: the leader's loop takes up to a thousand puts at once, stores them with
//     one call and sends them in one append.
//   - The state machine is a BatchingFSM.
//   - Clients call Apply without a timeout, which spares a timer per put.
//   - Over TCP the library's NetworkTransport with pipelining as it is by default, two calls in flight, which its
//     authors recommend; within the process its InmemTransport.
//   - Durable: raft-wal, and a LogCache of 16,384 entries before it, so that replicators don't read files. In memory: the
//     library's InmemStore.
//   - Snapshots every 2 to 4 s, from 131,072 new entries on, with 262,144 entries kept behind: memory stays bounded. They hold
//     nothing, as the state machine only checks.
//   - Times of elections are the library's defaults. No log output, no metrics sink.
//
// # Promises
//
//   - The clients and the state machine are those of the other targets; an answer carries the entry's term and index as
//     log id, which the safety check compares on all replicas.
//   - A put that the library refused before it appended it fails as such. Any other failure says that its fate is not
//     known.
//   - Bytes and syncs of the WAL are those that raft-wal counts. Frames are the batches that the state machine of the
//     leader was given.
//   - Close answers everyone and leaves no goroutine.
//
// # Decisions
//
//   - The library's own way in is used, not the engine's intake: its apply channel is made for callers that wait.
//   - A put's bytes are copied before Apply, which keeps what it is given.
//   - Close first lets no more puts in and waits for the answers: the library leaves callers waiting for ever whose
//     put is still in the apply channel when it shuts down.
//   - Version 1.7.3: raft-wal 0.4.2 needs a package of go-metrics that raft 1.8.0's requirements have no more.
//
// # Reading order
//
// main.go; cluster.go, the target; node.go, its puts; machine.go; storage.go; errors.go.
package main
