// Command dragonboat measures github.com/lni/dragonboat/v4 under the suite's own clients: target dragonboat-tan with its log
// engine tan, target dragonboat-pebble with its default, pebble. It is a module of its own, so that nothing of what it needs
// comes into the engine's.
//
//	clients -> NodeHost.Propose, each on its own goroutine -> the shard's queue
//	               |
//	leader's step worker: append, send, save (tan or pebble: one sync a round)
//	               |            \-- TCP or channels --> followers' step workers: the same
//	             commit
//	               |
//	apply worker: the state machine, in batches -> RequestState -> clients
//
// # How it is configured
//
// As who knows the library would:
//
//   - One group of three replicas, each in a NodeHost of its own. Clients propose on the leader's host, with the NoOP
//     session, which keeps nothing, and give each RequestState back when they have its answer.
//   - The state machine is a concurrent one: it gets committed puts in batches.
//   - One worker per stage of its engine and one shard of its log, as there is one group: more would only wake and look.
//   - A full queue (ErrSystemBusy, from 2,048 puts on that the step worker has not taken yet) is back pressure: the caller
//     waits until an answer to another put makes room, and tries again.
//   - Over TCP its own transport without TLS; within the process its plugin that hands encoded messages through channels.
//     It has none that spares encoding them.
//   - Durable: the log engine writes files and syncs once per round of the step worker; messages to followers leave before the
//     leader's own sync. In memory: the same log engine on files of its MemFS, as it has no log without files: what encoding and
//     indexing costs remains.
//   - pebble has its default settings; tan's buffers are 4 MiB instead of 128, see storage.go.
//   - Snapshots every 131,072 entries, with 262,144 entries kept behind: memory and files stay bounded. They hold
//     nothing, as the state machine only checks.
//   - A tick of 10 ms (RTTMillisecond), heartbeats every 100 ms, elections after 1 to 2 s, with CheckQuorum and PreVote: times
//     that three nodes on two busy cores keep. No quiescing, no log output, no metrics.
//
// # Promises
//
//   - The clients and the state machine are those of the other targets. The library does not tell an entry's term; log ids
//     carry its index, at which there is one entry on all replicas.
//   - A put that the library refused, or dropped since nobody led, fails as such. Any other failure says that its fate
//     is not known.
//   - Bytes and syncs of the log are counted with tan, whose writes pass through a counter. With pebble they are not, and stand
//     as 0: what counts them would take preallocation and fdatasync from it. Frames are the batches that the state machine
//     of the leader was given.
//   - Close answers everyone and leaves no goroutine.
//
// # Decisions
//
//   - The library's own way in is used, not the engine's intake: its queue is made for callers that wait.
//   - A put whose caller does not wait is answered by one goroutine per node, in the order in which they came.
//   - The length of the queue and the number of connections, which can be set only by a file in the working directory, are as
//     the library has them.
//   - Before a measurement, and at its end, a linearizable read of each node tells that it has applied everything.
//
// # Reading order
//
// main.go; cluster.go, the target; node.go, its puts; machine.go; storage.go; logging.go; errors.go.
package main
