package consensus

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
)

// simCounts is what random runs did, so that a suite that exercises too little fails.
type simCounts struct {
	leaders, entries            int
	changes, refused, joint     int // memberships accepted, refused as such, and committed transient ones
	promoted                    int // learners that their leader made voters by itself
	transfers, handed, restored int // transfers begun, and campaigns that they led to; leaderships resumed
	prevotes, headers           int // questions before campaigns, entries without content
	snapshots, purges, installs int // snapshots taken, entries purged, snapshots that replaced a state
	jumps, bare, wanting        int // logs replaced, without a state by witnesses, lives begun without the snapshot needed
	confirmed, byLease, lost    int // reads
	helped                      int // leaders that were brought a snapshot by hand
}

func (s *simCounts) add(c *testCluster) {
	k := c.check
	s.leaders += len(k.leaders)
	s.entries += len(k.committed)
	s.changes += k.counts.changes
	s.refused += k.counts.refused
	s.promoted += k.counts.promoted
	s.transfers += k.counts.transfers
	s.handed += k.counts.handed
	s.restored += k.counts.restored
	s.prevotes += k.counts.prevotes
	s.headers += k.counts.headers
	s.snapshots += k.counts.snapshots
	s.purges += k.counts.purges
	s.installs += k.counts.installs
	s.jumps += k.counts.jumps
	s.bare += k.counts.bare
	s.wanting += k.counts.wanting
	s.helped += k.counts.helped
	s.confirmed += k.counts.confirmed
	s.byLease += k.counts.byLease
	s.lost += k.counts.lost
	for _, e := range k.committed {
		if e.kind == codec.EntryMembership && e.membership.Transient {
			s.joint++
		}
	}
}

// step counts what a step did.
func (s *simCounts) step(n *testNode, in *Input) {
	w := &n.out.Write
	switch {
	case n.core.role == Leader && w.Frame.Kind == codec.EntryMembership && in.Kind == InputChange:
		s.changes++
	case n.core.role == Leader && w.Frame.Kind == codec.EntryMembership && n.core.Membership().Transient:
		s.promoted++
	case in.Kind == InputTransfer && !n.out.Refused:
		s.transfers++
	}
	if w.Purge != nil {
		s.purges++
	}
	if w.Jump != nil {
		s.jumps++
	}
	if in.Kind == InputInstall && in.MetadataOnly && w.Jump != nil {
		s.bare++
	}
	if w.Frame.HeaderOnly {
		s.headers += int(w.Frame.Count)
	}
	for _, send := range n.out.Now {
		if m := &send.Message; m.Kind == codec.MessageVote && m.PreVote {
			s.prevotes++
		}
	}
	if w.HasVote && len(n.out.AfterFlush) > 0 && n.out.AfterFlush[0].Message.Transfer {
		s.handed++
	}
}

// enough fails a suite of so many runs that did too little of something.
func (s *simCounts) enough(t *testing.T, runs int) {
	for what, n := range map[string]struct{ did, want int }{
		"leaders":               {s.leaders, 3 * runs},
		"entries":               {s.entries, 50 * runs},
		"memberships":           {s.changes, 2 * runs},
		"refused memberships":   {s.refused, runs / 10},
		"joint memberships":     {s.joint, runs / 2},
		"promoted learners":     {s.promoted, runs / 20},
		"transfers":             {s.transfers, runs / 5},
		"transferred campaigns": {s.handed, runs / 4},
		"restored leaderships":  {s.restored, runs / 10},
		"pre-votes":             {s.prevotes, runs},
		"entries of witnesses":  {s.headers, runs},
		"snapshots":             {s.snapshots, 10 * runs},
		"purges":                {s.purges, 5 * runs},
		"restored states":       {s.installs, runs},
		"logs replaced":         {s.jumps, runs},
		"bare bases":            {s.bare, runs / 20},
		"lost snapshots":        {s.wanting, runs / 10},
		"confirmed reads":       {s.confirmed, 50 * runs},
		"reads by lease":        {s.byLease, 10 * runs},
		"lost reads":            {s.lost, 10 * runs},
	} {
		if n.did < n.want {
			t.Errorf("%s: %d in %d runs, want at least %d", what, n.did, runs, n.want)
		}
	}
}

