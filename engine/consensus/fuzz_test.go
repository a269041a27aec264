package consensus

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
)

// script turns a fuzzer's bytes into choices; after the last byte every choice is 0.
type script struct {
	b     []byte
	token uint64 // of the last read
}

func (s *script) byte() byte {
	if len(s.b) == 0 {
		return 0
	}
	v := s.b[0]
	s.b = s.b[1:]
	return v
}

// number returns mostly a small number, sometimes a huge one.
func (s *script) number() uint64 {
	v := s.byte()
	if v < 240 {
		return uint64(v % 16)
	}
	var wide [8]byte
	for i := range wide {
		wide[i] = s.byte()
	}
	return binary.LittleEndian.Uint64(wide[:])
}

func (s *script) leader() codec.LeaderID {
	return codec.LeaderID{Term: codec.Term(s.number()), Node: codec.NodeID(s.byte() % 5)}
}

func (s *script) logID() codec.LogID {
	return codec.LogID{Leader: s.leader(), Index: codec.Index(s.number())}
}

// message returns any message at all, with or without a frame, the frame often such that it fits.
func (s *script) message(c *Core) Input {
	m := codec.Message{
		Kind:   codec.MessageKind(s.byte() % uint8(codec.MessageKindEnd+1)),
		Status: codec.Status(s.byte() % 5),
		Group:  testGroup,
		Vote:   codec.Vote{Leader: s.leader(), Committed: s.byte()%2 > 0},
		Log:    s.logID(),
		Commit: codec.Index(s.number()),
		Stream: s.number(),
		Stamp:  int64(s.number()),
	}
	m.WantSnapshot = m.Kind == codec.MessageHeartbeatReply && s.byte()%2 == 0
	marks := s.byte()
	m.PreVote, m.Transfer, m.Mode = marks&1 > 0, marks&2 > 0, codec.VoteMode(marks>>2&3)
	flags := s.byte()
	if flags&1 > 0 { // an id that the log holds
		m.Log = s.held(c)
	}
	if flags&2 > 0 { // an answer to what this node leads
		m.Vote = c.vote
	}
	in := Input{Kind: InputMessage, Peer: codec.NodeID(s.byte() % 6), Message: m}
	if flags&4 > 0 {
		in.Peer = m.Vote.Leader.Node
	}
	if p := c.peer2(in.Peer); p != nil && flags&8 > 0 {
		in.Message.Stream = p.stream
	}
	if flags&64 > 0 { // the right mode, or none
		in.Message.Mode = 0
	}
	if flags&128 > 0 && c.election.asking != (codec.Vote{}) { // an answer to what this node asks about
		in.Message.Vote, in.Message.PreVote = c.election.asking, true
	}
	if flags&16 > 0 {
		in.Frame = codec.FrameMeta{
			Group: testGroup, Leader: s.leader(), First: m.Log.Index + 1, Count: uint32(s.number()), Kind: codec.EntryKind(s.byte() % 5),
			Size: int(int32(s.number())),
		}
		if flags&32 > 0 {
			in.Frame.Leader = m.Vote.Leader
		}
		in.Frame.HeaderOnly = s.byte()%4 == 0
		if in.Frame.Kind == codec.EntryMembership {
			in.Membership = s.membership(c)
		}
	}
	return in
}

// held returns the id of an entry of the log, of its base, or the zero id.
func (s *script) held(c *Core) codec.LogID {
	id, _ := c.LogIDAt(codec.Index(s.byte()) % (c.log.last.Index + 1))
	return id
}

// base returns any description of a snapshot at all, often a good one.
func (s *script) base(c *Core) *codec.LogBase {
	id := s.logID()
	switch s.byte() % 4 {
	case 0:
		id = s.held(c)
	case 1:
		id = codec.LogID{Leader: c.vote.Leader, Index: c.log.last.Index + codec.Index(s.byte()%8)}
	}
	b := &codec.LogBase{ID: id, Membership: codec.MembershipRecord{ID: id, Membership: *s.membership(c)}}
	switch s.byte() % 4 {
	case 0:
		b.Membership.ID = s.logID()
	case 1:
		b.Membership = codec.MembershipRecord{}
	case 2:
		b.Membership.ID = first
	}
	return b
}

