// Package consensus is the Raft protocol of one group on one node as a pure function: [Core.Step] takes the time and one
// event and says what to write, what to send, what is committed and when to call again. It knows no goroutine, lock,
// clock, disk or network; a run is a function of its seed and its inputs. Frames pass through as descriptions
// ([codec.FrameMeta]), never as bytes.
//
//	          Input                                    Output
//	proposal ------.                              .---> Write       one piece for the log, numbered Seq
//	message --------|      .----------------.     |---> Now         messages that promise nothing new
//	flushed(Seq) ---+----> |   Core.Step    | ----+---> AfterFlush  promises: leave when Seq is durable
//	peer down ------|      '----------------'     |---> Commit      what may be applied
//	snapshots ------|     vote, log descriptions,  |---> Refused     with the reason
//	what the caller |     membership, commit,      |---> Reads, Snapshots, Install   confirmed; to be sent; to be restored
//	asks for ------'      peers' progress          '---> Deadline   call again then at the latest
//
// # What it promises
//
// With any loss, delay, repetition and reordering of messages, any pauses and any crashes that
// lose what was not reported as flushed:
//
//   - at most one node leads under a leader id (term, node), and in one life of it only; with one leader per term, at
//     most one node leads in a term;
//   - two logs that hold the same log id are equal up to it;
//   - what is committed is in the log of every later leader, is never cut, and stands at the same index everywhere;
//   - no message promises what is not durable: a vote asked for, granted or followed, entries held;
//   - Commit never goes back in one life, and after a restart starts at most at the log's end, and at least at its beginning;
//   - a snapshot that is installed never takes the state back, and the log goes on behind it without a hole;
//   - a read that is confirmed misses nothing that was committed anywhere before it was asked for; by lease, if clocks keep
//     [Config].ClockDriftMax;
//   - no message, whoever sent it, makes Step panic. A message that no correct peer sends is dropped and counted
//     ([Status].Malformed). One that can only mean that somewhere a promise was broken ends in [Output].Fatal.
//
// A panic "BUG: ..." is this package's or its caller's fault. Raft trusts its voters: one that lies can still stop or
// fork a group.
//
// # The caller's part
//
// It carries writes out in the order of their Seq, each as a whole, and reports them with InputFlushed, at once or many
// together. Now may leave before the write is even begun. AfterFlush is non-empty only where there is a write, and waits
// for it. A Send with a frame names a frame of the log as it stands in that step. What [New] is given must be durable, and
// so must a snapshot be before InputSnapshot or InputInstall speaks of it. The state machine starts from
// [codec.LogState].Snapshot and applies nothing while [Status].WantsSnapshot. It makes and moves the files itself.
//
// # Order of reading
//
//	types.go                 inputs and outputs
//	core.go, dispatch.go     New, Step, and the tables [role][input], [role][message] with one small handler a cell
//	election.go, prevote.go  timeouts, campaigns, votes; asking before a campaign (thesis 3.4, 3.6, 9.6)
//	lease.go                 leases, check-quorum, a leader whose disk hangs (4.2.3, 6.2)
//	replication_leader.go, replication_follower.go   streams, answers; the consistency check, truncation, acks (3.5)
//	base.go, start.go, purge.go                      where a log begins, what a node starts with, removing entries (5.1)
//	snapshot_leader.go, snapshot_follower.go         peers that lack purged entries, installing what they are sent (5.1, 5.3)
//	read.go, read_asked.go, lease_read.go            reads by read index, through the leader, by its lease (6.4)
//	heartbeat.go, probe.go, progress.go, window.go   being heard, finding the match, a peer's state, its window
//	commit.go, quorum.go, quorum_proof.go            counting (3.6.2), quorum systems, why their quorums meet
//	initialize.go, change.go, witness.go             memberships (4): the first, the next, members without entries
//	transfer.go, restore.go, switches.go             handing leadership over (3.10), taking it up again, live switches
//	log.go, frames.go        what the log holds, without its bytes; ring.go: the queue used here and there
//	invariants.go            what holds after every step (with the build tag "invariants": all of it)
//	status.go, refuse.go, errors.go   looking in from outside, what is refused and why
//
// testdata holds traces of whole scenes; paper_test.go follows the sections of the dissertation; example_test.go drives
// three cores with a log, transport and state machine of its own; the folder simulation runs whole clusters under faults.
//
// # Decisions
//
// Votes are openraft's: (term, node, committed), compared by [codec.Vote.Covers] in the mode of the membership. A node
// without membership does not know the mode and takes only steps that both modes allow: after granting T1-N3 it must
// not follow T1-N2 where several leaders per term are ordered, and must not grant T1-N3 after T1-N2 where they are not.
// A leader that is refused for that reason alone resigns and campaigns in a greater term, which both modes take.
//
// Requests for votes wait for the flush of the candidate's own vote. They promise something: that this leader id is
// claimed once, and that the log end they name will not be lost before a grant given to it comes back. (Were they sent
// at once, a candidate that lost its unflushed tail in a crash could ask again in the same term and count a grant that
// was given to the longer log.) For the same reason a stored vote of the node's own is spent at start, committed or not:
// the next campaign takes a greater term. A candidate whose disk hangs so asks nobody and drives no term up.
//
// A greater vote seen in an answer of a voter ends a campaign or leadership and is taken over as an uncommitted vote. It
// is written like any vote, which costs little and keeps one rule (the vote in memory is the newest one written), but
// promises nobody anything: its candidate still has to ask, and its log is compared then. Answers of others than voters
// depose nobody. A learner that holds a greater vote than the leader's, from a campaign it made as a voter, would never
// follow it: the leader campaigns again above that vote, passing its own lease, at most every few timeouts.
//
// A pre-vote is an ordinary vote request with a flag. Its answer rests on what a real one would rest on and is given at
// once, since it promises nothing; so nodes with and without pre-vote understand each other. A refusal teaches the
// asker the term that its next question must exceed, in memory only: else a node with the longer log and a lower term,
// and one with the shorter log and a higher term, would refuse each other for ever.
//
// A vote request that is refused changes no vote. A candidate with a short log hence can't push up the term of those with
// a longer one; they remember its term, in memory, for their own next campaign, it learns from their refusals. One that was
// refused by a voter with a longer log waits a maximum timeout longer. One against which only the greater term of a shorter
// log stands asks again soon: that voter may not know it, and would keep a term ahead for as long as both wait the same
// timeouts. Priorities lengthen a node's timeout until it has stood once since it led or heard a leader: the voters that it
// lets go first may be dead. A request of a node that is no voter by the
// membership here is granted only for a log that is newer: it may have become one by an entry that is missing here. For the
// same reason a learner that must refuse a candidate with less log may campaign, with the voters that it knows: the candidate
// may need its vote, and everybody else who held what the learner has more may be gone (thesis 4.2.2 has this only of
// those who were voters).
//
// A leader refuses votes while a write quorum has answered something it sent less than a minimum election timeout ago,
// or it became leader less than that ago. When that ends it steps down (check-quorum), so that its heartbeats don't hold
// back followers who could elect another. A leader that asked a peer to campaign has lent its lease: it has it back when
// the peer has answered a later heartbeat, for by that the peer has heard a stamp that makes it disobey older requests.
//
// Each message carries its sender's vote mode. Two nodes that were initialized with different modes refuse each other's
// messages: what one promises means something else to the other.
//
// All of a follower's answers under a leader's vote, also conflicts and heartbeat replies, wait until that vote is
// durable: the leader takes each for a sign that this node follows it. An ack waits for everything up to the entry it
// names, and names at most what was verified to match this leader's log. An ack that rests on an earlier write than this
// step's leaves in Now of the step in which that completes; of several the newest is enough.
//
// Replication probes with one empty append until an ack or a hint gives the match, then streams whole frames inside the
// window. A conflict's hint is the follower's greatest entry at or below the asked index whose leader is not above the
// asked leader; the leader takes its own greatest entry under the same rule (etcd/raft's idea, with leader ids for
// terms), so each probe skips a whole leadership of one of the logs. A gap, a failed lane, or two maximum election
// timeouts with frames in flight and no ack start a new stream with a probe at the match; the answer tells how far the
// peer got, so nothing that arrived is sent twice.
//
// A heartbeat carries the last log id known to match there. It verifies the follower's log up to it, and a follower that
// does not hold it says so. A peer that, probed at its match, denies what it had acknowledged has lost durable entries:
// it is shown as Lost, its copies count for no commit, it is probed at the pace of heartbeats and gets nothing else from
// this leader; its match is not turned back, unless [Config.AllowLogReversion] or [InputAllowReversion] says so. A new
// leader knows nothing of this and would fill it up again: telling a wiped node from a new one is the business of
// incarnations, at the handshake.
//
// A joint membership is marked transient, with those who leave at its end, so that any later leader can finish it from
// the entry alone. A membership of several configs that is not so marked was asked for, and stays. A new voter must hold
// all but what is in its window: a change never waits for a node to catch up. A member stays a witness, or none, for as
// long as it is a member: its log can't change kind.
//
// An append that contradicts a committed entry, be it only by its previous log id, ends the node with
// [ErrCommittedConflict] instead of cutting or looping.
//
// A log begins behind a base, a log id with the membership in force there. A previous log id before it matches unseen, for what
// was purged is committed, and only a leader id that can't stand there contradicts. At start a snapshot that the log does
// not hold replaces it in the first step and raises the vote to its last entry's leadership, which is spent if it is this
// node's own: what else was proposed under it is not known here. A node that lost its snapshot and has purged its log still
// votes and holds entries, lets others go first, and hands over what it comes to lead.
//
// A truncation inside a frame leaves a frame with a smaller count and the size of the whole; whoever attaches bytes cuts
// them accordingly, whoever counts the window overestimates by the difference.
//
// The first membership entry has a zero leader id, so it may be made on several nodes; the same membership must then be
// given to all, since nothing could tell two of them apart.
package consensus