// simShape is what the nodes and memberships of one run look like, drawn from its seed.
type simShape struct {
	c         *testCluster
	mode      codec.VoteMode
	admin     bool
	witnesses []bool // by node id: a witness wherever it is a member
	configs   []Config
	quorums   bool // other quorum systems than majorities
}

func drawShape(c *testCluster) *simShape {
	r := c.rng
	s := &simShape{c: c, mode: codec.VoteMode(1 + r.IntN(2)), admin: r.IntN(4) > 0, quorums: r.IntN(2) == 0}
	s.witnesses, s.configs = make([]bool, len(c.nodes)+1), make([]Config, len(c.nodes)+1)
	frames, bytes := 1+r.IntN(8), 100+r.IntN(2000)
	leases := r.IntN(2) == 0
	preVote, restore := r.IntN(3) > 0, r.IntN(2) == 0
	for id := range s.configs {
		cfg := testConfig(codec.NodeID(id))
		cfg.WindowFramesMax, cfg.WindowBytesMax = frames, bytes
		cfg.Switches.NoPreVote = !preVote || r.IntN(8) == 0
		cfg.RestoreLeader = restore
		cfg.LeaseReads, cfg.ClockDriftMax = leases, 170_000 // a little above 1-(1-9%)/(1+9%)
		cfg.DiskStallTimeout = []time.Duration{0, 0, 700 * ms}[r.IntN(3)]
		s.configs[id] = cfg
		s.witnesses[id] = id > 2 && r.IntN(5) == 0
	}
	return s
}

func (s *simShape) config(id codec.NodeID) Config { return s.configs[id] }

// node returns a member with a priority of its own.
func (s *simShape) node(id codec.NodeID) codec.Node {
	return codec.Node{ID: id, Witness: s.witnesses[id], Priority: uint8(s.c.rng.IntN(6) / 4)}
}

// first returns the membership that a run starts with: one that the proof takes.
func (s *simShape) first(voters int) *codec.Membership {
	var nodes []codec.Node
	for id := 1; id <= voters; id++ {
		nodes = append(nodes, s.node(codec.NodeID(id)))
	}
	m := codec.NewMembership(s.mode, nodes...)
	for m.Configs[0].Quorum = s.quorum(voters); checkMembership(&m) != nil; m.Configs[0].Quorum = s.quorum(voters) {
		for i := range m.Nodes { // too many witnesses
			m.Nodes[i].Witness = false
			s.witnesses[m.Nodes[i].ID] = false
		}
	}
	return &m
}

// quorum returns some quorum system of n voters, not always one whose quorums meet.
func (s *simShape) quorum(n int) codec.QuorumSystem {
	r := s.c.rng
	q := codec.QuorumSystem{Kind: codec.QuorumMajority}
	if !s.quorums || r.IntN(2) == 0 {
		return q
	}
	q.Kind = codec.QuorumFlexible
	sum := n
	if r.IntN(2) == 0 {
		q.Kind, sum = codec.QuorumWeighted, 0
		for range n {
			q.Weights = append(q.Weights, uint32(1+r.IntN(3)))
			sum += int(q.Weights[len(q.Weights)-1])
		}
	}
	q.Election = uint32(sum/2 + 1 + r.IntN(sum-sum/2))
	q.Write = min(uint32(sum), uint32(sum)+1-q.Election+uint32(r.IntN(2)))
	return q
}