// install returns a snapshot from anybody, often from the leader, or by hand.
func (s *script) install(c *Core) Input {
	in := s.message(c)
	in.Kind, in.Base, in.Message.Kind, in.MetadataOnly = InputInstall, s.base(c), codec.MessageSnapshot, s.byte()%4 == 0
	in.Frame, in.Membership, in.Message.Status = codec.FrameMeta{}, nil, codec.StatusNone
	switch s.byte() % 4 {
	case 0:
		in.Peer = 0
	case 1, 2:
		in.Message.Vote, in.Message.Log = codec.Vote{Leader: in.Base.ID.Leader, Committed: true}, in.Base.ID
		in.Peer, in.Message.Mode = in.Message.Vote.Leader.Node, 0
	}
	return in
}

// membership returns any membership at all, often one that could follow the one in force.
func (s *script) membership(c *Core) *codec.Membership {
	m := testMembership(codec.VoteMode(s.byte()%4), int(s.byte()%6))
	if have := c.Membership(); have != nil && s.byte()%4 > 0 {
		clone := have.Clone()
		m = &clone
	}
	m.Transient = m.Transient != (s.byte()%8 == 0)
	for i := range m.Nodes {
		n := &m.Nodes[i]
		marks := s.byte()
		n.Priority, n.Witness = marks>>4, n.Witness != (marks&3 == 3)
		n.Promote, n.Leaving = marks&4 > 0 && !m.IsVoter(n.ID), marks&8 > 0
	}
	if s.byte()%3 == 0 {
		m.Nodes = append(m.Nodes, codec.Node{ID: codec.NodeID(s.number()), Address: "new"})
	}
	config := codec.VoterConfig{Quorum: codec.QuorumSystem{Kind: codec.QuorumKind(s.byte() % 6)}}
	if config.Quorum.Kind != codec.QuorumMajority {
		config.Quorum.Election, config.Quorum.Write = uint32(s.number()), uint32(s.number())
	}
	for _, n := range m.Nodes {
		if s.byte()%3 > 0 {
			config.Voters = append(config.Voters, n.ID)
			if config.Quorum.Kind == codec.QuorumWeighted {
				config.Quorum.Weights = append(config.Quorum.Weights, uint32(s.number()))
			}
		}
	}
	switch s.byte() % 4 {
	case 0:
		m.Configs = append(m.Configs, config)
	case 1:
		m.Configs = []codec.VoterConfig{config}
	}
	return m
}

// peer2 is peer for any role.
func (c *Core) peer2(id codec.NodeID) *progress {
	if c.role != Leader {
		return nil
	}
	return c.peer(id)
}

// FuzzStep gives a core any inputs at all, hostile messages among them. It must not panic (its invariants are checked
// after each step), must commit only what it holds, and must keep its promises in order.
func FuzzStep(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("\x01\x05\x01\x01\x05\x01\x01\x02\x01\x01\x05"))
	for seed := byte(1); seed < 20; seed++ { // arbitrary bytes reach little; these at least differ
		b := make([]byte, 600)
		for i := range b {
			b[i] = byte(i)*seed ^ byte(i>>3)*31
		}
		f.Add(b)
	}
	f.Fuzz(anyInputs)
}

// TestRandomInputs is the fuzz target on random bytes: they reach states that no corpus of bytes does by itself.
func TestRandomInputs(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	b := make([]byte, 1500)
	for range 4000 {
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		anyInputs(t, b)
	}
}

