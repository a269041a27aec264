package engine

import (
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine/consensus"
	"github.com/millrace/millrace/pipeline"
)

// loop is one group's state on one node and the only code that changes it.
//
// Owner: the goroutine of [loop.run]. Other goroutines reach it through the mailbox and the Intake, and read what
// [Raft] publishes.
type loop struct {
	raft *Raft
	cfg  *Config
	logs loggers

	core      *consensus.Core
	groupLog  pipeline.GroupLog
	transport pipeline.Transport
	book      *peerBook
	commits   *pipeline.CommitStage
	streams   *pipeline.StreamStage
	applier   *pipeline.Applier
	keeper    *keeper
	intake    *pipeline.Intake
	box       *mailbox

	start    time.Time // origin of now
	now      consensus.Instant
	deadline consensus.Instant // of the core
	excused  consensus.Instant // until then a deadline that this node overslept is not acted on
	armed    consensus.Instant // when the timer fires; Never when it is not running

	submittedSeq uint64            // of the newest write
	flushedSeq   uint64            // of the log, as far as the core knows
	waitingSince consensus.Instant // when the log last flushed something of what waits, or that began to wait
	stalled      bool              // the log has flushed nothing for too long
	stalledSince consensus.Instant
	reading      reading
	lostBy       error               // why the newest leadership ended
	sample       applySample         // shows how far the state machine is behind
	told         codec.Vote          // of the leader that listeners were told of last; zero for none
	members      EffectiveMembership // a copy of what membersAt points to, for metrics
	membersAt    *EffectiveMembership

	timer *time.Timer

	// Scratch space, used again in each round.
	mail  mail
	lost  []codec.NodeID
	peers []consensus.PeerStatus
	in    consensus.Input
	out   consensus.Output

	trusted    map[codec.NodeID]bool // peers whose incarnation is durable
	impostors  map[codec.NodeID]bool // never trusted again in this life
	unwritten  bool                  // the membership may lack incarnations that this node knows
	written    codec.LogID           // membership by which this leader wrote them down
	status     consensus.Status      // after the newest step
	batches    []*pipeline.Batch     // taken from the intake and not yet proposed, oldest first
	proposed   []proposal            // accepted and not yet given to the applier, oldest first
	forwarding forwarding
	stages     stageWatch            // of puts that are followed
	noticed    []noticed             // accepted and not yet committed, where somebody wants to know of that; oldest first
	bytes      int                   // of proposed
	fed        codec.Index           // last index given to the applier
	onDisk     bool                  // the state machine keeps its state on disk
	feeding    bool                  // a cold frame for the applier is being read
	feedSince  uint64                // truncations of the log when that read began
	awaiting   []flushAsk            // callers who wait for a write to be durable
	errands    []errand              // of callers, begun and not answered
	disagreed  map[codec.NodeID]bool // peers with another vote mode of which a warning was logged
	unheard    map[codec.NodeID]bool // peers of which nothing was heard since packets to them were lost, or ever
	// memberOpen says that the effective membership was not committed when it was published, and settledNodes who
	// belonged to the newest one that was.
	memberOpen   bool
	settledNodes []codec.Node
	// handoverEnd is until when proposals wait for the next leader to be known, or to commit them, after this one handed
	// over; 0 when it did not.
	handoverEnd consensus.Instant
	draining    bool // Close was called: end when nothing is pending
	drainEnd    consensus.Instant
	failure     error // what stops the node
	untrusted   uint64
	malformed   uint64
	frames      uint64 // proposed
	entries     uint64 // proposed
}

// proposal is a batch that became a frame.
type proposal struct {
	meta  codec.FrameMeta
	batch *pipeline.Batch
}

// cost returns what the proposal counts for while it waits, in bytes.
func (p *proposal) cost() int { return p.meta.Size + int(p.meta.Count)*pipeline.EntryOverhead }

// lose tells the proposal's callers that nobody knows what will become of it.
func (l *loop) lose(p *proposal, cause error) {
	l.bytes -= p.cost()
	l.applier.Lose(p.batch, codec.LogID{Leader: p.meta.Leader, Index: p.meta.First}, cause)
}

// flushAsk is told when the write is durable, or why it never will be.
type flushAsk struct {
	seq   uint64
	reply chan<- error
}

// leaderYields is how often a leader lets others run before a round, so that callers who can run add their proposals
// first. Without it batches hold a few entries; in memory, with 256 clients on two cores, one yield gave 36 entries a
// frame, two gave 60 and a fifth less CPU a put, more gave nothing.
const leaderYields = 2

// run is the loop. Each round takes everything that waits, so that batches grow with the load.
func (l *loop) run() {
	l.now = l.clock()
	// The first step is one of time alone: in it a leader that was closed cleanly resumes its leadership.
	l.step(consensus.Input{Kind: consensus.InputTick})
	l.round()
	l.publish()
	for !l.finished() {
		l.sleep()
		if l.status.Role == consensus.Leader {
			for range leaderYields {
				runtime.Gosched()
			}
		}
		l.round()
		l.publish()
	}
	l.shutdown()
}

