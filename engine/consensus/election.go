package consensus

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/millrace/millrace/codec"
)

// election is what a node knows of elections: when it will campaign, whose lease it keeps, who granted its vote.
//
// Owner: the [Core] it is part of.
type election struct {
	// timeout is drawn anew for each campaign, when a node ceases to lead or to campaign (Raft 5.2), and when rank changes.
	timeout time.Duration
	// rank is how many distinct priorities above this node's were known when timeout was drawn.
	rank int
	// deadline is when a voter that has heard no leader campaigns.
	deadline Instant
	// leaseEnd is until when votes are refused because a leader was heard (thesis 4.2.3).
	leaseEnd Instant
	// granted says, by position in the membership, who granted the present campaign.
	granted []bool
	// asking is the vote that the present pre-vote asks about, zero when there is none, and asked who would grant it.
	asking codec.Vote
	asked  []bool
	// termSeen is the greatest term that a refused pre-vote or a refused candidate has shown. It is not promised to anybody.
	termSeen codec.Term
	// behind says that a voter with a longer log refused the present campaign.
	behind bool
	// stood says that this node has campaigned, or asked whether it might, since it last led or heard a leader.
	stood bool
	// forgot says that the leader was forgotten and not heard since.
	forgot bool
	// called says that this node, which is no voter, has more log than a candidate that asked for its vote; see [Core.call].
	called bool
	// campaigns counts those started.
	campaigns uint64
}

// priorityRanksMax bounds how many greater priorities lengthen a timeout.
const priorityRanksMax = 3

// reset draws a timeout and starts it. Where voters of greater priorities are, theirs end first: each such priority
// shifts the range by its length, until this node has stood. By then they had their turn; they may be dead, and a voter
// that can't win, with a shorter timeout, would outrun the terms of those who wait for them.
func (e *election) reset(c *Core) {
	if e.leaseEnd <= c.now {
		e.leaseEnd = math.MinInt64
	}
	spread := c.cfg.ElectionTimeoutMax - c.cfg.ElectionTimeoutMin
	e.rank = c.priorityRank()
	e.timeout = c.cfg.ElectionTimeoutMin + c.randomDuration(spread) + time.Duration(e.rank)*spread
	e.deadline = c.now.Add(e.timeout)
}

// priorityRank returns how many distinct priorities above this node's the ordinary voters have, at most
// [priorityRanksMax], and 0 once this node lets nobody go first.
func (c *Core) priorityRank() int {
	switch {
	case c.election.stood:
		return 0
	case c.wantsSnapshot():
		return priorityRanksMax // it could apply nothing: any other first
	case c.members.self < 0:
		return 0
	}
	var greater []uint8
	for i, p := range c.members.priority {
		if c.members.voter[i] && !c.members.witness[i] && p > c.members.priority[c.members.self] && !slices.Contains(greater, p) {
			greater = append(greater, p)
		}
	}
	return min(len(greater), priorityRanksMax)
}

// soon starts a short timeout: a new cluster has no leader to wait for.
func (e *election) soon(c *Core) {
	e.deadline = c.now.Add(c.randomDuration(c.cfg.ElectionTimeoutMin))
}

// again shortens the timeout where a refusal says that only a greater term stood in the way: the voter claims it with a
// shorter log, so it would grant any term above. It may not know this node, and learn of its terms only when it is asked;
// a whole timeout later it has taken the next one. There is one such try for each term that it takes.
func (e *election) again(c *Core) {
	shortest := c.cfg.HeartbeatInterval / 2
	e.deadline = min(e.deadline, c.now.Add(shortest+c.randomDuration(c.cfg.ElectionTimeoutMin-shortest)))
}

// outrun reports whether a refusal is of that kind, and no voter with a longer log is to go first.
func (e *election) outrun(c *Core, m *codec.Message) bool {
	return !e.behind && !m.Vote.Committed && m.Log.Compare(c.log.last) < 0
}

// follows notes a message of the leader of the present vote.
func (e *election) follows(c *Core) {
	if e.stood {
		e.stood = false
		e.reset(c)
	}
	e.leaseEnd = c.now.Add(c.cfg.ElectionTimeoutMin)
	e.deadline = c.now.Add(e.timeout)
	e.asking, e.forgot = codec.Vote{}, false
}

