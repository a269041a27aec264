package consensus

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
)

// script turns a fuzzer's bytes into choices; after the last byte every choice is 0.
type script struct{ b []byte }

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
		Kind:   codec.MessageKind(s.byte() % 8),
		Status: codec.Status(s.byte() % 5),
		Group:  testGroup,
		Vote:   codec.Vote{Leader: s.leader(), Committed: s.byte()%2 > 0},
		Log:    s.logID(),
		Commit: codec.Index(s.number()),
		Stream: s.number(),
		Stamp:  int64(s.number()),
	}
	flags := s.byte()
	if flags&1 > 0 { // an id that the log holds
		m.Log, _ = c.LogIDAt(codec.Index(s.byte()) % (c.log.last.Index + 1))
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
	if flags&16 > 0 {
		in.Frame = codec.FrameMeta{
			Group: testGroup, Leader: s.leader(), First: m.Log.Index + 1, Count: uint32(s.number()), Kind: codec.EntryKind(s.byte() % 5),
			Size: int(int32(s.number())),
		}
		if flags&32 > 0 {
			in.Frame.Leader = m.Vote.Leader
		}
		if in.Frame.Kind == codec.EntryMembership {
			in.Membership = testMembership(codec.VoteMode(s.byte()%4), int(s.byte()%5))
		}
	}
	return in
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
	f.Fuzz(func(t *testing.T, b []byte) {
		s := &script{b}
		st := codec.LogState{}
		if s.byte()%4 > 0 {
			st = logOf(won(3, 2), testMembership(codec.VoteMode(1+s.byte()%2), 3), by(1, 2), by(1, 2), by(3, 2))
		}
		c, err := New(testConfig(1), st, 0)
		if err != nil {
			t.Fatal(err)
		}
		fuzzSteps(t, c, s)
	})
}

func fuzzSteps(t *testing.T, c *Core, s *script) {
	var now Instant
	var out Output
	seq := uint64(0)
	for range 400 {
		if len(s.b) == 0 {
			return
		}
		var in Input
		switch s.byte() % 8 {
		case 0:
			now = now.Add(time.Duration(s.byte()) * 4 * ms)
		case 1:
			if now = max(now, out.Deadline); now == Never {
				return
			}
		case 2:
			in = Input{Kind: InputFlushed, Seq: seq}
		case 3:
			in = Input{Kind: InputPropose, Frame: codec.FrameMeta{Count: 1 + uint32(s.byte()), Size: 100}}
		case 4:
			in = Input{Kind: InputPeerDown, Peer: codec.NodeID(s.byte() % 6)}
		case 5:
			in = Input{Kind: InputInitialize, Membership: testMembership(codec.VoteMode(s.byte()%4), int(s.byte()%5))}
		default:
			in = s.message(c)
		}
		commit := out.Commit
		c.Step(now, &in, &out)
		if out.Fatal != nil {
			return
		}
		if out.Commit < commit || out.Commit > c.log.last.Index {
			t.Fatalf("commit %d after %d, last entry %v", out.Commit, commit, c.log.last)
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
