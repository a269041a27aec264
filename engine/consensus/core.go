package consensus

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/millrace/millrace/codec"
)

// Greatest term and index that are taken from a message, so that arithmetic on them can't overflow.
const (
	termMax  codec.Term  = 1 << 62
	indexMax codec.Index = 1 << 62
)

// timeoutMax bounds every timeout, so that adding some to an instant can't overflow.
const timeoutMax = 24 * time.Hour

// deferredMax bounds the replies that wait for an earlier write. Beyond it replies are lost, as messages may be.
const deferredMax = 1024

// deferredSend is a promise that rests on an earlier step's write and leaves once that is durable.
type deferredSend struct {
	seq  uint64
	send Send
}

// Core is the protocol of one group on one node: a function of its inputs. See the package comment.
//
// Owner: the caller's loop; no method may run beside another.
type Core struct {
	cfg Config
	rng *rand.Rand
	now Instant
	due Instant // the deadline that the last step returned
	out *Output // of the running step
	// fatal, once set, is the answer to every step.
	fatal error
	// malformed counts messages dropped because no correct peer sends them, disagreed those of peers with another vote
	// mode, of which disagreedWith was the last.
	malformed     uint64
	disagreed     uint64
	disagreedWith codec.NodeID
	// denials counts peers found lost, of which deniedBy was the last.
	denials  uint64
	deniedBy codec.NodeID
	switches Switches

	// vote is the greatest vote given or followed. Invariant: it never goes back in the order of the vote mode.
	vote codec.Vote
	// voteSeq is the write that carries vote.
	voteSeq uint64
	// spent says that an own vote no longer makes this node a candidate or leader.
	spent bool
	// resume says that the first step may take up the leadership of the spent vote again; see restore.go.
	resume bool
	// role follows from vote, spent and members; see [Role].
	role Role
	// ended says why the newest leadership of this node ended, where it ended that by itself.
	ended Ending

	// seq is the last write's sequence number, flushedSeq that of the last durable one. Invariant: flushedSeq <= seq.
	seq        uint64
	flushedSeq uint64
	// waitingSince is when the log last made progress with what waits to be durable, or when that began to wait.
	waitingSince Instant
	deferred     []deferredSend

	log     raftLog
	members electorate
	// snapshot is the last entry in the newest snapshot of this node's state machine, zero for none. Invariant: committed.
	snapshot codec.LogID
	// jump is what the first step replaces the log by, nil for nothing; see start.go.
	jump *codec.LogBase
	// commit is the index up to which entries are committed and held here, be it in the snapshot that the log begins behind.
	// Invariant: never goes back, log.base <= commit <= log.last.
	commit codec.Index
	// verified is the index up to which the log is known to equal that of the leader of vote.
	// Invariant: commit <= verified <= log.last, except for a leader, who keeps none.
	verified codec.Index

	election election
	lead     leadership
	// reads wait for a quorum to confirm that this node leads. Invariant: empty in other roles, ascending in after.
	reads  ring[waitingRead]
	asked  askedReads
	prefer preference
	before stateBefore
}

// New returns a core for a node whose log holds st, all of it durable. Errors wrap [ErrConfig] or [ErrLogState]. The
// core keeps nothing of st's slices.
//
// A stored vote for another established leader counts as if that leader had just been heard, so that a restart can't
// break a promise given by silence. An own stored vote is spent: entries sent under it may have been committed by others
// and lost here, and a second entry with the same log id would pass for them. Only a clean close proves that nothing sent
// was lost; then [Config.RestoreLeader] lets the first step resume.
//
// Where st.Snapshot lies beyond what the log holds, or contradicts it, the first step jumps to it. Where there is none
// although the log begins behind a base, the node waits for one from its leader.
func New(cfg Config, st codec.LogState, now Instant) (*Core, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if now < 0 {
		return nil, fmt.Errorf("%w: start at instant %d, want 0 or more", ErrConfig, now)
	}
	c := &Core{
		cfg:  cfg,
		rng:  rand.New(rand.NewPCG(cfg.Seed, uint64(cfg.Node))),
		now:  now,
		vote: st.Vote,

		switches: cfg.Switches,
	}
	c.log.group = cfg.Group
	c.asked.start(&c.cfg, now)
	c.members = newElectorate(cfg.Node, nil, codec.LogID{})
	if err := c.open(&st); err != nil {
		return nil, err
	}
	c.spent = st.Vote.Leader.Node == cfg.Node
	c.commit = c.committedAt(&st)
	c.verified = c.commit
	c.refreshMembers()
	if c.fatal != nil {
		return nil, c.fatal
	}
	c.resume = cfg.RestoreLeader && st.CleanClose && st.Vote.Committed && c.spent && c.jump == nil && c.electable()
	c.election.reset(c)
	if st.Vote.Committed && !c.spent {
		c.election.leaseEnd = now.Add(cfg.ElectionTimeoutMin)
	}
	c.before.take(c)
	return c, nil
}

