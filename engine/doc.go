// Package engine is what a program embeds: a Raft node with its own write-ahead log and network, behind one handle.
//
//	r, err := engine.Open(engine.Config{NodeID: 1, ClusterID: "orders", Dir: dir, Listen: "10.0.0.1:7000"}, stateMachine)
//	err = r.Initialize(ctx, membership)        // once in the life of a cluster, on one node
//	result, err := r.Propose(ctx, data)        // on the leader: committed, applied, answered
//
// # One node
//
//	callers        Propose, ProposeAsync, ProposeBatch, Initialize, Leader, Metrics, Close
//	   |                                    [Raft]
//	   v
//	pipeline.Intake ----> loop <---- mailbox <---- transport: packets, broken lanes
//	                       |  ^         ^--------- log: flushed up to, frames read back
//	                       |  |         ^--------- applier: room again, failure
//	              consensus.Step
//	                       |
//	      +----------------+----------------+
//	      v                v                v
//	pipeline.CommitStage  StreamStage     Applier ----> StateMachine, callers
//	      v                v
//	  Log (wal)       Transport (netio)
//
// The loop is one goroutine. It owns the Consensus Module and everything that the module decides about; each round it
// takes all mail and all proposals that wait, steps the module, and hands on what it asks for. It never reads the disk
// and never waits for anything but mail and the module's next deadline.
//
// # What a node promises
//
//   - A proposal is answered with a result only after its entry was flushed by a quorum, committed, and applied here.
//   - Votes and acknowledgements leave a node only after they are durable. A leader's frames leave at once, beside its
//     own disk (Raft thesis 10.2.1), and a quorum of flushed copies commits even if the leader's own is not among them.
//   - Every accepted proposal is answered once; one whose fate is not known is answered so, with an [UnknownError].
//   - After an error of its log or its state machine a node takes no further step: it stops, [Raft.Err] says why, and
//     nothing is acknowledged that may not be on disk.
//   - Everything that waits is bounded in bytes; the fields of [Config] say by how much.
//
// # Decisions
//
//   - A flush is reported by the sequence number of its write and not by a log id: numbers only grow, whatever was
//     truncated and written again in between, so a late report can't credit an overwritten tail.
//   - A follower learns of a commit with the next append or heartbeat. Nothing is sent for it alone.
//   - Packets of a peer are dropped until its incarnation is durable here; see peers.go.
//   - A proposal is refused at once on a node that does not lead; nothing is forwarded.
//   - At restart the state machine is given the whole committed log again: it keeps nothing of its own, and there are no
//     snapshots.
//
// # Reading order
//
// config.go and raft.go, what a program sees; loop.go, one round; carry.go, what a step asks for; feed.go, the way to
// the state machine; mailbox.go and peers.go; close.go; metrics.go; errors.go; adapters.go, our log and transport.
package engine