// wanted returns a membership that some operator might want next, good or bad.
func (s *simShape) wanted(m *codec.Membership) *codec.Membership {
	r := s.c.rng
	next := m.Clone()
	last := &next.Configs[len(next.Configs)-1]
	someone := codec.NodeID(1 + r.IntN(len(s.c.nodes)))
	at := slices.IndexFunc(next.Nodes, func(n codec.Node) bool { return n.ID == someone })
	switch op := r.IntN(7); {
	case at < 0:
		n := s.node(someone)
		n.Promote = r.IntN(2) == 0
		next.Nodes = append(next.Nodes, n)
	case op <= 1 && !next.IsVoter(someone):
		last.Voters = append(slices.Clone(last.Voters), someone)
		next.Nodes[at].Promote = false
		last.Quorum = s.quorum(len(last.Voters))
	case op == 2 && len(last.Voters) > 1: // leaves
		s.drop(&next, someone)
		next.Nodes = slices.DeleteFunc(next.Nodes, func(n codec.Node) bool { return n.ID == someone && !next.IsVoter(someone) })
	case op == 3 && len(last.Voters) > 1: // becomes a learner
		s.drop(&next, someone)
		next.Nodes[at].Promote = r.IntN(3) == 0 && !next.IsVoter(someone)
	case op == 4:
		last.Quorum = s.quorum(len(last.Voters))
	case op == 5: // any of the members, at once
		last.Voters = nil
		for i := range next.Nodes {
			if n := &next.Nodes[i]; r.IntN(2) == 0 || n.ID == someone {
				last.Voters, n.Promote = append(last.Voters, n.ID), false
			}
		}
		last.Quorum = s.quorum(len(last.Voters))
	case op == 6: // stays in two configs
		other := codec.MajorityConfig(someone)
		next.Configs = append(next.Configs[:1:1], other)
	}
	if r.IntN(3) > 0 && len(next.Configs) > 1 {
		next.Configs = next.Configs[len(next.Configs)-1:]
	}
	for i := range next.Configs {
		slices.Sort(next.Configs[i].Voters)
	}
	slices.SortFunc(next.Nodes, func(a, b codec.Node) int { return int(a.ID) - int(b.ID) })
	return &next
}

// drop takes a voter out of the last config.
func (s *simShape) drop(m *codec.Membership, id codec.NodeID) {
	last := &m.Configs[len(m.Configs)-1]
	last.Voters = slices.DeleteFunc(slices.Clone(last.Voters), func(v codec.NodeID) bool { return v == id })
	last.Quorum = s.quorum(len(last.Voters))
}

// administer changes the membership, hands leadership over and turns switches at random times.
func (c *testCluster) administer(s *simShape, d time.Duration) {
	end := c.now.Add(d)
	var again func()
	again = func() {
		if c.now >= end {
			for _, n := range c.nodes {
				if n.up() {
					c.step(n, &Input{Kind: InputSwitch, Switches: s.configs[n.id].Switches})
				}
			}
			return
		}
		c.after(c.upTo(300*ms), again)
		n := c.nodes[c.rng.IntN(len(c.nodes))]
		if l := c.leader(); l != nil && c.rng.IntN(4) > 0 {
			n = l
		}
		if n.up() {
			c.admin(s, n)
		}
	}
	c.after(0, again)
}

// admin asks one thing of a node, which refuses it where it must.
func (c *testCluster) admin(s *simShape, n *testNode) {
	r := c.rng
	switch op := r.IntN(10); {
	case op < 6 && n.core.Membership() != nil:
		in := Input{Kind: InputChange, Membership: s.wanted(n.core.Membership())}
		if r.IntN(3) == 0 {
			at := n.core.Status().MemberAt
			at.Index -= codec.Index(r.IntN(2))
			in.If = &at
		}
		c.step(n, &in)
		if n.out.Refused && errors.Is(n.out.Reason, ErrMembership) {
			c.check.counts.refused++
		}
	case op == 6:
		c.step(n, &Input{Kind: InputTransfer, Peer: codec.NodeID(r.IntN(len(c.nodes) + 1)), Timeout: c.upTo(300 * ms)})
	case op == 7:
		c.step(n, &Input{Kind: InputElect})
	case op == 8:
		c.step(n, &Input{Kind: []InputKind{InputForgetLeader, InputHeartbeat}[r.IntN(2)]})
	default:
		sw := Switches{NoElections: r.IntN(4) == 0, NoHeartbeats: r.IntN(8) == 0, NoPreVote: r.IntN(2) == 0}
		c.step(n, &Input{Kind: InputSwitch, Switches: sw})
	}
}