func (cfg *Config) validate() error {
	switch {
	case cfg.Node == 0:
		return fmt.Errorf("%w: node 0, want an id above 0", ErrConfig)
	case cfg.ElectionTimeoutMin <= 0 || cfg.ElectionTimeoutMax <= cfg.ElectionTimeoutMin:
		return fmt.Errorf("%w: election timeout from %v to %v, want 0 < min < max",
			ErrConfig, cfg.ElectionTimeoutMin, cfg.ElectionTimeoutMax)
	case cfg.ElectionTimeoutMax > timeoutMax:
		return fmt.Errorf("%w: election timeout up to %v, want at most %v", ErrConfig, cfg.ElectionTimeoutMax, timeoutMax)
	case cfg.HeartbeatInterval <= 0 || cfg.HeartbeatInterval > cfg.ElectionTimeoutMin/2:
		return fmt.Errorf("%w: heartbeat interval %v, want above 0 and at most half of the election timeout %v",
			ErrConfig, cfg.HeartbeatInterval, cfg.ElectionTimeoutMin)
	case cfg.DiskStallTimeout < 0 || cfg.DiskStallTimeout > timeoutMax:
		return fmt.Errorf("%w: disk stall timeout %v, want 0 for none, or up to %v", ErrConfig, cfg.DiskStallTimeout, timeoutMax)
	case cfg.LeaseReads && (cfg.ClockDriftMax <= 0 || cfg.ClockDriftMax >= driftParts/2):
		return fmt.Errorf("%w: clocks that differ by %d millionths, want above 0 and below %d where leases answer reads",
			ErrConfig, cfg.ClockDriftMax, driftParts/2)
	case cfg.WindowBytesMax <= 0 || cfg.WindowFramesMax <= 0:
		return fmt.Errorf("%w: window of %d bytes and %d frames, want both above 0",
			ErrConfig, cfg.WindowBytesMax, cfg.WindowFramesMax)
	}
	return nil
}

// Step takes one event and says what is to be done about it. now is an instant after the event came about: what is promised
// for a time is promised from then on. out is emptied first; its slices are reused. Neither in nor what it points to is
// kept.
func (c *Core) Step(now Instant, in *Input, out *Output) {
	if now < c.now {
		panic(fmt.Sprintf("BUG: step at %d after one at %d", now, c.now))
	}
	out.reset()
	c.now, c.out = now, out
	if c.fatal == nil {
		if in.Kind >= inputKindEnd {
			panic(fmt.Sprintf("BUG: input of unknown kind %d", in.Kind))
		}
		if c.jump != nil {
			c.jumpAtStart()
		}
		if c.resume && in.Kind == InputTick {
			c.resumeLeadership()
		}
		if handle := inputTable[c.role][in.Kind]; handle != nil {
			handle(c, in)
		}
		if c.fatal == nil {
			timerTable[c.role](c)
		}
		if c.asked.list.n > 0 {
			c.giveUpAsked()
		}
	}
	if c.fatal != nil {
		out.reset()
		out.Fatal = c.fatal
		out.Refused, out.Reason = in.Kind.asks(), c.fatal
		out.Deadline = Never
	} else {
		out.Deadline = c.deadline()
		c.checkInvariants()
	}
	if out.Write.Seq != 0 {
		out.Write.Commit = c.commit
	}
	out.Commit = c.commit
	c.due, c.out = out.Deadline, nil
}

// fail stops the core; see [Output.Fatal].
func (c *Core) fail(err error) { c.fatal = err }

// refreshMembers makes the log's membership the effective one. A leader goes on with the peers that remain.
func (c *Core) refreshMembers() {
	m, at := c.log.membership()
	if m == c.members.membership {
		return
	}
	c.members = newElectorate(c.cfg.Node, m, at)
	c.election.granted = make([]bool, len(c.members.voter))
	c.election.asked = make([]bool, len(c.members.voter))
	c.election.asking = codec.Vote{}
	c.updateRole()
	switch {
	case c.role == Leader:
		c.layPeers()
	case c.election.rank != c.priorityRank():
		c.election.reset(c)
	}
	c.checkWitnessLog()
}

// updateRole derives the role from what it depends on. A node that ceases to lead or to campaign waits a fresh timeout.
func (c *Core) updateRole() {
	was := c.role
	own := c.vote.Leader.Node == c.cfg.Node && !c.spent
	switch {
	case own && c.vote.Committed:
		c.role = Leader
	case own:
		c.role = Candidate
	case c.isVoter() || c.needed():
		c.role = Follower
	default:
		c.role = Learner
	}
	if was >= Candidate && c.role < Candidate {
		c.election.reset(c)
	}
	if was == Leader && c.role != Leader {
		c.loseReads()
		c.out.Snapshots = c.out.Snapshots[:0]
		c.lead.end()
	}
}

