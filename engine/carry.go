package engine

import (
	"fmt"
	"slices"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine/consensus"
)

// carryOut does what the newest step asked for. f is the frame that came with its input.
func (l *loop) carryOut(f codec.Frame) {
	out := &l.out
	l.deadline = out.Deadline
	if out.Write.Seq != 0 && !l.write(&out.Write, f) {
		return
	}
	if out.Install != nil {
		l.keeper.replace(out.Install)
	}
	for i := range out.Snapshots {
		l.keeper.wish(out.Snapshots[i])
	}
	for i := range out.Now {
		s := &out.Now[i]
		l.stages.sent(s, l)
		l.streams.Send(s.Lane, codec.Packet{Node: s.To, Message: s.Message}, s.Frame)
	}
	for i := range out.AfterFlush {
		s := &out.AfterFlush[i]
		l.commits.Hold(s.Lane, codec.Packet{Node: s.To, Message: s.Message})
	}
	if out.Fatal != nil {
		l.fail(out.Fatal)
		return
	}
	l.tookReads(out.Reads)
	l.noteStatus()
}

// send is what the commit stage calls for a packet whose writes are durable.
func (l *loop) send(lane codec.Lane, p codec.Packet) { l.streams.Send(lane, p, codec.FrameMeta{}) }

// write submits a step's writes, with the frame they name. It returns false when that can't be made; the node has
// failed then, and nothing of the step may leave.
func (l *loop) write(w *consensus.Write, f codec.Frame) bool {
	lw := codec.LogWrite{
		Seq: w.Seq, HasVote: w.HasVote, Vote: w.Vote, HasTruncate: w.HasTruncate, Truncate: w.Truncate, Commit: w.Commit,
		Jump: w.Jump, Purge: w.Purge,
	}
	if !w.Frame.IsZero() {
		var err error
		if lw.Frame, err = frameFor(w, f); err != nil {
			l.fail(fmt.Errorf("frame at index %d: %w", w.Frame.First, err))
			return false
		}
	}
	if w.HasTruncate {
		l.streams.Truncated()
		l.loseAbove(w.Truncate)
	}
	if w.Jump != nil {
		l.streams.Truncated()
		l.loseAbove(0)
	}
	if l.flushedSeq == l.submittedSeq {
		l.waitingSince = l.now
	}
	lw.Timed = l.stages.timed(&w.Frame)
	l.submittedSeq = w.Seq
	l.commits.Submit(&lw)
	if w.Purge != nil {
		l.streams.Truncated() // what is being read may be gone
		l.keeper.purged(w.Purge.ID)
	}
	return true
}

// frameFor returns the frame that a write describes: the input's own, its rest where the log holds its beginning, a
// membership's, or a blank one.
func frameFor(w *consensus.Write, f codec.Frame) (codec.Frame, error) {
	meta := w.Frame
	switch {
	case !f.IsZero():
		if got := f.Meta(); got.First != meta.First || got.Count != meta.Count {
			return codec.CutFrame(f, meta.First, meta.Last())
		}
		return f, nil
	case meta.Kind == codec.EntryMembership && w.Membership != nil:
		return membershipFrame(meta, w.Membership)
	case meta.Kind == codec.EntryBlank:
		return codec.SealFrame(codec.AppendEntry(make([]byte, codec.FrameHeaderSize, codec.FrameHeaderSize+1), nil), meta, codec.CompressionNone)
	}
	panic("BUG: a write names a frame that its input did not bring")
}

// membershipFrame encodes a membership entry.
func membershipFrame(meta codec.FrameMeta, m *codec.Membership) (codec.Frame, error) {
	body := codec.AppendEntry(make([]byte, codec.FrameHeaderSize), codec.AppendMembership(nil, m))
	return codec.SealFrame(body, meta, codec.CompressionNone)
}

