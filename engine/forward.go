package engine

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/pipeline"
	"github.com/millrace/millrace/pipeline/session"
)

// forwarding is a node's part in proposals that one node takes in and another appends. A proposal is sent once: who does not
// get the answer does not know what became of it.
//
// Owner: the loop.
type forwarding struct {
	token     uint64 // of the newest one sent; begins anywhere, so that no answer to an earlier life of the node fits
	sent      map[uint64]*forwarded
	sentBytes int // of those
	taken     int // bytes of other nodes' proposals that this one appends, or is about to, and has not answered
}

// idle reports whether nobody waits, neither here for another node nor there for this one.
func (f *forwarding) idle() bool { return len(f.sent) == 0 && f.taken == 0 }

func newForwarding() forwarding {
	var b [8]byte
	rand.Read(b[:])
	return forwarding{token: binary.LittleEndian.Uint64(b[:]), sent: map[uint64]*forwarded{}}
}

// forwarded is one call that waits for another node's answer.
type forwarded struct {
	ctx      context.Context
	proposal pipeline.Proposal // without its data once it was sent
	cost     int
	token    uint64
	to       codec.NodeID
	stamp    int64
	reply    chan fate // of capacity 1
}

// fate is what a caller is told.
type fate struct {
	result Result
	err    error
}

func (f *forwarded) answer(r Result, err error) { f.reply <- fate{r, err} }

// forwardCost returns what a forwarded proposal counts for while it waits.
func forwardCost(data []byte) int { return len(data) + pipeline.EntryOverhead }

// forward proposes through the leader that this node knows.
func (r *Raft) forward(ctx context.Context, p *Proposal, kind codec.EntryKind) (Result, error) {
	limit := r.cfg.ProposalBytesMax
	if kind == codec.EntrySession {
		limit += session.HeaderBytesMax
	}
	switch {
	case p.Committed != nil:
		return Result{}, &ArgumentError{"Submit", "Committed and Forward", "one of the two on a node that does not lead, where no notice comes"}
	case len(p.Data) > limit:
		return Result{}, fmt.Errorf("proposal of %d bytes, limit %d: %w", len(p.Data), limit, ErrTooLarge)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, r.cfg.ForwardTimeout, errNoAnswer)
	defer cancel()
	f := &forwarded{
		proposal: pipeline.Proposal{Data: append([]byte(nil), p.Data...), Kind: kind, IfLeader: p.IfLeader},
		ctx:      ctx, cost: forwardCost(p.Data), reply: make(chan fate, 1),
	}
	if !r.box.post(func(m *mail) { m.asks = append(m.asks, func(l *loop) { l.sendForward(f) }) }) {
		return Result{}, r.stopped()
	}
	return r.awaitForward(f)
}

// awaitForward waits for the answer, for the call's context, or for the end of this node.
func (r *Raft) awaitForward(f *forwarded) (Result, error) {
	ended := false
	select {
	case o := <-f.reply:
		return o.result, o.err
	case <-f.ctx.Done():
		ended = true
	case <-r.done:
	}
	select {
	case o := <-f.reply: // it came at the same moment, or the loop had begun with it
		return o.result, o.err
	default:
	}
	if !ended {
		return Result{}, r.stopped()
	}
	unknown := &UnknownError{Cause: context.Cause(f.ctx)}
	r.box.post(func(m *mail) { m.asks = append(m.asks, func(l *loop) { l.endForward(f, Result{}, unknown) }) })
	return Result{}, unknown
}

// sendForward sends a caller's proposal to the leader. Where this node leads by now it goes the usual way.
func (l *loop) sendForward(f *forwarded) {
	leader := l.status.Leader
	switch {
	case f.ctx.Err() != nil:
		return // nobody waits any more
	case l.failure != nil || l.draining:
		f.answer(Result{}, l.stopCause())
		return
	case leader == 0:
		f.answer(Result{}, l.raft.notLeader())
		return
	case leader == l.cfg.NodeID:
		if err := l.intake.SubmitAsync(&f.proposal, f.answer); err != nil {
			f.answer(Result{}, err)
		}
		return
	case l.forwarding.sentBytes > 0 && l.forwarding.sentBytes+f.cost > l.cfg.ForwardBytesMax:
		f.answer(Result{}, &BusyError{What: "forwarded proposals", Bytes: l.forwarding.sentBytes, Limit: l.cfg.ForwardBytesMax})
		return
	}
	l.forwarding.token++
	f.token, f.to, f.stamp = l.forwarding.token, leader, int64(l.now)
	l.forwarding.sent[f.token] = f
	l.forwarding.sentBytes += f.cost
	body := codec.AppendForward(make([]byte, codec.DataHeaderSize, codec.DataHeaderSize+codec.ForwardHeaderSize+len(f.proposal.Data)),
		&codec.Forward{Kind: f.proposal.Kind, IfLeader: f.proposal.IfLeader, Data: f.proposal.Data})
	f.proposal.Data = nil
	m := codec.Message{
		Kind: codec.MessageForward, Group: theGroup, Vote: l.status.Vote, Stream: f.token, Stamp: f.stamp,
	}
	l.streams.Send(codec.LaneAppend, codec.Packet{Node: leader, Message: m, Data: codec.SealData(body)}, codec.FrameMeta{})
}