// covers reports whether this node may move from its vote to v. Without a membership the mode is unknown; then only a
// step that both modes allow is taken, for one that either forbids could break a promise given under it. From one
// established leader to a greater one of the same term is such a step: with one leader per term there are no two, so
// that their sight tells the mode. (A learner without entries would else refuse the second one for as long as it leads.)
func (c *Core) covers(v codec.Vote) bool {
	if m := c.members.membership; m != nil {
		return v.Covers(c.vote, m.Mode)
	}
	return v.Covers(c.vote, codec.SeveralLeadersPerTerm) &&
		(v.Covers(c.vote, codec.OneLeaderPerTerm) || v.Committed && c.vote.Committed)
}

// setVote moves to a vote that covers the present one and writes it down.
func (c *Core) setVote(v codec.Vote) {
	if !c.covers(v) {
		panic(fmt.Sprintf("BUG: vote %v after %v", v, c.vote))
	}
	c.moveVote(v, false)
}

// moveVote writes a vote down and goes by it.
func (c *Core) moveVote(v codec.Vote, spent bool) {
	w := c.write()
	w.HasVote, w.Vote = true, v
	c.vote, c.voteSeq, c.spent, c.resume = v, w.Seq, spent, false
	c.verified = c.commit
	c.election.newVote(v)
	c.updateRole()
}

// raiseVote moves to the established leadership that a snapshot's last entry is of, unless the present vote is greater.
// Nothing was heard of its leader, so it is no leader to follow yet; where that was this node itself, the vote is spent.
func (c *Core) raiseVote(leader codec.LeaderID) {
	v := codec.Vote{Leader: leader, Committed: true}
	if leader.IsZero() || v.Compare(c.vote) <= 0 {
		return
	}
	c.moveVote(v, leader.Node == c.cfg.Node)
	c.election.forgot = true
}

// write returns this step's write, opening it at first use.
func (c *Core) write() *Write {
	w := &c.out.Write
	if w.Seq == 0 {
		if c.seq == c.flushedSeq {
			c.waitingSince = c.now
		}
		c.seq++
		w.Seq = c.seq
	}
	return w
}

// appendFrame adds a frame behind the last entry and writes it down. membership is kept.
func (c *Core) appendFrame(f codec.FrameMeta, membership *codec.Membership) {
	w := c.write()
	if !w.Frame.IsZero() {
		panic("BUG: two frames in one step")
	}
	w.Frame, w.Membership = f, membership
	c.log.append(&f, w.Seq, membership)
	if membership != nil {
		c.refreshMembers()
	}
}

// sendNow sends what promises nothing about this node's disk.
func (c *Core) sendNow(to codec.NodeID, lane codec.Lane, m codec.Message, f codec.FrameMeta) {
	c.seal(&m)
	c.out.Now = append(c.out.Now, Send{To: to, Lane: lane, Message: m, Frame: f})
}

// seal fills in what every message carries.
func (c *Core) seal(m *codec.Message) {
	m.Group = c.cfg.Group
	if c.members.membership != nil {
		m.Mode = c.members.membership.Mode
	}
}

// sendDurable sends what is true only once write seq is durable: now if it is, behind this step's write if there is
// one, else when the completion of seq comes in. A later message to the same peer of the same kind replaces one that
// still waits.
func (c *Core) sendDurable(to codec.NodeID, lane codec.Lane, m codec.Message, seq uint64) {
	c.seal(&m)
	s := Send{To: to, Lane: lane, Message: m}
	switch {
	case seq <= c.flushedSeq:
		c.out.Now = append(c.out.Now, s)
		return
	case c.out.Write.Seq != 0:
		c.out.AfterFlush = append(c.out.AfterFlush, s)
		return
	}
	for i := range c.deferred {
		if d := &c.deferred[i]; d.send.To == to && d.send.Message.Kind == m.Kind {
			*d = deferredSend{seq: seq, send: s}
			return
		}
	}
	if len(c.deferred) < deferredMax {
		c.deferred = append(c.deferred, deferredSend{seq: seq, send: s})
	}
}

// flushed notes that every write up to in.Seq is durable. Completions may be merged; a late one is nothing new.
func (c *Core) flushed(in *Input) {
	if in.Seq > c.seq {
		panic(fmt.Sprintf("BUG: write %d completed, last one is %d", in.Seq, c.seq))
	}
	if in.Seq <= c.flushedSeq {
		return
	}
	c.flushedSeq, c.waitingSince = in.Seq, c.now
	c.log.flush(in.Seq)
	if len(c.deferred) == 0 {
		return
	}
	rest := c.deferred[:0]
	for _, d := range c.deferred {
		if d.seq <= in.Seq {
			c.out.Now = append(c.out.Now, d.send)
		} else {
			rest = append(rest, d)
		}
	}
	c.deferred = rest
}

// deadline returns when the next timer is due.
func (c *Core) deadline() Instant {
	switch {
	case c.resume, c.jump != nil:
		return c.now + 1
	case c.role == Leader:
		return c.leaderDeadline()
	case c.switches.NoElections || !c.electable():
		return c.askedDeadline()
	}
	return min(c.election.deadline, c.askedDeadline())
}

func noTimer(*Core) {}

// randomDuration returns a duration in [0, d), or 0 when d is 0.
func (c *Core) randomDuration(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(c.rng.Int64N(int64(d)))
}
