package consensus

import (
	"fmt"
	"math"
	"time"

	"github.com/millrace/millrace/codec"
)

// election is what a node knows of elections: when it will campaign, whose lease it keeps, who granted its vote.
//
// Owner: the [Core] it is part of.
type election struct {
	// timeout is drawn anew for each campaign, and when a node ceases to lead or to campaign (Raft 5.2).
	timeout time.Duration
	// deadline is when a voter that has heard no leader campaigns.
	deadline Instant
	// leaseEnd is until when votes are refused because a leader was heard (thesis 4.2.3).
	leaseEnd Instant
	// granted says, by position in the membership, who granted the present campaign.
	granted []bool
	// behind says that a voter with a longer log refused the present campaign.
	behind bool
	// campaigns counts those started.
	campaigns uint64
}

// reset draws a timeout and starts it.
func (e *election) reset(c *Core) {
	if e.leaseEnd <= c.now {
		e.leaseEnd = math.MinInt64
	}
	e.timeout = c.cfg.ElectionTimeoutMin + c.randomDuration(c.cfg.ElectionTimeoutMax-c.cfg.ElectionTimeoutMin)
	e.deadline = c.now.Add(e.timeout)
}

// soon starts a short timeout: a new cluster has no leader to wait for.
func (e *election) soon(c *Core) {
	e.deadline = c.now.Add(c.randomDuration(c.cfg.ElectionTimeoutMin))
}

// heard notes a message of the leader of vote.
func (e *election) heard(c *Core) {
	e.leaseEnd = c.now.Add(c.cfg.ElectionTimeoutMin)
	e.deadline = c.now.Add(e.timeout)
}

// electionTimer campaigns when the deadline has passed. A candidate whose own vote is still not durable waits on: its
// requests have not left, and another term would not make the disk faster.
func (c *Core) electionTimer() {
	switch {
	case c.now < c.election.deadline:
	case c.role == Candidate && c.voteSeq > c.flushedSeq:
		c.election.reset(c)
	default:
		c.campaign()
	}
}

// campaign asks for votes in a term above every one seen. The requests leave only after the vote is durable: they name
// a leadership that must never be claimed a second time, and a log end that must not be lost before a grant comes back.
func (c *Core) campaign() {
	term := c.vote.Leader.Term + 1
	if term > termMax {
		c.fail(fmt.Errorf("%w: vote %v, greatest term is %d", ErrTermsExhausted, c.vote, termMax))
		return
	}
	c.setVote(codec.Vote{Leader: codec.LeaderID{Term: term, Node: c.cfg.Node}})
	c.election.campaigns++
	c.election.behind = false
	clear(c.election.granted)
	c.election.reset(c)
	for i, node := range c.members.membership.Nodes {
		if i != c.members.self && c.members.voter[i] {
			c.sendDurable(node.ID, codec.LaneControl, codec.Message{
				Kind:  codec.MessageVote,
				Vote:  c.vote,
				Log:   c.log.last,
				Stamp: int64(c.now),
			}, c.voteSeq)
		}
	}
}

// voteRequest grants or refuses a vote. A grant is a promise and leaves when the vote is durable.
func (c *Core) voteRequest(in *Input) {
	m := &in.Message
	reply := codec.Message{Kind: codec.MessageVoteReply, Status: codec.StatusOK, Log: c.log.last, Stamp: m.Stamp}
	if !c.grants(in.Peer, m) {
		reply.Status, reply.Vote = codec.StatusRefused, c.vote
		c.sendNow(in.Peer, codec.LaneControl, reply, codec.FrameMeta{})
		return
	}
	if c.vote != m.Vote {
		c.setVote(m.Vote)
		c.election.reset(c)
	}
	reply.Vote = m.Vote
	c.sendDurable(in.Peer, codec.LaneControl, reply, c.voteSeq)
}

// grants reports whether a candidate gets this node's vote. A node that knows of no membership asks for none; any other
// one does not even learn the term of a node that may not campaign. A refusal for another reason teaches nothing here
// either: the term comes back with our own next campaign's answers, and a candidate with a short log can't push it up.
func (c *Core) grants(candidate codec.NodeID, m *codec.Message) bool {
	switch {
	case c.members.membership != nil && !c.members.isVoter(candidate):
		return false
	case c.leaseRuns():
		return false
	case !c.covers(m.Vote):
		return false
	}
	return m.Log.Compare(c.log.last) >= 0 // Raft 5.4.1
}

// leaseRuns reports whether an established leader is not to be disturbed: one that was heard less than a minimum
// election timeout ago, or this node itself while a quorum answers it.
func (c *Core) leaseRuns() bool {
	if c.role == Leader {
		return c.now < c.quorumAnswered().Add(c.cfg.ElectionTimeoutMin)
	}
	return c.now < c.election.leaseEnd
}

// voteReply counts a grant of exactly this campaign, or learns from a refusal.
func (c *Core) voteReply(in *Input) {
	m, e := &in.Message, &c.election
	position := c.members.position(in.Peer)
	if position < 0 || !c.members.voter[position] {
		return
	}
	switch {
	case m.Status == codec.StatusOK:
		if m.Vote == c.vote {
			e.granted[position] = true
			c.tally()
		}
	case uncommitted(m.Vote) != c.vote && c.covers(uncommitted(m.Vote)):
		c.resign(m.Vote)
	case m.Log.Compare(c.log.last) > 0 && !e.behind:
		// A node with more log is there and will not vote for this one: let it go first.
		e.behind = true
		e.deadline = e.deadline.Add(c.cfg.ElectionTimeoutMax)
	}
}

// uncommitted is what a vote seen in an answer is taken for: somebody may lead there, which is for him to say.
func uncommitted(v codec.Vote) codec.Vote { return codec.Vote{Leader: v.Leader} }

// resign ends this node's campaign or leadership because a voter answered with a greater vote. The vote is taken over
// where the mode allows, granting nothing: no answer leaves, the log is compared when its candidate asks. So the next
// campaign here takes a greater term. Otherwise the own vote is spent, with the same effect.
func (c *Core) resign(seen codec.Vote) {
	if v := uncommitted(seen); c.covers(v) && v != c.vote {
		c.setVote(v)
	}
	c.spent = c.vote.Leader.Node == c.cfg.Node
	c.updateRole()
}

// flushedAsCandidate may complete the election: the own vote counts once it is durable.
func (c *Core) flushedAsCandidate(in *Input) {
	c.flushed(in)
	c.tally()
}

// tally makes this node leader when its campaign has a quorum.
func (c *Core) tally() {
	c.election.granted[c.members.self] = c.voteSeq <= c.flushedSeq
	if c.members.elected(c.election.granted) {
		c.becomeLeader()
	}
}