// newVote notes that the node moved to a vote.
func (e *election) newVote(v codec.Vote) {
	if !v.Committed {
		e.leaseEnd = math.MinInt64
	}
	e.asking, e.forgot = codec.Vote{}, false
}

// isVoter reports whether this node is a voter of the effective membership.
func (c *Core) isVoter() bool { return c.members.self >= 0 && c.members.voter[c.members.self] }

// electable reports whether this node can be elected: an ordinary voter, or one that is needed.
func (c *Core) electable() bool {
	if c.isVoter() {
		return !c.members.witness[c.members.self]
	}
	return c.needed()
}

// needed reports whether this node, no voter of the effective membership, was an ordinary one of the membership before, or
// was called. Until the effective one is committed it may be the only one that holds it and can be elected (thesis 4.2.2). It
// does not count its own vote.
func (c *Core) needed() bool {
	if c.election.called {
		return true
	}
	if !c.wasVoter(c.cfg.Node) {
		return false
	}
	n, _ := c.log.memberships[len(c.log.memberships)-2].membership.Node(c.cfg.Node)
	return !n.Witness
}

// wasVoter reports whether a node is a voter of the membership before the effective one, while that is not known to be
// committed.
func (c *Core) wasVoter(id codec.NodeID) bool {
	n := len(c.log.memberships)
	return n >= 2 && c.members.at.Index > c.commit && c.log.memberships[n-2].membership.IsVoter(id)
}

// mayCampaign says why this node can't be elected, nil if it can.
func (c *Core) mayCampaign() error {
	switch {
	case c.electable():
		return nil
	case c.isVoter():
		return fmt.Errorf("%w: node %d is a witness", ErrMayNotCampaign, c.cfg.Node)
	}
	return fmt.Errorf("%w: node %d is no voter", ErrMayNotCampaign, c.cfg.Node)
}

// electionTimer campaigns when the deadline has passed. A node whose disk makes no progress waits on: what a leader
// promises it could not write, and a candidate's requests have not even left.
func (c *Core) electionTimer() {
	switch {
	case c.now < c.election.deadline || c.switches.NoElections || !c.electable():
	case c.role == Candidate && c.voteSeq > c.flushedSeq, c.diskWaits() >= c.cfg.ElectionTimeoutMin:
		c.election.reset(c)
	default:
		c.stand()
	}
}

// electNow campaigns because the caller says so.
func (c *Core) electNow(*Input) {
	if c.role == Leader {
		c.refuse(fmt.Errorf("%w: node %d leads already", ErrMayNotCampaign, c.cfg.Node))
		return
	}
	if err := c.mayCampaign(); err != nil {
		c.refuse(err)
		return
	}
	if c.leaseRuns(c.cfg.Node) {
		c.refuse(fmt.Errorf("%w: node %d has just heard the leader, node %d, which may count on that; it can be forgotten, or hand over",
			ErrMayNotCampaign, c.cfg.Node, c.vote.Leader.Node))
		return
	}
	c.stand()
}

// call makes a learner electable when it must refuse its vote to a candidate with less log. The candidate may need that vote:
// by a membership that is not committed and not known here this node is a voter. And this node may be the only one that could
// win: what it has more came from a leader that was elected above the candidate's and is gone, with everybody else who held
// it. Who wins without this node does so before its timeout ends. All this is over when a leader is heard or a vote given.
func (c *Core) call(m *codec.Message) {
	e := &c.election
	if c.role != Learner || !c.ordinary() || m.Log.Compare(c.log.last) >= 0 {
		return
	}
	e.called = true
	e.reset(c)
	c.updateRole()
}

// notCalled notes that there is a leader, or a candidate with as much log.
func (c *Core) notCalled() {
	if c.election.called {
		c.election.called = false
		c.updateRole()
	}
}

// stand campaigns, asking first whether that would succeed unless that is switched off. Who was called always asks first: the
// candidate that called may be the only one that has no leader.
func (c *Core) stand() {
	c.election.stood = true
	if c.switches.NoPreVote && !c.election.called {
		c.campaign(false)
	} else {
		c.preVote()
	}
}

// nextTerm returns the term to campaign in: above every one seen. Where there is none left the core has failed.
func (c *Core) nextTerm() (codec.Term, bool) {
	term := max(c.vote.Leader.Term, c.election.termSeen) + 1
	if term > termMax {
		c.fail(fmt.Errorf("%w: vote %v, term %d seen, greatest term is %d", ErrTermsExhausted, c.vote, c.election.termSeen, termMax))
		return 0, false
	}
	return term, true
}