// round handles everything that waits. After a failure nothing leaves any more: what a step promised may rest on a write
// that was never made.
func (l *loop) round() {
	l.readMail()
	l.endHandover()
	l.takeProposals()
	l.takeReads()
	if l.now >= max(l.deadline, l.excused) {
		l.step(consensus.Input{Kind: consensus.InputTick})
	}
	l.noteFlushed()
	l.noticeDisk()
	if l.memberOpen && l.status.MemberAt.Index <= l.out.Commit {
		l.membershipCommitted()
	}
	l.feed()
	l.sampleApply()
	l.feedReads()
	l.runErrands()
	l.keeper.round()
	if l.unwritten {
		l.writeIncarnations()
	}
	l.reportLost()
	if l.failure != nil {
		return
	}
	l.commits.Release(l.send)
	l.streams.Flush()
}

func (l *loop) clock() consensus.Instant { return consensus.Instant(time.Since(l.start)) }

// finished reports whether the loop ends: after a failure, or when Close was called and nothing is pending any more.
func (l *loop) finished() bool {
	if l.failure != nil {
		return true
	}
	return l.draining && (len(l.proposed) == 0 && l.forwarding.idle() || l.now >= l.drainEnd)
}

// sleep waits for mail, proposals or the deadline. The timer is set again only where it would fire too late: one that
// fires early costs a round, setting it costs every round.
func (l *loop) sleep() {
	deadline := max(l.deadline, l.excused)
	if l.draining {
		deadline = min(deadline, l.drainEnd)
	}
	if l.handoverEnd != 0 {
		deadline = min(deadline, l.handoverEnd)
	}
	deadline = min(deadline, l.keeper.deadline(), l.readDeadline())
	if deadline < l.armed {
		l.timer.Reset(time.Duration(deadline - l.clock()))
		l.armed = deadline
	}
	l.box.asleep.Store(true)
	defer l.box.asleep.Store(false)
	if l.box.flushed.Load() > l.flushedSeq {
		return // reported after this round's last look, by somebody who saw the loop awake
	}
	select {
	case <-l.box.wake:
	case <-l.timer.C:
		l.excuse()
		l.armed = consensus.Never
	}
}

// excuse gives a leader one more heartbeat interval when this node itself was frozen or starved and woke late: its
// heartbeats may be waiting to be read, or their sender may have been frozen with it.
func (l *loop) excuse() {
	now := l.clock()
	if late := time.Duration(now - l.armed); late > l.cfg.HeartbeatInterval && l.status.Role == consensus.Follower {
		l.excused = now.Add(l.cfg.HeartbeatInterval)
	}
}

// readMail handles everything that arrived since the last round.
func (l *loop) readMail() {
	l.box.take(&l.mail)
	// Not before: what a follower promises its leader for a time counts from after the message came in.
	l.now = l.clock()
	m := &l.mail
	if m.failure != nil {
		l.fail(m.failure)
		l.answerQueries()
		return
	}
	l.unwritten = l.unwritten || len(m.trusted) > 0
	for _, id := range m.trusted {
		l.trusted[id] = !l.impostors[id]
		l.unheard[id] = true
	}
	l.noteFlushed()
	for _, id := range m.downs {
		l.streams.Reset(id)
		l.stages.lost(id)
		l.noticeDown(id)
		l.step(consensus.Input{Kind: consensus.InputPeerDown, Peer: id})
	}
	for _, id := range m.broken {
		l.keeper.broken(id)
	}
	for i := range m.packets {
		l.receive(&m.packets[i])
	}
	for _, id := range m.downs { // behind the packets, which may bring the answer
		l.loseForwards(errLaneBroke, func(f *forwarded) bool { return f.to == id })
	}
	for _, cold := range m.cold {
		if err := l.streams.Loaded(cold); err != nil {
			l.fail(fmt.Errorf("reading the log for node %d: %w", cold.Peer, err))
		}
	}
	l.sendAnswers(m.answers)
	if m.feed != nil {
		l.fedCold(m.feed)
	}
	l.answerQueries()
	for _, ask := range m.asks {
		ask(l)
	}
}

// answerQueries answers everyone who asked for metrics.
func (l *loop) answerQueries() {
	for _, query := range l.mail.queries {
		query <- l.collect()
	}
}

// noteFlushed passes on how far the log is durable now.
func (l *loop) noteFlushed() {
	seq := l.box.flushed.Load()
	if seq == l.flushedSeq {
		return
	}
	l.flushedSeq, l.waitingSince = seq, l.now
	l.commits.Flushed(seq)
	l.step(consensus.Input{Kind: consensus.InputFlushed, Seq: seq})
	kept := l.awaiting[:0]
	for _, ask := range l.awaiting {
		if ask.seq <= seq {
			ask.reply <- nil
		} else {
			kept = append(kept, ask)
		}
	}
	l.awaiting = kept
}

