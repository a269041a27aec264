// # One node
//
//	callers        Propose, ProposeAsync, ProposeBatch, Initialize, ChangeMembership, TransferLeadership,
//	   |           Trigger, SetSwitches, ForgetLeader, Membership, Leader, Metrics, ReadLog, Export, Restore, Close
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
// and never waits for anything but mail and the module's next deadline. What callers ask for beyond one step (a change of
// membership with its learners, joint and final entry, a transfer) is an errand: a small state machine that the loop lets
// go on at the end of each round.
//
// # Snapshots
//
//	Applier -- Capture --> a goroutine -- file --> snapshot.Store <-- file -- shipment.Receiver <== leader's pieces
//	                                                  |    |
//	                  Restore (start, install) <------'    '--> shipment.Sender, one a peer ==> a peer behind the log
//
// The keeper, part of the loop, decides by [Config].Snapshot when one is taken, purges behind it what [Config].Keep does not
// keep, sends the newest one to peers that the core names, and installs what came in when the core says so. Everything that
// takes a disk runs beside the loop: capturing and restoring on the applier, writing, sending and receiving on goroutines
// of their own.
//
// # Decisions
//
//   - A flush is reported by the sequence number of its write and not by a log id: numbers only grow, whatever was
//     truncated and written again in between, so a late report can't credit an overwritten tail.
//   - A follower learns of a commit with the next append or heartbeat. Nothing is sent for it alone.
//   - Packets of a peer are dropped until its incarnation is durable here; see peers.go.
//   - A proposal is refused at once on a node that does not lead, unless its caller asks for it to be forwarded. A forwarded
//     one is sent once: only a caller, or a [Session], can know that it may be proposed again. The leader takes it from members
//     alone, learners included: a node that was removed writes nothing any more.
//   - Which nodes talk to this one: any of the same cluster whose id was not seen with another incarnation. A node that
//     lags behind a membership change must hear a leader it does not know, and answer it, or it could never catch up, so
//     strangers can't be refused by the membership known here. The module drops what a stranger may not do, only so many
//     are remembered (peers.go), and the transport dials them back only while they are connected.
//   - A member that leaves stays a peer of the transport until its leaving is committed: a leader that removes itself
//     needs the others' acknowledgements for that, although by their membership it is gone already.
//   - A node is a witness by [Config.Witness], which must agree with the membership: one without a state machine must not
//     become an ordinary member by a slip in a membership, nor a state machine be starved by one.
//   - Commands of sessions are entries of a kind of their own, in frames of their own: plain proposals pay nothing for them.
//   - A notice at commit ([Proposal].Committed) comes from the loop, before the frame is handed to the state machine, and does
//     not wait for room there.
//   - A snapshot that can't be taken costs the state machine nothing: it is tried again, ever later, and the log grows.
//   - What was to be taken while one was being written is looked at again when that is done, so no trigger is lost.
//   - A state that is restored into a running cluster comes through the log in parts; they are collected in a file, and replace
//     the state where the last one stands. It depends on the log alone whether they do. No snapshot is taken in between: who
//     started from it would lack the beginning.
//   - A change that meets another one in progress is refused and not queued: the caller may want to look at what that one
//     made. Only the moment until a new leader has committed its first entry is waited for.
//   - At restart a state machine is given the newest intact snapshot and what the log holds behind it, an [OnDisk] one what
//     it does not hold. That is verified first, and restored while the node votes and takes entries already. An older
//     snapshot serves where the newest is damaged, as far as the log reaches back; else the node waits for its leader's.
//   - An on-disk one is given only what is durable in this node's own log too, or a crash could leave it with entries that
//     the log lost and others then took the place of.
package engine