// noteStatus publishes what changed with the newest step and ends what a lost leadership leaves behind.
func (l *loop) noteStatus() {
	before := l.status
	l.status = l.core.Status()
	now := &l.status
	l.publishLease()
	l.noticeStep(&before, now)
	if now.MemberAt != before.MemberAt {
		l.membershipChanged()
	}
	if now.Disagreed != before.Disagreed {
		l.noteDisagreement(now.DisagreedWith)
	}
	if before.Blocked && !now.Blocked {
		l.unblock(now.Role == consensus.Leader)
	}
	if now.Role == before.Role && now.Leader == before.Leader && now.MemberAt == before.MemberAt && now.Vote == before.Vote {
		return
	}
	if before.Role == consensus.Leader && !before.Blocked && (now.Role != consensus.Leader || now.Vote != before.Vote) {
		l.abandonProposals()
		l.box.signal() // what waits for room is refused now
	}
	if before.Role == consensus.Leader && (now.Role != consensus.Leader || now.Vote != before.Vote) {
		l.stages.end()
	}
	l.reading.retry = 0
	l.unwritten = l.unwritten || now.Role == consensus.Leader
	l.publishLeader()
}

// unblock lets proposals go on that waited while this leader was handing over, at once where it leads on. Else they wait
// for the next leader to be known, and those in the log for it to commit them, which it can: it holds them all.
func (l *loop) unblock(leads bool) {
	if !leads {
		l.handoverEnd = l.now.Add(l.cfg.ElectionTimeoutMin)
	}
	l.box.signal()
}

// endHandover ends the wait for the next leader when it has taken too long.
func (l *loop) endHandover() {
	if l.handoverEnd == 0 || l.now < l.handoverEnd {
		return
	}
	l.handoverEnd = 0
	if l.status.Role != consensus.Leader {
		l.abandonProposals()
	}
}

// loseAbove answers everyone whose entry is cut off the log.
func (l *loop) loseAbove(last codec.Index) {
	for n := len(l.proposed); n > 0 && l.proposed[n-1].meta.Last() > last; n = len(l.proposed) {
		l.lose(&l.proposed[n-1], errLostLeadership)
		l.proposed[n-1] = proposal{}
		l.proposed = l.proposed[:n-1]
	}
	l.dropNotices(func(m *codec.FrameMeta) bool { return m.Last() <= last })
}

// loseUpTo answers everyone whose entry is covered by a snapshot that came in: it may be in there, or another one.
func (l *loop) loseUpTo(last codec.Index) {
	for len(l.proposed) > 0 && l.proposed[0].meta.First <= last {
		l.lose(&l.proposed[0], errLostLeadership)
		l.proposed[0] = proposal{}
		l.proposed = l.proposed[1:]
	}
	l.dropNotices(func(m *codec.FrameMeta) bool { return m.First > last })
}

// membershipChanged tells the transport whom to reach, callers who belongs to the cluster, and waiting changes that they
// went a step on.
func (l *loop) membershipChanged() {
	m := l.core.Membership()
	l.publishMembership()
	l.distrust(l.book.setMembers(m))
	if m != nil {
		l.noteFinal(m)
		l.logs.consensus.Info("membership", "entry", l.status.MemberAt, "transient", m.Transient, "configs", m.Configs, "nodes", len(m.Nodes))
	}
	if err := l.checkWitness(); err != nil {
		l.fail(err)
	}
	l.setPeers(m)
}

// setPeers tells the transport whom to reach. Members that have left stay until that is committed: a leader that removes
// itself needs their answers to commit it.
func (l *loop) setPeers(m *codec.Membership) {
	var peers []codec.Node
	if m != nil {
		peers = slices.Clone(m.Nodes)
	}
	if !l.memberOpen {
		l.settledNodes = peers
	}
	for _, n := range l.settledNodes {
		if m == nil {
			break
		}
		if _, stays := m.Node(n.ID); !stays {
			peers = append(peers, n)
		}
	}
	l.transport.SetPeers(slices.DeleteFunc(slices.Clone(peers), func(n codec.Node) bool { return n.ID == l.cfg.NodeID }))
}

