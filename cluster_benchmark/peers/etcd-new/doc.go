// Command etcd-new measures the newest release of etcd's raft library (go.etcd.io/raft/v3 v3.7.0) with the write-ahead
// log of the newest etcd (go.etcd.io/etcd/server/v3 v3.7.3) under the suite's own clients. It is a module of its own, so
// that nothing of what it needs comes into the engine's.
//
// It is the command etcd beside it, line by line, but for the types: with 3.7 messages and entries are pointers to
// structs of Google's protobuf, where 3.6 had plain structs of gogo's. One module can't hold both versions.
//
//	clients -> pipeline.Intake -> leader's driver -> one MsgProp with all puts that wait
//	                                 |
//	              one Ready: appends to the followers -> WAL Save, one fdatasync -> other messages -> apply, answer
//	                                 |
//	   memory, inproc: messages go to the other driver's inbox
//	   tcp:            a connection per pair of nodes and direction, length and protobuf, one flush for all that waits
//
// # How it is configured
//
// As who knows the library would:
//
//   - A goroutine per node drives a RawNode. It yields before it drains its inbox and the intake: clients that are about
//     to put do so first, and one Ready carries hundreds of entries.
//   - All puts that wait are stepped as one MsgProp; each put is an entry.
//   - Appends leave before the leader has written them itself, as the library allows and etcd does.
//   - One WAL Save, with one sync, for each Ready. Readies are large, so syncs are few.
//   - 512 appends in flight of 1 MiB each; 64 MiB committed entries per Ready; no limit of uncommitted bytes in the
//     library, but 64 MiB in the driver, behind which puts wait in the intake.
//   - PreVote and CheckQuorum on; heartbeats every 100 ms, elections after 1 s, as etcd's defaults. Forwarding is off:
//     clients find the leader.
//   - The log in memory is raft's MemoryStorage. What all nodes have applied is compacted, and the WAL told so; of its
//     files the last five stay, as in etcd.
//
// # Promises
//
//   - The clients, the intake and the state machine are those of the other targets; an answer carries the entry's term
//     and index as log id, which the safety check compares on all replicas.
//   - A put is answered once a majority has it, where there is a WAL in it and synced, and this node has applied it.
//   - A put that was not proposed fails as such; one whose fate is not known says so.
//   - Bytes and syncs of the WAL are those that the library counts.
//   - Close answers everyone and leaves no goroutine.
//
// # Decisions
//
//   - Raft tells its own blank entries from empty puts by nil data, which protobuf keeps apart from empty data.
//
//   - Entries committed earlier could be applied before the sync of a Ready, as etcd's server does beside it. It was
//     measured with 3.6, in five alternating runs: clients are then woken in smaller groups, more syncs follow, and durable
//     puts are a sixth fewer.
//
//   - The cluster begins with a snapshot at index 1 that names the members. No node is ever sent a snapshot: what is
//     compacted was applied by all.
//
//   - Raft 3.7 clones every entry that is proposed. It is part of what is measured.
//
// # Reading order
//
// main.go; cluster.go, the target; node.go, its driver; storage.go; network.go; errors.go.
package main