// anyInputs opens a core on some log and gives it the inputs that b stands for.
func anyInputs(t *testing.T, b []byte) {
	s := &script{b: b}
	st, cfg := codec.LogState{}, testConfig(1)
	switch s.byte() % 12 {
	case 0:
	case 8, 9: // a log that begins behind a snapshot, or has lost it
		st = logFrom(won(3, 2), baseOf(at(2, 1, 3), testMembership(codec.VoteMode(1+s.byte()%2), 3)), by(2, 1), by(3, 2))
		if s.byte()%2 == 0 {
			st.Snapshot = codec.LogBase{}
		}
	case 10: // a snapshot that the log has to give way to
		st = logOf(won(3, 2), testMembership(codec.VoteMode(1+s.byte()%2), 3), by(1, 2), by(1, 2))
		st.Snapshot = baseOf(at(2, 3, codec.Index(2+s.byte()%4)), testMembership(codec.SeveralLeadersPerTerm, 3))
		st.Snapshot.Membership.Membership.Mode = st.Memberships[0].Membership.Mode
	case 1: // an own leadership to be resumed
		st = logOf(won(3, 1), testMembership(codec.VoteMode(1+s.byte()%2), 3), by(1, 2), by(3, 1))
		st.CleanClose, cfg.RestoreLeader = true, true
	case 2: // a witness
		m := testMembership(codec.VoteMode(1+s.byte()%2), 3)
		m.Nodes[0].Witness = true
		st = logOf(won(3, 2), m, by(1, 2), by(3, 2))
		st.Frames[1].HeaderOnly, st.Frames[1].Size = true, codec.FrameHeaderSize
	default:
		st = logOf(won(3, 2), testMembership(codec.VoteMode(1+s.byte()%2), 3), by(1, 2), by(1, 2), by(3, 2))
	}
	options := s.byte()
	cfg.Switches.NoPreVote, cfg.AllowLogReversion = options&1 > 0, options&2 > 0
	cfg.WindowFramesMax, cfg.WindowBytesMax = 1+int(options>>4), 400
	if options&8 > 0 {
		cfg.LeaseReads, cfg.ClockDriftMax = true, 1000
	}
	if options&4 > 0 {
		cfg.DiskStallTimeout = 100 * ms
	}
	c, err := New(cfg, st, 0)
	if err != nil {
		t.Fatal(err)
	}
	fuzzSteps(t, c, s)
}

// input returns any input at all, most often a message.
func (s *script) input(c *Core, seq uint64) Input {
	switch kind := InputKind(s.byte() % 40); kind {
	case InputTick, InputHeartbeat, InputElect, InputForgetLeader, InputBarrier:
		return Input{Kind: kind}
	case InputSnapshot:
		if id := s.held(c); id.Index <= c.commit {
			return Input{Kind: kind, Log: id}
		}
		return Input{Kind: InputTick}
	case InputPurge:
		return Input{Kind: kind, Index: codec.Index(s.number())}
	case InputInstall:
		return s.install(c)
	case InputRead:
		s.token++
		return Input{Kind: kind, Token: s.token, Lease: s.byte()%2 == 0}
	case InputFlushed:
		return Input{Kind: kind, Seq: seq}
	case InputPropose:
		return Input{Kind: kind, Frame: codec.FrameMeta{Count: 1 + uint32(s.byte()), Size: 100}}
	case InputPeerDown, InputAllowReversion, InputSnapshotLost:
		return Input{Kind: kind, Peer: codec.NodeID(s.byte() % 6)}
	case InputInitialize, InputChange:
		in := Input{Kind: kind, Membership: s.membership(c)}
		if s.byte()%4 == 0 {
			in.If = &codec.LogID{Leader: s.leader(), Index: codec.Index(s.number())}
		}
		return in
	case InputTransfer:
		return Input{Kind: kind, Peer: codec.NodeID(s.byte() % 6), Timeout: time.Duration(s.byte()) * ms}
	case InputSwitch:
		flags := s.byte()
		return Input{Kind: kind, Switches: Switches{NoElections: flags&1 > 0, NoHeartbeats: flags&2 > 0, NoPreVote: flags&4 > 0}}
	case InputKind(30), InputKind(31), InputKind(32):
		return Input{Kind: InputFlushed, Seq: seq}
	}
	if s.byte()%2 == 0 {
		return s.answer(c)
	}
	return s.message(c)
}

