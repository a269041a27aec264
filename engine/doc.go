// Package engine is what a program embeds: a Raft node with its own write-ahead log and network, behind one handle.
//
// # Starting
//
// A program brings a state machine, with an Apply that takes committed entries in their order and answers each of them:
//
//	func (m *machine) Apply(entries []engine.Entry, results []engine.Result) error
//
//	node, err := engine.Open(engine.Config{NodeID: 1, ClusterID: "orders", Dir: dir, Listen: "127.0.0.1:7001"}, &machine{})
//	membership := codec.NewMembership(codec.SeveralLeadersPerTerm, codec.Node{ID: 1, Address: "127.0.0.1:7001"}, ...)
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
// [Config].Stages is told where the time of some puts goes, by [Stage], for histograms.
//
// # Closing
//
// [Raft.Close] answers what the node has taken, for as long as [Config].CloseTimeout allows, and seals the log: a leader
// that is opened again soon goes on in its office. One that stays away hands it over first, with
// [Raft.TransferLeadership], so that nobody waits for an election.
//
// # Errors
//
// [FateOf] answers what a caller has to know before it tries again: whether what it asked for was done, was certainly
// not done, or nobody knows. Every error is in one of these classes, by the outermost of those that it is made of: what
// that wraps, says why. Values, named Err..., are told by errors.Is, types by errors.As.
//
//	class                error                                         fate       what to do
//	not the leader       NotLeaderError                                not done   ask its Leader, where it names one
//	                     LeadershipError                               not done   give up the office that was meant
//	                     ErrLeaderLeaves, ErrTransferInProgress        not done   ask the next leader
//	membership refused   ErrMembership; with it IntersectionError,     not done   correct the change
//	                     WitnessQuorumError; ErrNotMember,
//	                     ErrInitialized
//	                     ErrChangeInProgress, ChangedError             not done   read the membership again
//	                     BehindError, StagedError                      not done   the same call again
//	quorum not enough    QuorumError                                   not done   try again, here or elsewhere
//	busy                 BusyError says what is full; ErrBusy          not done   a little later
//	                     ErrInFlight                                   not done   wait for the other call
//	unknown fate         UnknownError; a cause is DiskStallError       unknown    find out, or have a session
//	                     OpenCommandError                              unknown    Session.Retry
//	                     SessionExpiredError, SessionAnsweredError     unknown    look at the state; a new session
//	                     TransferError                                 unknown    see who leads
//	done                 AppliedError                                  done       the answer is lost, the effect is not
//	certainly not done   ForwardError, ErrTooLarge, ErrTransferTarget, not done   as it says
//	                     ErrMayNotCampaign, ErrNoLeaderToForget,
//	                     ErrLeaseReads, ErrLeaseReadsOff, ErrNoState,
//	                     LagError, ErrNothingApplied, ErrHeaderOnly,
//	                     ErrNothingToPurge, ErrPurged, PurgedError,
//	                     ErrNotSnapshotter, ErrNotAdopter,
//	                     ErrRestoreGivenUp, context.Canceled,
//	                     context.DeadlineExceeded
//	bad argument         ConfigError, ArgumentError, netio.ErrConfig,  not done   correct the program
//	                     netio.ErrInsecure, netio.ErrStarted,
//	                     netio.ErrClosed
//	wrong directory      wal.ErrIdentity, snapshot.ErrForeign,         not done   see whose it is
//	                     vfs.ErrLocked, fs.ErrExist, fs.ErrNotExist
//	corrupt              ErrRestoreMismatch, codec.ErrCorrupt,         not done   another copy, or another program
//	                     codec.ErrVersion, consensus.ErrLogState
//	fatal                StateMachineError, WitnessError,              not done   Raft.Err has it; mend what it names,
//	                     ErrWitnessLog, IncarnationError,                         or replace the node under a new id
//	                     consensus.ErrCommittedConflict,
//	                     consensus.ErrTermsExhausted
//	                     wal.ErrPoisoned, the operating system's own   unknown    the same, and look what is there
//	stopped              ErrStopped, with why; snapshot.ErrClosed      not done   another node
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
// # Reading order
//
// inside.go, how a node works; config.go and raft.go, what a program sees; submit.go, session.go and forward.go; read.go,
// read_round.go and barrier.go; membership.go and change.go, leadership.go, the rest of it; loop.go, one round; carry.go,
// what a step asks for; errand.go and change_errand.go; feed.go, the way to the state machine; notice.go; readlog.go;
// snapshots.go, snapshot_policy.go, snapshot_take.go, snapshot_start.go, snapshot_send.go, snapshot_receive.go, purge.go;
// export.go, restore.go, restore_collect.go; mailbox.go and peers.go; close.go; metrics.go, watch.go, wait.go, inspect.go,
// event.go, event_stream.go, callback.go, logging.go and stage.go, how one sees in; errors.go and fate.go; adapters.go, our log and
// transport.
//
// cost_test.go measures what a dead, slow or removed peer costs the others, when asked to:
//
//	go test ./engine -run PeerCost -cost.rounds 20 -v
package engine
