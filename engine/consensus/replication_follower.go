package consensus

import (
	"fmt"

	"github.com/millrace/millrace/codec"
)

// follow accepts a leader's message, whose vote a quorum granted, unless a greater vote was seen.
func (c *Core) follow(m *codec.Message) bool {
	if !c.covers(m.Vote) {
		return false
	}
	if m.Vote != c.vote {
		c.setVote(m.Vote)
	}
	c.election.follows(c)
	c.notCalled()
	return true
}

// answer returns the reply to a leader's request without its verdict.
func (c *Core) answer(m *codec.Message) codec.Message {
	return codec.Message{Kind: m.Kind + 1, Vote: c.vote, Stream: m.Stream, Stamp: m.Stamp}
}

// refuseLeader answers a leader whose vote is not the greatest seen. It promises nothing.
func (c *Core) refuseLeader(in *Input, lane codec.Lane) {
	reply := c.answer(&in.Message)
	reply.Status = codec.StatusRefused
	c.sendNow(in.Peer, lane, reply, codec.FrameMeta{})
}

// contradicted notes a leader whose log lacks an entry committed here and reports whether it does. What is purged here is
// not compared, but for leader ids that could not stand there.
func (c *Core) contradicted(in *Input, id codec.LogID) bool {
	if id.Index > c.commit || c.log.matches(id) {
		return false
	}
	have, ok := c.log.idAt(id.Index)
	if !ok {
		have = c.log.base
	}
	c.fail(fmt.Errorf("%w: %v of node %d holds %v, here %v is committed",
		ErrCommittedConflict, in.Message.Vote, in.Peer, id, have))
	return true
}

// appendRequest takes an append of an established leader (Raft 5.3).
//
// The answers wait for this node's vote to be durable, also the one that says "conflict": the leader takes any answer
// under its vote as a sign that this node follows it. An OK waits for the entries it names as well.
func (c *Core) appendRequest(in *Input) {
	m := &in.Message
	if !c.follow(m) {
		c.refuseLeader(in, codec.LaneAppend)
		return
	}
	if c.contradicted(in, m.Log) {
		return
	}
	reply := c.answer(m)
	if !c.log.matches(m.Log) {
		reply.Status, reply.Log = codec.StatusConflict, c.log.lastNotAbove(m.Log.Index, m.Log.Leader)
		c.sendDurable(in.Peer, codec.LaneAppend, reply, c.voteSeq)
		return
	}
	matched := m.Log.Index
	if !in.Frame.IsZero() {
		if !c.takeFrame(in) {
			return
		}
		matched = in.Frame.Last()
	}
	c.verify(matched, m.Commit)
	c.acknowledge(in.Peer, reply)
}

// acknowledge says OK up to the last entry that is known to equal the leader's, once that is durable.
func (c *Core) acknowledge(to codec.NodeID, reply codec.Message) {
	reply.Status = codec.StatusOK
	reply.Log, _ = c.log.idAt(c.verified)
	rests := c.voteSeq
	if c.log.flushed < c.verified {
		rests = c.seq
	}
	c.sendDurable(to, codec.LaneAppend, reply, rests)
}

// takeFrame appends what the log does not hold of a frame whose previous entry it holds. Only the first entry that
// differs truncates; what is held already stays, so that an old or repeated append removes nothing (Raft 5.3). It
// returns false when the core failed.
func (c *Core) takeFrame(in *Input) bool {
	f := in.Frame
	if f.First <= c.log.base.Index && c.contradicted(in, codec.LogID{Leader: f.Leader, Index: min(f.Last(), c.log.base.Index)}) {
		return false
	}
	first := c.log.firstDifference(&f)
	if first > f.Last() {
		return true
	}
	if first <= c.log.last.Index {
		if c.contradicted(in, codec.LogID{Leader: f.Leader, Index: first}) {
			return false
		}
		w := c.write()
		w.HasTruncate, w.Truncate = true, first-1
		c.verified = min(c.verified, first-1)
		if c.log.truncate(first - 1) {
			c.refreshMembers()
		}
	}
	f.Count -= uint32(first - f.First)
	f.First = first
	var membership *codec.Membership
	if f.Kind == codec.EntryMembership {
		m := in.Membership.Clone()
		membership = &m
	}
	c.appendFrame(f, membership)
	return true
}

// verify notes that the log equals the leader's up to index, and commits what the leader has committed of that. Beyond
// it there may be entries of an older leader, which its commit says nothing about.
func (c *Core) verify(index, leaderCommit codec.Index) {
	c.verified = max(c.verified, index)
	before := c.commit
	c.commit = max(c.commit, min(leaderCommit, c.verified))
	if before < c.members.at.Index && c.commit >= c.members.at.Index {
		c.updateRole() // one that the membership before still needed is needed no more
	}
}