// membershipCommitted ends what waited for the effective membership to be committed.
func (l *loop) membershipCommitted() {
	l.publishMembership()
	l.setPeers(l.core.Membership())
}

// distrust drops what comes from peers that this node let in before the membership told it that their disk is another one
// than goes by that id. Their connections stay, so it is for the rest of this life.
func (l *loop) distrust(impostors []codec.NodeID) {
	for _, id := range impostors {
		if !l.impostors[id] {
			l.logs.consensus.Error("peer is not the member it claims to be: its disk was lost or replaced, and it must come back under a new id", "peer", id)
		}
		l.impostors[id], l.trusted[id] = true, false
	}
}

// checkWitness returns why this node can't be what the membership makes of it.
func (l *loop) checkWitness() error {
	m := l.core.Membership()
	if m == nil {
		return nil
	}
	if n, member := m.Node(l.cfg.NodeID); member && n.Witness != l.cfg.Witness {
		return &WitnessError{Node: n.ID, Opened: l.cfg.Witness, Member: n.Witness, LogID: l.core.Status().MemberAt}
	}
	return nil
}

// noteDisagreement warns once of each peer whose messages are dropped because it counts leaders another way.
func (l *loop) noteDisagreement(peer codec.NodeID) {
	if !l.disagreed[peer] {
		l.disagreed[peer] = true
		l.logs.consensus.Warn("dropping messages of a peer with another vote mode: it was initialized as part of another cluster of the same name, and must be set up anew",
			"peer", peer, "mode", l.core.Membership().Mode)
	}
}

// publishLeader makes the leader known to callers.
func (l *loop) publishLeader() {
	var leader codec.Node
	if l.status.Leader != 0 {
		leader.ID = l.status.Leader
		if m := l.core.Membership(); m != nil {
			if n, ok := m.Node(leader.ID); ok {
				leader = n
			}
		}
	}
	l.raft.setLeader(leader, l.status.Vote)
	l.loseForwards(errLeaderChanged, func(f *forwarded) bool { return f.to != leader.ID })
	l.logs.consensus.Info("leader", "node", leader.ID, "role", l.status.Role, "vote", l.status.Vote)
	if l.told.Leader.Node != leader.ID || leader.ID != 0 && l.told != l.status.Vote {
		l.told = codec.Vote{}
		if leader.ID != 0 {
			l.told = l.status.Vote
		}
		l.emit(LeaderChanged{Leader: leader, Vote: l.status.Vote})
	}
}

// abandonProposals answers everyone whose entry is not committed: it may be by a successor, or may never. What is
// committed is applied and answered as usual, unless that takes a snapshot first: a node that is removed never gets one.
func (l *loop) abandonProposals() {
	committed := func(m *codec.FrameMeta) bool {
		return m.Last() <= l.out.Commit && l.core.Holds(m.LastID()) && !l.status.WantsSnapshot
	}
	l.dropNotices(committed)
	kept := l.proposed[:0]
	for i := range l.proposed {
		p := &l.proposed[i]
		if committed(&p.meta) {
			kept = append(kept, *p)
		} else {
			l.lose(p, l.lostBy)
		}
	}
	clear(l.proposed[len(kept):])
	l.proposed = kept
}

// reportLost tells the core of streams that ended because a frame could not be had.
func (l *loop) reportLost() {
	for l.failure == nil {
		l.lost = l.streams.Lost(l.lost[:0])
		if len(l.lost) == 0 {
			return
		}
		for _, id := range l.lost {
			l.step(consensus.Input{Kind: consensus.InputPeerDown, Peer: id})
		}
	}
}

func readMembership(f codec.Frame) (codec.Membership, error) {
	entries, err := f.AppendEntries(nil)
	if err != nil {
		return codec.Membership{}, err
	}
	m, n, err := codec.ReadMembership(entries[0].Data)
	if err == nil && n != len(entries[0].Data) {
		err = fmt.Errorf("%d bytes after the membership: %w", len(entries[0].Data)-n, codec.ErrCorrupt)
	}
	return m, err
}