// loseForwards tells the callers of some forwarded proposals that nobody knows what will become of them.
func (l *loop) loseForwards(cause error, which func(*forwarded) bool) {
	for _, f := range l.forwarding.sent {
		if which(f) {
			l.endForward(f, Result{}, &UnknownError{Cause: cause})
		}
	}
}

// endForward answers a caller, unless that was done before.
func (l *loop) endForward(f *forwarded, r Result, err error) {
	if l.forwarding.sent[f.token] != f {
		return
	}
	delete(l.forwarding.sent, f.token)
	l.forwarding.sentBytes -= f.cost
	f.answer(r, err)
}

// forwardReplied passes an answer on to the caller who waits for it, if anyone still does.
func (l *loop) forwardReplied(p *codec.Packet) {
	f := l.forwarding.sent[p.Message.Stream]
	if f == nil || f.to != p.Node || f.stamp != p.Message.Stamp {
		return
	}
	if p.Message.Status == codec.StatusOK {
		l.endForward(f, Result{LogID: p.Message.Log, Data: p.Data.Payload()}, nil)
		return
	}
	refusal, err := codec.ReadRefusal(p.Data.Payload())
	if err != nil {
		l.malformed++
		err = &UnknownError{Cause: fmt.Errorf("answer of node %d: %w", p.Node, err)}
	} else {
		err = refusalError(p.Node, p.Message.Log, f.proposal.IfLeader, &refusal)
	}
	l.endForward(f, Result{}, err)
}

// takeForward proposes what a peer sent, and answers it. A peer that does not find the leader here is told so, which is
// proof that nothing was appended. So is one whose proposal can't be read, perhaps of a newer version than this one, and one
// that is no member.
func (l *loop) takeForward(p *codec.Packet) {
	answer := codec.Packet{Node: p.Node, Message: codec.Message{
		Kind: codec.MessageForwardReply, Group: theGroup, Vote: l.status.Vote, Stream: p.Message.Stream, Stamp: p.Message.Stamp,
	}}
	proposal, err := l.readForward(p)
	cost, limit := forwardCost(proposal.Data), max(l.cfg.ProposalBytesMax, l.cfg.FrameBytesMax)
	switch {
	case err != nil:
		l.malformed++
		l.logs.consensus.Warn("refused a forwarded proposal", "peer", p.Node, "err", err)
	case l.failure != nil:
		err = l.stopCause()
	case l.status.Leader != l.cfg.NodeID && !l.held():
		err = l.raft.notLeader()
	case !l.isMember(p.Node):
		err = fmt.Errorf("node %d: %w", p.Node, ErrNotMember)
	case l.forwarding.taken > 0 && l.forwarding.taken+cost > l.cfg.ForwardBytesMax:
		err = &BusyError{What: "proposals of other nodes", Bytes: l.forwarding.taken, Limit: l.cfg.ForwardBytesMax}
	default:
		err = l.intake.SubmitAsync(&proposal, func(r Result, err error) {
			fillAnswer(&answer, r, err, limit)
			l.box.post(func(m *mail) { m.answers = append(m.answers, forwardAnswer{answer, cost}) })
		})
	}
	if err != nil {
		fillAnswer(&answer, Result{}, err, limit)
		l.streams.Send(codec.LaneAppend, answer, codec.FrameMeta{})
		return
	}
	l.forwarding.taken += cost
}

func (l *loop) isMember(id codec.NodeID) bool {
	m := l.core.Membership()
	if m == nil {
		return false
	}
	_, is := m.Node(id)
	return is
}

// readForward returns what a peer wants proposed. What can't be applied must not enter the log: it would stop every node.
// How many sessions there may be is for this node to say.
func (l *loop) readForward(p *codec.Packet) (pipeline.Proposal, error) {
	f, err := codec.ReadForward(p.Data.Payload())
	if err != nil {
		return pipeline.Proposal{}, err
	}
	out := pipeline.Proposal{Data: f.Data, Kind: f.Kind, IfLeader: f.IfLeader}
	if f.Kind == codec.EntrySession {
		e, err := session.ReadEntry(f.Data)
		if err != nil {
			return out, err
		}
		if e.Op == session.OpRegister {
			out.Data = registration(l.cfg)
		}
	}
	return out, nil
}

// forwardAnswer is an answer for another node, with what its proposal counted for.
type forwardAnswer struct {
	packet codec.Packet
	cost   int
}

