package simulation

import (
	"slices"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine/consensus"
)

// leaves checks that a message promises no more than what is durable, also when the sender's log has failed since, and that
// a frame is what its sender's log holds.
func (k *checker) leaves(n *node, p *codec.Packet) {
	m, d := &p.Message, &n.ghost.disk
	if m.Mode != k.s.shape.mode && (m.Mode != 0 || !k.seen[n.id].blank) {
		k.s.violate("node %d sends %v in vote mode %v", n.id, m.Kind, m.Mode)
	}
	if m.Transfer && n.transferred != m.Vote.Leader {
		k.s.violate("node %d asks for votes for %v as if its leader had asked for that", n.id, m.Vote)
	}
	surpassed := d.vote != m.Vote && d.vote.Covers(m.Vote, k.s.shape.mode)
	answer := m.Kind == codec.MessageAppendReply || m.Kind == codec.MessageHeartbeatReply
	promise := !m.PreVote && (m.Kind == codec.MessageVote || m.Kind == codec.MessageVoteReply && m.Status == codec.StatusOK ||
		answer && m.Status != codec.StatusRefused)
	if !p.Frame.IsZero() {
		k.frame(n, p)
	}
	if !promise {
		return
	}
	if d.vote != m.Vote && !surpassed {
		k.s.violate("node %d sends %v %v of %v, durable vote is %v", n.id, m.Kind, m.Status, m.Vote, d.vote)
	}
	held := m.Kind == codec.MessageVote || m.Kind == codec.MessageAppendReply && m.Status == codec.StatusOK
	if held && !d.holds(m.Log) && !surpassed {
		k.s.violate("node %d sends %v %v of %v, durable up to %v", n.id, m.Kind, m.Status, m.Log, d.last())
	}
}

// frame checks that a frame carries the entries that were written under its ids, and that only witnesses get headers.
func (k *checker) frame(n *node, p *codec.Packet) {
	f := p.Frame.Meta()
	before := uint64(0)
	if p.Message.Log.Index > 0 {
		before = k.pasts[p.Message.Log].chain
	}
	entries, err := k.entriesOf(before, p.Frame)
	if err != nil {
		k.s.violate("node %d sends a frame that can't be read: %v", n.id, err)
		return
	}
	if e := entries[len(entries)-1]; k.pasts[e.id].chain != e.chain {
		k.s.violate("node %d sends %v behind %v with other bytes than were written under that id", n.id, f.LastID(), p.Message.Log)
	}
	m := k.seen[n.id].member
	if m == nil {
		return
	}
	peer, ok := m.Node(p.Node)
	switch {
	case !ok:
	case f.Kind == codec.EntryNormal && peer.Witness != f.HeaderOnly:
		k.s.violate("node %d sends a frame to node %d, a witness: %v, without its entries: %v", n.id, p.Node, peer.Witness, f.HeaderOnly)
	case peer.Witness && !n.ghost.disk.holds(f.LastID()) && n.ghost.mem.holds(f.LastID()):
		// If that were lost, the witness would vote for nobody any more.
		k.s.violate("node %d sends the witness %d entry %v, which is not durable here", n.id, p.Node, f.LastID())
	}
}

// message looks at what a step did about the message that it was given.
func (k *checker) message(n *node, have *seen) {
	st := &n.status
	m := &n.in.Message
	moved := st.Vote != have.vote
	ordered := n.in.Kind == consensus.InputMessage
	if ordered && m.Kind == codec.MessageTransfer {
		k.obeyed(n, have)
	}
	if own := moved && st.Vote.Leader.Node == n.id && !st.Vote.Committed; own && have.role != consensus.Leader &&
		(!ordered || m.Kind != codec.MessageTransfer) && n.now < have.leaseEnd && have.vote.Leader.Node != n.id {
		k.s.violate("node %d campaigns as %v while it keeps the lease of %v until %d, now is %d", n.id, st.Vote, have.vote, have.leaseEnd, n.now)
	}
	switch {
	case ordered && m.Kind == codec.MessageVote && m.PreVote:
		k.called(n, have)
		k.asked(n, have)
	case ordered && m.Kind == codec.MessageVote:
		k.called(n, have)
		k.voted(n, have)
	case ordered && (m.Kind == codec.MessageAppend || m.Kind == codec.MessageHeartbeat) && m.Vote == st.Vote:
		have.leaseEnd, have.called = n.now.Add(k.s.shape.timeout), false
	case n.in.Kind == consensus.InputForgetLeader && !n.out.Refused:
		have.leaseEnd = n.now
	}
	if moved && !st.Vote.Committed {
		have.leaseEnd = n.now
	}
	have.called = have.called && (!moved || st.Vote.Leader.Node == n.id)
	if have.role == consensus.Leader && st.Vote.Leader.Node == n.id && !st.Vote.Committed {
		n.transferred = st.Vote.Leader // above a learner's vote: nobody else's lease is in its way
		k.s.rises++
	}
	if moved && st.Vote.Leader.Node == n.id && !st.Vote.Committed && !k.mayLead(n, have) {
		k.s.violate("node %d campaigns as %v in the membership %v", n.id, st.Vote, describe(have.member))
	}
}

// called notes that a learner was asked for its vote by a candidate with less log, which lets it campaign.
func (k *checker) called(n *node, have *seen) {
	if n.now >= have.leaseEnd || have.vote.Leader.Node == n.in.Peer {
		have.called = have.called || have.role == consensus.Learner && n.in.Message.Log.Compare(n.status.LastLog) < 0
	}
}