// answer returns what a well-meaning peer might answer to what this node does: arbitrary bytes alone seldom elect anybody.
func (s *script) answer(c *Core) Input {
	in := Input{Kind: InputMessage, Peer: codec.NodeID(2 + s.byte()%4), Message: codec.Message{
		Group: testGroup, Status: codec.StatusOK, Vote: c.vote, Stamp: int64(c.now), Log: c.log.last,
	}}
	m := &in.Message
	if s.byte()%2 == 0 {
		m.Log = s.held(c)
	}
	if s.byte()%8 == 0 {
		m.Status = codec.StatusConflict
	}
	p := c.peer2(in.Peer)
	switch {
	case !c.election.asking.IsZero():
		m.Kind, m.Vote, m.PreVote = codec.MessageVoteReply, c.election.asking, true
	case c.role == Candidate:
		m.Kind = codec.MessageVoteReply
	case p == nil && s.byte()%4 == 0:
		m.Kind, in.Peer, m.Stream, m.Commit = codec.MessageReadReply, m.Vote.Leader.Node, c.asked.first, codec.Index(s.byte())
	case p == nil:
		m.Kind, in.Peer, m.Stream = codec.MessageTransfer, m.Vote.Leader.Node, s.number()
		m.Status = codec.StatusNone
	case s.byte()%4 == 0:
		m.Kind, m.Stream, m.WantSnapshot = codec.MessageHeartbeatReply, c.lead.base, s.byte()%4 == 0
	default:
		m.Kind, m.Stream = codec.MessageAppendReply, p.stream
	}
	return in
}

func fuzzSteps(t *testing.T, c *Core, s *script) {
	var now Instant
	var out Output
	seq, reads := uint64(0), map[uint64]bool{}
	for range 400 {
		if len(s.b) == 0 {
			return
		}
		in := s.input(c, seq)
		switch s.byte() % 8 {
		case 0:
			now = now.Add(time.Duration(s.byte()) * 4 * ms)
		case 1:
			if out.Deadline != Never {
				now = max(now, out.Deadline)
			}
		}
		if in.Kind == InputRead {
			reads[in.Token] = true
		}
		commit, snapshot := out.Commit, c.snapshot
		c.Step(now, &in, &out)
		if out.Fatal != nil {
			return
		}
		if out.Commit < commit || out.Commit > c.log.last.Index {
			t.Fatalf("commit %d after %d, last entry %v", out.Commit, commit, c.log.last)
		}
		for _, r := range out.Reads {
			if !reads[r.Token] {
				t.Fatalf("read %d is answered twice, or was never asked for", r.Token)
			}
			delete(reads, r.Token)
		}
		if out.Install != nil && (out.Install.ID != c.snapshot || out.Install.ID == snapshot || out.Install.ID.Index > out.Commit) {
			t.Fatalf("installs %v, snapshot %v after %v, commit %d", out.Install.ID, c.snapshot, snapshot, out.Commit)
		}
		for _, send := range out.Snapshots {
			if c.role != Leader || send.To == 1 || send.Stream == 0 || send.AtLeast == 0 && !c.log.base.IsZero() {
				t.Fatalf("%v asks for %+v", c.role, send)
			}
		}
		if out.Write.Seq != 0 {
			if out.Write.Seq != seq+1 {
				t.Fatalf("write %d after %d", out.Write.Seq, seq)
			}
			seq = out.Write.Seq
		}
		for _, send := range append(out.Now, out.AfterFlush...) {
			if send.To == 1 || send.To == 0 || send.Message.Group != testGroup || send.Lane == 0 {
				t.Fatalf("sends %+v", send)
			}
		}
	}
}