// sendAnswers sends the answers to other nodes' proposals. Those for a peer to which a frame must be read first wait behind
// it; results that are more than may wait are left out, and their callers told so.
func (l *loop) sendAnswers(answers []forwardAnswer) {
	for i := range answers {
		p := &answers[i].packet
		l.forwarding.taken -= answers[i].cost
		held := l.streams.HeldData(p.Node)
		if p.Message.Status == codec.StatusOK && held > 0 && held+len(p.Data.Bytes()) > l.cfg.ForwardBytesMax {
			fillAnswer(p, Result{}, &UnknownError{LogID: p.Message.Log, Cause: errAnswerDropped}, 0)
		}
		l.streams.Send(codec.LaneAppend, *p, codec.FrameMeta{})
	}
}

// fillAnswer completes the answer to another node's proposal. A result that is larger than a message may be is left out.
func fillAnswer(p *codec.Packet, r Result, err error, limit int) {
	if err == nil && len(r.Data) > limit {
		err = &AppliedError{LogID: r.LogID}
	}
	body := make([]byte, codec.DataHeaderSize, codec.DataHeaderSize+len(r.Data))
	if err == nil {
		p.Message.Status, p.Message.Log = codec.StatusOK, r.LogID
		if len(r.Data) > 0 {
			p.Data = codec.SealData(append(body, r.Data...))
		}
		return
	}
	var refusal codec.Refusal
	refusal, p.Message.Log = refusalOf(err)
	p.Message.Status = codec.StatusRefused
	p.Data = codec.SealData(codec.AppendRefusal(body, &refusal))
}

// refusalOf returns what another node is told of an error, and the log id that belongs to it.
func refusalOf(err error) (codec.Refusal, codec.LogID) {
	var (
		unknown    *UnknownError
		notLeader  *NotLeaderError
		leadership *LeadershipError
		busy       *BusyError
		expired    *session.ExpiredError
		applied    *session.AppliedError
		answered   *session.AnsweredError
	)
	r := codec.Refusal{Text: err.Error()}
	switch {
	case errors.As(err, &unknown):
		r.Reason, r.Text = codec.RefusalUnknown, unknown.Cause.Error()
		return r, unknown.LogID
	case errors.Is(err, ErrStopped): // it takes proposals no more than one that does not lead: they are for the next leader
		r.Reason, r.Text = codec.RefusalNotLeader, ""
	case errors.As(err, &notLeader):
		r.Reason, r.Text = codec.RefusalNotLeader, notLeader.Leader.Address
		r.Numbers[0] = uint64(notLeader.Leader.ID)
	case errors.As(err, &leadership):
		r.Reason = codec.RefusalLeadership
		r.Numbers = [3]uint64{uint64(leadership.Vote.Leader.Term), uint64(leadership.Vote.Leader.Node)}
		if leadership.Vote.Committed {
			r.Numbers[2] = 1
		}
	case errors.As(err, &busy):
		r.Reason, r.Text = codec.RefusalBusy, busy.What
		r.Numbers = [3]uint64{uint64(busy.Bytes), uint64(busy.Limit)}
	case errors.As(err, &expired):
		r.Reason = codec.RefusalExpired
		r.Numbers[0] = uint64(expired.Session)
	case errors.As(err, &applied):
		r.Reason = codec.RefusalApplied
		r.Numbers = [3]uint64{uint64(applied.Session), applied.Serial}
		return r, applied.LogID
	case errors.As(err, &answered):
		r.Reason = codec.RefusalAnswered
		r.Numbers = [3]uint64{uint64(answered.Session), answered.Serial, answered.Answered}
	case errors.Is(err, ErrTooLarge):
		r.Reason = codec.RefusalTooLarge
	default:
		r.Reason = codec.RefusalOther
	}
	return r, codec.LogID{}
}

// refusalError returns the error that a refusal of another node stands for.
func refusalError(node codec.NodeID, log codec.LogID, want codec.LeaderID, r *codec.Refusal) error {
	n := r.Numbers
	refused := &ForwardError{Node: node, Text: r.Text}
	switch r.Reason {
	case codec.RefusalUnknown:
		return &UnknownError{LogID: log, Cause: refused}
	case codec.RefusalNotLeader:
		return &NotLeaderError{Node: node, Leader: codec.Node{ID: codec.NodeID(n[0]), Address: r.Text}}
	case codec.RefusalLeadership:
		vote := codec.Vote{Leader: codec.LeaderID{Term: codec.Term(n[0]), Node: codec.NodeID(n[1])}, Committed: n[2] == 1}
		return &LeadershipError{Node: node, Want: want, Vote: vote}
	case codec.RefusalBusy:
		return &BusyError{What: fmt.Sprintf("node %d: %s", node, r.Text), Bytes: int(n[0]), Limit: int(n[1])}
	case codec.RefusalExpired:
		return &session.ExpiredError{Session: SessionID(n[0])}
	case codec.RefusalApplied:
		return &session.AppliedError{Session: SessionID(n[0]), Serial: n[1], LogID: log}
	case codec.RefusalAnswered:
		return &session.AnsweredError{Session: SessionID(n[0]), Serial: n[1], Answered: n[2]}
	case codec.RefusalTooLarge:
		return fmt.Errorf("%w: %w", refused, ErrTooLarge)
	}
	return refused
}