// campaign asks for votes (Raft 5.2). The requests leave only after the vote is durable: they name a leadership that must
// never be claimed a second time, and a log end that must not be lost before a grant comes back. transfer says that the
// leader has given up its lease for this campaign.
func (c *Core) campaign(transfer bool) {
	term, ok := c.nextTerm()
	if !ok {
		return
	}
	c.setVote(codec.Vote{Leader: codec.LeaderID{Term: term, Node: c.cfg.Node}})
	c.election.campaigns++
	c.election.behind = false
	clear(c.election.granted)
	c.election.reset(c)
	c.askVoters(codec.Message{Vote: c.vote, Transfer: transfer}, c.voteSeq)
}

// askVoters sends every other voter a request for its vote, once write seq is durable.
func (c *Core) askVoters(m codec.Message, seq uint64) {
	m.Kind, m.Log, m.Stamp = codec.MessageVote, c.log.last, int64(c.now)
	for i, node := range c.members.membership.Nodes {
		if i != c.members.self && c.members.voter[i] {
			c.sendDurable(node.ID, codec.LaneControl, m, seq)
		}
	}
}

// voteRequest grants or refuses a vote. The term of a voter that is refused, though no lease runs, is remembered for this
// node's own next campaign, and only there: two nodes with short logs that vote for each other would else stay ahead of
// every term that the third one, which they need, can know of. A grant is a promise and leaves when the vote is durable; the answer to a pre-vote
// is none, and changes no vote and no voter's timer here.
func (c *Core) voteRequest(in *Input) {
	m := &in.Message
	reply := codec.Message{
		Kind: codec.MessageVoteReply, Status: codec.StatusOK, Vote: m.Vote, Log: c.log.last, Stamp: m.Stamp, PreVote: m.PreVote,
	}
	switch {
	case !c.grants(in.Peer, m):
		if !c.leaseRuns(in.Peer) {
			if !m.PreVote && c.members.isVoter(in.Peer) {
				c.election.termSeen = max(c.election.termSeen, m.Vote.Leader.Term)
			}
			c.call(m)
		}
		reply.Status, reply.Vote = codec.StatusRefused, c.vote
		c.sendNow(in.Peer, codec.LaneControl, reply, codec.FrameMeta{})
		return
	case m.PreVote:
		c.sendNow(in.Peer, codec.LaneControl, reply, codec.FrameMeta{})
		return
	case c.vote != m.Vote:
		c.setVote(m.Vote)
		c.notCalled()
		c.election.reset(c)
	}
	c.sendDurable(in.Peer, codec.LaneControl, reply, c.voteSeq)
}

// grants reports whether a candidate gets this node's vote. One that is no voter by the membership here may have become
// one by an entry that is missing here, and then its log is newer, or may have been one by the membership before; else it
// may not campaign.
func (c *Core) grants(candidate codec.NodeID, m *codec.Message) bool {
	newer := m.Log.Compare(c.log.last)
	switch {
	case c.members.membership != nil && newer <= 0 && !c.members.isVoter(candidate) && !c.wasVoter(candidate):
		return false
	case !m.Transfer && c.leaseRuns(candidate):
		return false
	case !c.covers(m.Vote):
		return false
	}
	return newer >= 0 // Raft 5.4.1
}

// voteReply counts a grant of exactly this campaign, or learns from a refusal.
func (c *Core) voteReply(in *Input) {
	m, e := &in.Message, &c.election
	if m.PreVote {
		c.preVoteReply(in)
		return
	}
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
		outrun := e.outrun(c, m)
		c.resign(m.Vote)
		if outrun {
			e.again(c)
		}
	default:
		e.noteLonger(c, m.Log)
	}
}

// noteLonger notes a refusal: where a voter with more log is, it won't vote for this node; let it go first.
func (e *election) noteLonger(c *Core, last codec.LogID) {
	if last.Compare(c.log.last) > 0 && !e.behind {
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
	c.stepDown()
}

// stepDown ends this node's campaign or leadership; its vote no longer makes it a leader.
func (c *Core) stepDown() {
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
	if c.members.self >= 0 {
		c.election.granted[c.members.self] = c.voteSeq <= c.flushedSeq
	}
	if c.voteSeq <= c.flushedSeq && c.members.elected(c.election.granted) {
		c.becomeLeader()
	}
}
