package consensus_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine/consensus"
)

// The Consensus Module alone, with everything around it made here: a log, a transport, a clock and a state machine, each of
// a few lines. Four nodes in one goroutine: three begin, one joins, and the leader is stopped and comes back.
func Example() {
	g := &group{}
	for id := range codec.NodeID(4) {
		m := &member{id: id + 1, group: g}
		g.members = append(g.members, m)
		m.open()
	}

	// One node is told who belongs to the group; it wins the first election, and the others learn the membership from it.
	first := codec.NewMembership(codec.SeveralLeadersPerTerm, codec.Node{ID: 1}, codec.Node{ID: 2}, codec.Node{ID: 3})
	g.members[0].step(consensus.Input{Kind: consensus.InputInitialize, Membership: &first}, codec.Frame{})
	g.run(time.Second)
	g.leader().propose("we", "agree")
	g.run(time.Second)
	g.show("three nodes")

	// Node 4 joins as a learner; the leader makes it a voter as soon as it has caught up.
	next := g.leader().core.Membership().Clone()
	next.Nodes = append(next.Nodes, codec.Node{ID: 4, Promote: true})
	g.leader().step(consensus.Input{Kind: consensus.InputChange, Membership: &next}, codec.Frame{})
	g.run(time.Second)
	g.show("four nodes")

	// The leader stops. Another one is elected; the old one finds its log as it was, applies it anew, and catches up.
	stopped := g.leader()
	stopped.core = nil
	g.run(2 * time.Second)
	g.leader().propose("on", "words")
	g.run(time.Second)
	stopped.open()
	g.run(time.Second)
	g.show("after a restart")

	// Output:
	// three nodes: voters [1 2 3]
	//   node 1: we agree
	//   node 2: we agree
	//   node 3: we agree
	//   node 4:
	// four nodes: voters [1 2 3 4]
	//   node 1: we agree
	//   node 2: we agree
	//   node 3: we agree
	//   node 4: we agree
	// after a restart: voters [1 2 3 4]
	//   node 1: we agree on words
	//   node 2: we agree on words
	//   node 3: we agree on words
	//   node 4: we agree on words
}

// member is a node: a core and what it works with.
type member struct {
	id    codec.NodeID
	group *group
	core  *consensus.Core // nil while the node is stopped
	out   consensus.Output

	// The log. What is written is durable at once, so nothing has to wait for a flush.
	vote   codec.Vote
	frames []codec.Frame

	// The state machine.
	applied codec.Index
	words   []string
}

// open starts a core on what the log holds. The state machine is empty: with the commits it gets all of it again.
func (m *member) open() {
	state := codec.LogState{Vote: m.vote}
	for _, f := range m.frames {
		state.Frames = append(state.Frames, f.Meta())
		if membership := membershipIn(f); membership != nil {
			state.Memberships = append(state.Memberships, codec.MembershipRecord{ID: f.Meta().LastID(), Membership: *membership})
		}
	}
	m.core = must(consensus.New(consensus.Config{
		Node: m.id, Group: 1,
		ElectionTimeoutMin: 150 * time.Millisecond, ElectionTimeoutMax: 300 * time.Millisecond, HeartbeatInterval: 50 * time.Millisecond,
		WindowBytesMax: 1 << 20, WindowFramesMax: 64,
		Seed: uint64(m.id),
	}, state, m.group.now))
	m.applied, m.words = 0, nil
	m.step(consensus.Input{}, codec.Frame{})
}

func (m *member) propose(words ...string) {
	m.step(consensus.Input{Kind: consensus.InputPropose, Frame: codec.FrameMeta{Count: uint32(len(words)), Size: 100}}, codec.Frame{}, words...)
}

// step feeds the core and does what it asks for: write, send, apply. came is the frame of an append, words what is proposed.
func (m *member) step(in consensus.Input, came codec.Frame, words ...string) {
	m.core.Step(m.group.now, &in, &m.out)
	if m.out.Fatal != nil || m.out.Refused {
		panic(fmt.Sprint("node ", m.id, ": ", m.out.Fatal, m.out.Reason))
	}
	m.write(&m.out.Write, came, words)
	m.send(m.out.Now)        // need not wait for the disk
	m.send(m.out.AfterFlush) // must wait: a disk would be synced in between
	m.apply(m.out.Commit)
	if seq := m.out.Write.Seq; seq != 0 {
		m.step(consensus.Input{Kind: consensus.InputFlushed, Seq: seq}, codec.Frame{})
	}
}

