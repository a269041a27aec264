package consensus

import "github.com/millrace/millrace/codec"

// preVote asks the voters whether a campaign would be won (thesis 9.6), by vote requests that only ask: no vote is
// written here or there, so that a node which can't win, or can't hear its leader, drives up no terms. The answer rests
// on what a real request would rest on: lease, vote and log.
func (c *Core) preVote() {
	e := &c.election
	term, ok := c.nextTerm()
	if !ok {
		return
	}
	e.reset(c)
	e.behind = false
	e.asking = codec.Vote{Leader: codec.LeaderID{Term: term, Node: c.cfg.Node}}
	clear(e.asked)
	if c.members.self >= 0 {
		e.asked[c.members.self] = true
	}
	if c.members.elected(e.asked) {
		c.campaign(false)
		return
	}
	c.askVoters(codec.Message{Vote: e.asking, PreVote: true}, 0)
}

// preVoteReply counts a voter that would grant this campaign, or learns from a refusal: the term that the next question
// must exceed, lest two nodes refuse each other for ever, one for its term and the other for its log.
func (c *Core) preVoteReply(in *Input) {
	m, e := &in.Message, &c.election
	position := c.members.position(in.Peer)
	if !m.PreVote || e.asking.IsZero() || position < 0 || !c.members.voter[position] {
		return
	}
	if m.Status == codec.StatusOK {
		if m.Vote == e.asking {
			e.asked[position] = true
			if c.members.elected(e.asked) {
				c.campaign(false)
			}
		}
		return
	}
	e.termSeen = max(e.termSeen, m.Vote.Leader.Term)
	e.noteLonger(c, m.Log)
	if m.Vote.Leader.Term >= e.asking.Leader.Term && e.outrun(c, m) {
		e.again(c)
	}
}
