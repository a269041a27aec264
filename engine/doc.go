// Package engine is what a program embeds: a Raft node with its own write-ahead log and network, behind one handle.
//
// # Starting
//
// A program brings a state machine, an Apply that takes committed entries in their order and answers each of them:
//
//	node, err := engine.Open(engine.Config{NodeID: 1, ClusterID: "orders", Dir: dir, Listen: "10.0.0.1:7000"}, stateMachine)
//	err = node.Initialize(ctx, membership) // on one node, once in the life of a cluster
//	leader, err := node.WaitLeader(ctx)
//	defer node.Close()
//
// [Open] starts a node and gives the state machine what it had: the newest snapshot, and the log behind it. A node that
// is new to a cluster is opened the same way and not initialized; the leader adds it. [Raft.Done] and [Raft.Err] tell
// when and why a node ended by itself.
//
// # Proposing
//
// [Raft.Propose] on the leader returns when the entry is on the disks of a quorum, committed, and applied here, with
// the state machine's answer. [Raft.ProposeBatch] proposes many at once, [Raft.ProposeAsync] does not wait.
// [Raft.Submit] has the rest: a notice at commit, a proposal only under a given leadership ([Raft.ProposeIf] for
// short), one that a node which does not lead passes on. Without that such a node refuses with a [NotLeaderError], which
// names the leader.
//
// A proposal whose answer got lost may have taken effect. In a [Session] it can be made again: [Session.Do] does until
// it is answered, at whichever node leads, and it takes effect once. [Raft.OpenSession] opens one, [ResumeSession]
// takes it up in another process.
//
// # Reading
//
// A program reads its state machine itself, after it has asked whether that is recent enough:
//
//   - [Raft.EnsureLinearizable]: as if read on the leader now; on any node; one message each way for all that wait.
//   - [Raft.LeaseRead]: the same on the leader without a message, by clocks; see [Config].
//   - [Raft.ReadStale]: no older than that long ago; on any node, mostly without a message.
//   - [Raft.ReadIndex]: the index alone, to wait for it elsewhere.
//   - [Raft.Barrier]: an entry of its own, applied here behind everything before it.
//
// # Snapshots and the log
//
// A state machine that is a [Snapshotter] is captured while it goes on; one that is [OnDisk] keeps its state itself.
// When a node takes a snapshot is said by [Config].Snapshot, how much of the log stays behind it by [Config].Keep;
// [Trigger.Snapshot] and [Trigger.Purge] do either now. Peers that are too far behind are sent a snapshot by
// themselves. [Raft.ReadLog] reads the log from outside. [Raft.Export] writes the state into a directory, of which
// [Import] makes another cluster and [OpenExport] a stream; [Raft.Restore] brings a state into this one. Package
// engine/storagetest tests a state machine or log of one's own.
//
// # Membership and leadership
//
// [Raft.ChangeMembership] takes any number of edits and makes one change of them: [AddVoter], [AddLearner], [Promote],
// [Demote], [Remove], [ReplaceVoters], [SetNode], [SetQuorum], [SetConfigs], [IfMembership]. [Raft.Membership] says
// what is in effect, [Raft.WaitCaughtUp] waits for learners. [Raft.TransferLeadership] hands over; [Trigger.Elect]
// campaigns, [Raft.ForgetLeader] lets others win sooner, [Raft.SetSwitches] turns parts of the protocol off.
//
// # Seeing in
//
// [Raft.Metrics] is everything at one moment; [Watch] follows any value of it, [Raft.Wait] waits for a [Condition], and
// [Raft.Inspect] looks from inside the loop. [Raft.OnLeader] runs something for as long as this node leads,
// [Raft.OnLeaderChange] and [Raft.Events] tell what happens. [Config].Logger gets what an operator should know.
//
// # Errors
//
// [FateOf] answers what a caller has to know before it tries again: whether what it asked for was done, was certainly
// not done, or nobody knows. Every error is in one of these classes; values are told by errors.Is, types by errors.As.
//
//	class                error                                         fate       what to do
//	not the leader       NotLeaderError                                not done   ask Leader, where it names one
//	                     LeadershipError                               not done   give up the office that was meant
//	                     ErrLeaderLeaves, ErrTransferInProgress        not done   ask the next leader
//	membership refused   ErrMembership; with it IntersectionError,     not done   correct the change
//	                     WitnessQuorumError; ErrNotMember,
//	                     ErrInitialized
//	                     ErrChangeInProgress, ChangedError             not done   read the membership again
//	                     BehindError, StagedError                      not done   the same call again
//	quorum not enough    QuorumError                                   not done   try again, here or elsewhere
//	busy                 ErrBusy, BusyError says what is full          not done   a little later
//	                     ErrInFlight                                   not done   wait for the other call
//	unknown fate         UnknownError; causes are DiskStallError,      unknown    find out, or have a session
//	                     QuorumError, a context's error, others
//	                     OpenCommandError                              unknown    Session.Retry
//	                     SessionExpiredError, SessionAnsweredError     unknown    look at the state; a new session
//	                     TransferError                                 unknown    see who leads
//	done                 AppliedError                                  done       the answer is lost, the effect is not
//	certainly not done   ForwardError, ErrTooLarge, ErrTransferTarget, not done   as it says
//	                     ErrMayNotCampaign, ErrNoLeaderToForget,
//	                     ErrLeaseReads, ErrLeaseReadsOff, ErrNoState,
//	                     LagError, ErrNothingApplied,
//	                     ErrNothingToPurge, ErrPurged, PurgedError,
//	                     ErrNotSnapshotter, ErrNotAdopter,
//	                     ErrRestoreGivenUp, a context's error by itself
//	bad argument         ConfigError, ArgumentError                    not done   correct the program
//	corrupt              ErrRestoreMismatch; what wraps                not done   another copy
//	                     codec.ErrCorrupt
//	fatal                StateMachineError, WitnessError,              the node   Raft.Err has it; repair, or replace
//	                     ErrWitnessLog, IncarnationError, those of     stopped    the node under a new id
//	                     the log
//	stopped              ErrStopped, with why in it                    not done   another node
//
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
// # What a node promises
//
//   - A proposal is answered with a result only after its entry was flushed by a quorum, committed, and applied here.
//   - Votes and acknowledgements leave a node only after they are durable. A leader's frames leave at once, beside its
//     own disk (Raft thesis 10.2.1), and a quorum of flushed copies commits even if the leader's own is not among them.
//   - Every accepted proposal is answered once; one whose fate is not known is answered so, with an [UnknownError].
//   - A command of a [Session] takes effect at most once, however often and on whichever nodes it is proposed, also after a
//     restart or from a snapshot. A retry gets the first answer, or an error that says what is known; see [Session].
//   - After an error of its log or its state machine a node takes no further step: it stops, [Raft.Err] says why, and
//     nothing is acknowledged that may not be on disk.
//   - Everything that waits is bounded in bytes; the fields of [Config] say by how much.
//   - [Raft.ChangeMembership] returns when the membership that stays is committed and applied here. No new voter can hold
//     up commits by what it lacks: it is a learner until it has caught up.
//   - A leader that hands over loses nothing it has accepted: what is in its log is answered as usual when the next leader
//     commits it; what waits is answered with that leader's name.
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
//
// # Reading order
//
// config.go and raft.go, what a program sees; submit.go, session.go and forward.go; membership.go and change.go,
// leadership.go, the rest of it; loop.go, one round; carry.go, what a step asks for; errand.go and change_errand.go;
// feed.go, the way to the state machine; readlog.go; snapshots.go, snapshot_policy.go, snapshot_take.go,
// snapshot_start.go, snapshot_send.go, snapshot_receive.go, purge.go; export.go, restore.go, restore_collect.go;
// mailbox.go and peers.go; close.go; metrics.go; errors.go and fate.go; adapters.go, our log and transport.
//
// cost_test.go measures what a dead, slow or removed peer costs the others, when asked to:
//
//	go test ./engine -run PeerCost -cost.rounds 20 -v
package engine