// receive hands a peer's packet to the core. One that can't be meant for it is dropped and counted.
func (l *loop) receive(p *codec.Packet) {
	if !l.trusted[p.Node] {
		l.untrusted++
		return
	}
	if p.Message.Group != theGroup {
		l.malformed++
		return
	}
	if len(l.unheard) > 0 && l.unheard[p.Node] {
		l.noticeHeard(p.Node)
	}
	switch p.Message.Kind {
	case codec.MessageSnapshot:
		l.keeper.piece(p)
		return
	case codec.MessageSnapshotReply:
		l.keeper.replied(p)
		return
	case codec.MessageForward:
		l.takeForward(p)
		return
	case codec.MessageForwardReply:
		l.forwardReplied(p)
		return
	}
	l.stages.answered(p, l.status.Vote, l.now)
	in := consensus.Input{Kind: consensus.InputMessage, Peer: p.Node, Message: p.Message}
	if !p.Frame.IsZero() {
		in.Frame = p.Frame.Meta()
		if in.Frame.Kind == codec.EntryMembership {
			m, err := readMembership(p.Frame)
			if err != nil {
				l.malformed++
				l.logs.consensus.Warn("dropped an append with an unreadable membership", "peer", p.Node, "err", err)
				return
			}
			in.Membership = &m
		}
	}
	l.stepFrame(in, p.Frame)
}

// takeProposals turns waiting batches into frames, as long as what is not yet applied stays inside its bound.
func (l *loop) takeProposals() {
	if l.failure != nil || l.gated() {
		return
	}
	l.batches = l.intake.Take(l.batches)
	done := 0
	for done < len(l.batches) && !l.held() {
		b := l.batches[done]
		if l.failure != nil {
			l.applier.Refuse(b, l.stopCause())
		} else if !l.propose(b) {
			break
		}
		done++
	}
	l.batches = slices.Delete(l.batches, 0, done)
}

// held reports whether proposals must wait because the leadership is being handed over: what is not answered now can be
// answered with the next leader's name.
func (l *loop) held() bool {
	return l.status.Blocked || l.now < l.handoverEnd && l.status.Leader == 0
}

// gated reports whether proposals must wait: for the leadership to be handed over, for this node's disk, whose next flush
// wakes the loop, or for what is accepted to be applied, and then the applier wakes it. Where this node does not lead they
// are refused, which needs no room.
func (l *loop) gated() bool {
	switch {
	case l.held():
		return true
	case l.status.Role != consensus.Leader:
		return false
	case l.commits.UnflushedBytes() > l.cfg.UnappliedBytesMax:
		return true
	}
	return l.crowded(l.bytes)
}

// crowded reports whether what the applier holds, with so many bytes beside it, exceeds the bound. If so the applier
// wakes the loop when it has made room.
func (l *loop) crowded(beside int) bool {
	if beside+l.applier.QueuedBytes() <= l.cfg.UnappliedBytesMax {
		return false
	}
	l.applier.AwaitRoom()
	return beside+l.applier.QueuedBytes() > l.cfg.UnappliedBytesMax
}

// propose appends a batch to the log, or tells its callers that this node does not lead. It returns false, and the batch
// waits, where this node began to hand over meanwhile.
func (l *loop) propose(b *pipeline.Batch) bool {
	if err := l.mayPropose(b); err != nil {
		l.applier.Refuse(b, err)
		return true
	}
	in := consensus.Input{Kind: consensus.InputPropose}
	in.Frame = codec.FrameMeta{Group: theGroup, Kind: b.Kind(), Count: uint32(b.Entries()), Size: b.Bytes()}
	l.in = in
	l.core.Step(l.now, &l.in, &l.out)
	if l.out.Refused {
		l.carryOut(codec.Frame{})
		switch {
		case l.failure != nil:
			l.applier.Refuse(b, l.stopCause())
		case l.held():
			return false
		default:
			l.applier.Refuse(b, l.raft.notLeader())
		}
		return true
	}
	meta := l.out.Write.Frame
	f, err := b.Seal(meta.Group, meta.Leader, meta.First, l.cfg.Compression)
	if err != nil {
		panic("BUG: the intake let in what makes no frame: " + err.Error())
	}
	if n, any := b.TakeNotices(); any {
		l.noticed = append(l.noticed, noticed{meta, n})
	}
	l.frames++
	l.entries += uint64(meta.Count)
	l.stages.submitted(meta, b.Traces())
	p := proposal{meta, b}
	l.proposed = append(l.proposed, p)
	l.bytes += p.cost()
	l.carryOut(f)
	return true
}

// step hands an input without a frame to the core and does what it asks.
func (l *loop) step(in consensus.Input) { l.stepFrame(in, codec.Frame{}) }

func (l *loop) stepFrame(in consensus.Input, f codec.Frame) {
	if l.failure != nil {
		return
	}
	l.in = in
	l.core.Step(l.now, &l.in, &l.out)
	l.carryOut(f)
}