// asked checks that the answer to a pre-vote changes nothing, where no timer was due in the same step, but for a learner that
// it calls.
func (k *checker) asked(n *node, have *seen) {
	st, out := &n.status, &n.out
	if n.now >= have.deadline || have.called && have.role == consensus.Learner && st.Role == consensus.Follower {
		return
	}
	if st.Vote != have.vote || st.Role != have.role || out.Write.Seq != 0 || st.Elections != have.elections || out.Deadline != have.deadline {
		k.s.violate("node %d, asked whether it would vote for %v, changes: vote %v was %v, role %v was %v, write %d, deadline %d was %d",
			n.id, n.in.Message.Vote, st.Vote, have.vote, st.Role, have.role, out.Write.Seq, out.Deadline, have.deadline)
	}
	if len(out.Now) != 1 || len(out.AfterFlush) != 0 {
		k.s.violate("node %d answers a pre-vote with %d and %d messages", n.id, len(out.Now), len(out.AfterFlush))
	}
}

// voted checks that a vote is given to nobody whose log is shorter, nor while a leader's lease runs, unless the leader
// asked for the campaign.
func (k *checker) voted(n *node, have *seen) {
	m, st := &n.in.Message, &n.status
	if st.Vote == have.vote || st.Vote != m.Vote {
		return
	}
	if m.Log.Compare(st.LastLog) < 0 {
		k.s.violate("node %d votes for %v, whose log ends at %v, with its own ending at %v", n.id, m.Vote, m.Log, st.LastLog)
	}
	if !m.Transfer && n.now < have.leaseEnd && have.vote.Leader.Node != n.in.Peer {
		k.s.violate("node %d votes for %v while it keeps the lease of %v until %d, now is %d", n.id, m.Vote, have.vote, have.leaseEnd, n.now)
	}
}

// obeyed checks who campaigns because its leader asks for it: somebody who holds durably exactly the log that the request
// names.
func (k *checker) obeyed(n *node, have *seen) {
	m, st := &n.in.Message, &n.status
	if !slices.ContainsFunc(n.out.AfterFlush, func(q consensus.Send) bool { return q.Message.Transfer }) {
		return
	}
	n.transferred = st.Vote.Leader
	k.s.transfers++
	switch {
	case m.Vote != have.vote:
		k.s.violate("node %d obeys the request of %v to campaign, it follows %v", n.id, m.Vote, have.vote)
	case m.Log != st.LastLog || !n.ghost.disk.holds(m.Log):
		k.s.violate("node %d obeys the request of %v to campaign with a log up to %v, holding %v, durably %v", n.id, m.Vote, m.Log,
			st.LastLog, n.ghost.disk.last())
	}
}

// pipe is what a leader has on its way to a peer: what the simulator counted of it.
type pipe struct {
	stream uint64
	frames []sentFrame
	bytes  int
	acked  codec.Index
}

type sentFrame struct {
	last codec.Index
	size int
}

// pipe returns what is known of a stream to a peer, which may be a new one.
func (n *node) pipe(to codec.NodeID, stream uint64) *pipe {
	p := n.pipes[to]
	if p == nil {
		p = &pipe{}
		n.pipes[to] = p
	}
	if p.stream != stream {
		*p = pipe{stream: stream}
	}
	return p
}

// reaches returns the index up to which everything was sent to a peer on the present stream, the running step's messages
// included, or acknowledged there.
func (n *node) reaches(peer codec.NodeID) codec.Index {
	index := codec.Index(0)
	if p := n.pipes[peer]; p != nil {
		index = p.acked
		if last := len(p.frames) - 1; last >= 0 {
			index = p.frames[last].last
		}
	}
	for i := range n.out.Now {
		if q := &n.out.Now[i]; q.To == peer && !q.Frame.IsZero() {
			index = max(index, q.Frame.Last())
		}
	}
	return index
}

// sends notes an append and checks the window that it must fit in.
func (k *checker) sends(n *node, q *consensus.Send) {
	if q.Message.Kind != codec.MessageAppend {
		return
	}
	p := n.pipe(q.To, q.Message.Stream)
	if q.Frame.IsZero() {
		return
	}
	p.frames = append(p.frames, sentFrame{q.Frame.Last(), q.Frame.Size})
	p.bytes += q.Frame.Size
	if n := len(p.frames); n > 1 && (n > k.s.shape.windowFrames || p.bytes > k.s.shape.windowBytes) {
		k.s.violate("node %d has %d frames of %d bytes on the way to node %d, the window takes %d of %d", q.Message.Vote.Leader.Node,
			n, p.bytes, q.To, k.s.shape.windowFrames, k.s.shape.windowBytes)
	}
}

// acknowledged notes an append's answer.
func (n *node) acknowledged(from codec.NodeID, m *codec.Message) {
	p := n.pipes[from]
	if p == nil || m.Kind != codec.MessageAppendReply || m.Status != codec.StatusOK || m.Stream != p.stream || m.Vote != n.status.Vote {
		return
	}
	p.acked = max(p.acked, m.Log.Index)
	for len(p.frames) > 0 && p.frames[0].last <= p.acked {
		p.bytes -= p.frames[0].size
		p.frames = p.frames[1:]
	}
}