func (m *member) write(w *consensus.Write, came codec.Frame, words []string) {
	if w.HasVote {
		m.vote = w.Vote
	}
	for n := len(m.frames); w.HasTruncate && n > 0 && m.frames[n-1].Meta().Last() > w.Truncate; n-- {
		last := m.frames[n-1]
		if m.frames = m.frames[:n-1]; last.Meta().First <= w.Truncate {
			m.frames = append(m.frames, must(codec.CutFrame(last, last.Meta().First, w.Truncate)))
		}
	}
	switch {
	case w.Frame.IsZero():
		return
	case !came.IsZero(): // as it came, without what is held already
		m.frames = append(m.frames, must(codec.CutFrame(came, w.Frame.First, w.Frame.Last())))
		return
	}
	frame := make([]byte, codec.FrameHeaderSize)
	switch w.Frame.Kind {
	case codec.EntryNormal:
		for _, word := range words {
			frame = codec.AppendEntry(frame, []byte(word))
		}
	case codec.EntryBlank:
		frame = codec.AppendEntry(frame, nil)
	case codec.EntryMembership:
		frame = codec.AppendEntry(frame, codec.AppendMembership(nil, w.Membership))
	}
	m.frames = append(m.frames, must(codec.SealFrame(frame, w.Frame, codec.CompressionNone)))
}

// send puts messages into the queue, each with the frame of the log that it names.
func (m *member) send(sends []consensus.Send) {
	for _, s := range sends {
		p := codec.Packet{Node: s.To, Message: s.Message}
		for _, f := range m.frames {
			if !s.Frame.IsZero() && f.Meta().First == s.Frame.First {
				p.Frame = f
			}
		}
		m.group.queue = append(m.group.queue, packet{from: m.id, Packet: p})
	}
}

// apply gives the state machine what is committed.
func (m *member) apply(commit codec.Index) {
	for _, f := range m.frames {
		for _, e := range must(f.AppendEntries(nil)) {
			if e.ID.Index <= m.applied || e.ID.Index > commit {
				continue
			}
			m.applied = e.ID.Index
			if e.Kind == codec.EntryNormal {
				m.words = append(m.words, string(e.Data))
			}
		}
	}
}

// group is the transport and the clock: messages arrive in the order in which they were sent and take no time.
type group struct {
	members []*member
	now     consensus.Instant
	queue   []packet
}

type packet struct {
	from codec.NodeID
	codec.Packet
}

// run lets time pass: all messages arrive, then the clock moves on to the next deadline of a core.
func (g *group) run(d time.Duration) {
	for end := g.now.Add(d); g.now < end; {
		for len(g.queue) > 0 {
			p := g.queue[0]
			g.queue = g.queue[1:]
			if m := g.members[p.Node-1]; m.core != nil {
				m.step(consensus.Input{
					Kind: consensus.InputMessage, Peer: p.from, Message: p.Message,
					Frame: p.Frame.Meta(), Membership: membershipIn(p.Frame),
				}, p.Frame)
			}
		}
		next := end
		for _, m := range g.members {
			if m.core != nil {
				next = min(next, m.out.Deadline)
			}
		}
		g.now = next
		for _, m := range g.members {
			if m.core != nil && m.out.Deadline <= g.now {
				m.step(consensus.Input{Kind: consensus.InputTick}, codec.Frame{})
			}
		}
	}
}

func (g *group) leader() *member {
	for _, m := range g.members {
		if m.core != nil && m.core.Status().Role == consensus.Leader {
			return m
		}
	}
	panic("no leader")
}

func (g *group) show(what string) {
	fmt.Printf("%s: voters %v\n", what, g.leader().core.Membership().Configs[0].Voters)
	for _, m := range g.members {
		fmt.Println(strings.TrimRight(fmt.Sprintf("  node %d: %s", m.id, strings.Join(m.words, " ")), " "))
	}
}

// membershipIn returns the membership that a frame holds, nil for any other frame.
func membershipIn(f codec.Frame) *codec.Membership {
	if f.Meta().Kind != codec.EntryMembership {
		return nil
	}
	m, _, err := codec.ReadMembership(must(f.AppendEntries(nil))[0].Data)
	return must(&m, err)
}

// must stands for an error handling that a short example leaves out.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
