package simulation

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine/consensus"
	"github.com/millrace/millrace/pipeline"
	"github.com/millrace/millrace/wal"
)

// node is one node over all its lives. A life is driven as package engine's loop drives it: rounds that take everything
// that waits, the real commit and stream stages, frames applied whole and in order.
//
// Owner: the run.
type node struct {
	s           *run
	id          codec.NodeID
	rng         *rand.Rand
	disk        *disk
	ghost       ghost
	incarnation codec.Incarnation
	clock       clock
	trusted     map[codec.NodeID]bool
	asking      map[codec.NodeID]bool
	closing     closing
	paused      int64 // does nothing until then

	up, dying, stopping, poisoned bool
	life                          int
	log                           *wal.Log
	tap                           tap
	core                          *consensus.Core
	commits                       *pipeline.CommitStage
	streams                       *pipeline.StreamStage
	box                           mailbox
	in                            consensus.Input
	out                           consensus.Output
	status                        consensus.Status
	now, deadline, armed          consensus.Instant
	proposed                      []proposal
	bytes                         int // of proposed
	fed                           codec.Index
	feeding                       bool
	truncated, feedSince          uint64
	applied                       machine
	lost                          []codec.NodeID
}

// mailbox is what waits for the next round.
type mailbox struct {
	due        bool // a round is on its way
	initialize bool
	flushed    uint64
	failure    error
	downs      []codec.NodeID
	packets    []codec.Packet
	cold       []pipeline.ColdFrame
	feed       *coldFeed
	proposals  []request
}

type coldFeed struct {
	frame codec.Frame
	err   error
}

// proposal is a request that became a frame.
type proposal struct {
	meta    codec.FrameMeta
	request request
}

// unappliedBytesMax bounds the proposals of a node that are not applied, in bytes; beyond it they wait.
const unappliedBytesMax = 8 << 10

func newNode(s *run, id codec.NodeID, r *rand.Rand) *node {
	n := &node{
		s: s, id: id, disk: newDisk(s), rng: rand.New(rand.NewPCG(r.Uint64(), uint64(id))),
		trusted: map[codec.NodeID]bool{}, asking: map[codec.NodeID]bool{}, closing: between,
	}
	n.clock.rate = s.faults.clockRate()
	return n
}

// wake lets a round happen soon.
func (n *node) wake() {
	if n.box.due {
		return
	}
	n.box.due = true
	life := n.life
	n.s.after(time.Duration(1+n.rng.IntN(int(20*time.Microsecond))), func() { n.round(life) })
}

// round takes everything that waits, in the order in which the engine's loop does.
func (n *node) round(life int) {
	if life != n.life {
		return
	}
	if n.paused > n.s.now {
		n.s.at(n.paused, func() { n.round(life) })
		return
	}
	n.box.due = false
	n.now = n.clock.local(n.s.now)
	n.s.note(10, uint64(n.id))
	if n.box.failure != nil {
		n.fail(n.box.failure)
		return
	}
	n.readBox()
	n.takeProposals()
	if n.alive() && n.now >= n.deadline {
		n.step(consensus.Input{Kind: consensus.InputTick})
	}
	if !n.alive() {
		return
	}
	n.commits.Release(n.send)
	n.feed()
	for n.alive() {
		n.lost = n.streams.Lost(n.lost[:0])
		if len(n.lost) == 0 {
			break
		}
		for _, id := range n.lost {
			n.step(consensus.Input{Kind: consensus.InputPeerDown, Peer: id})
		}
	}
	n.streams.Flush()
	n.s.check.round(n)
	n.arm()
}

// alive reports whether the round may go on.
func (n *node) alive() bool { return n.up && n.s.failure == nil }

// arm makes sure that a round happens at the deadline.
func (n *node) arm() {
	if !n.up || n.deadline >= n.armed {
		return
	}
	n.armed = n.deadline
	life := n.life
	n.s.at(n.clock.virtual(n.deadline), func() {
		if life == n.life && n.up {
			n.armed = consensus.Never
			n.wake()
		}
	})
}

func (n *node) readBox() {
	box := n.box
	n.box = mailbox{due: box.due, proposals: box.proposals}
	if box.flushed > 0 {
		n.commits.Flushed(box.flushed)
		n.step(consensus.Input{Kind: consensus.InputFlushed, Seq: box.flushed})
	}
	if box.initialize {
		n.initialize()
	}
	for _, id := range box.downs {
		n.streams.Reset(id)
		n.step(consensus.Input{Kind: consensus.InputPeerDown, Peer: id})
	}
	for i := range box.packets {
		n.receive(&box.packets[i])
	}
	for _, cold := range box.cold {
		if err := n.streams.Loaded(cold); err != nil && !n.poisoned {
			n.s.violate("node %d can't read what its log holds for node %d: %v", n.id, cold.Peer, err)
		}
	}
	if box.feed != nil {
		n.fedCold(box.feed)
	}
}

// initialize proposes the first membership; a node that has heard of a leader meanwhile refuses it.
func (n *node) initialize() {
	m := n.s.shape.membership()
	meta := codec.FrameMeta{Group: group, First: 1, Count: 1, Kind: codec.EntryMembership}
	body := codec.AppendEntry(make([]byte, codec.FrameHeaderSize), codec.AppendMembership(nil, &m))
	f, err := codec.SealFrame(body, meta, codec.CompressionNone)
	if err != nil {
		n.s.violate("node %d: membership: %v", n.id, err)
		return
	}
	n.stepFrame(consensus.Input{Kind: consensus.InputInitialize, Membership: &m, Frame: f.Meta()}, f)
}

// receive hands a packet to the core, once the sender's incarnation is durable.
func (n *node) receive(p *codec.Packet) {
	if !n.trusted[p.Node] {
		n.remember(p.Node)
		return
	}
	in := consensus.Input{Kind: consensus.InputMessage, Peer: p.Node, Message: p.Message}
	if !p.Frame.IsZero() {
		in.Frame = p.Frame.Meta()
		if in.Frame.Kind == codec.EntryMembership {
			m, err := readMembership(p.Frame)
			if err != nil {
				n.s.violate("node %d: membership from node %d: %v", n.id, p.Node, err)
				return
			}
			in.Membership = &m
		}
	}
	n.stepFrame(in, p.Frame)
}

func (n *node) remember(peer codec.NodeID) {
	if n.asking[peer] {
		return
	}
	n.asking[peer] = true
	life := n.life
	n.log.RememberPeer(peer, n.s.node(peer).incarnation, func(err error) {
		if err == nil && life == n.life && !n.dying {
			n.trusted[peer] = true
		}
	})
	n.pump()
}

func readMembership(f codec.Frame) (codec.Membership, error) {
	entries, err := f.AppendEntries(nil)
	if err != nil {
		return codec.Membership{}, err
	}
	m, _, err := codec.ReadMembership(entries[0].Data)
	return m, err
}

func (n *node) takeProposals() {
	for len(n.box.proposals) > 0 && n.alive() && n.bytes <= unappliedBytesMax {
		q := n.box.proposals[0]
		n.box.proposals = n.box.proposals[1:]
		n.propose(q)
	}
}

// propose appends a request to the log, or tells its client that this node does not lead.
func (n *node) propose(q request) {
	n.in = consensus.Input{Kind: consensus.InputPropose}
	n.in.Frame = codec.FrameMeta{Group: group, Kind: codec.EntryNormal, Count: uint32(q.count), Size: len(q.body)}
	n.core.Step(n.now, &n.in, &n.out)
	if n.out.Refused {
		n.s.workload.refused(q)
		n.carryOut(codec.Frame{})
		return
	}
	meta := n.out.Write.Frame
	f, err := codec.SealFrame(q.body, meta, n.s.shape.compression)
	if err != nil {
		n.s.violate("node %d: proposal: %v", n.id, err)
		return
	}
	n.proposed = append(n.proposed, proposal{meta, q})
	n.bytes += meta.Size
	n.carryOut(f)
}

func (n *node) step(in consensus.Input) { n.stepFrame(in, codec.Frame{}) }

func (n *node) stepFrame(in consensus.Input, f codec.Frame) {
	if !n.alive() {
		return
	}
	n.in = in
	n.core.Step(n.now, &n.in, &n.out)
	n.carryOut(f)
}

// carryOut does what the newest step asked for. f is the frame that came with its input.
func (n *node) carryOut(f codec.Frame) {
	out := &n.out
	n.deadline = out.Deadline
	if out.Fatal != nil {
		n.fail(out.Fatal)
		return
	}
	if out.Write.Seq != 0 {
		n.write(&out.Write, f)
	}
	for i := range out.Now {
		q := &out.Now[i]
		n.streams.Send(q.Lane, codec.Packet{Node: q.To, Message: q.Message}, q.Frame)
	}
	for i := range out.AfterFlush {
		q := &out.AfterFlush[i]
		n.commits.Hold(q.Lane, codec.Packet{Node: q.To, Message: q.Message})
	}
	before := n.status
	n.status = n.core.Status()
	n.s.check.step(n)
	if before.Role == consensus.Leader && (n.status.Role != consensus.Leader || n.status.Vote != before.Vote) {
		n.abandonProposals()
	}
}

func (n *node) send(lane codec.Lane, p codec.Packet) { n.streams.Send(lane, p, codec.FrameMeta{}) }

func (n *node) write(w *consensus.Write, f codec.Frame) {
	lw := codec.LogWrite{
		Seq: w.Seq, HasVote: w.HasVote, Vote: w.Vote, HasTruncate: w.HasTruncate, Truncate: w.Truncate, Commit: w.Commit,
	}
	if !w.Frame.IsZero() {
		var err error
		if lw.Frame, err = frameFor(w.Frame, f); err != nil {
			n.s.violate("node %d: frame at index %d: %v", n.id, w.Frame.First, err)
			return
		}
	}
	if w.HasTruncate {
		n.truncated++
		n.streams.Truncated()
	}
	n.commits.Submit(&lw)
}

// frameFor returns the frame that a write describes: the input's own, its rest where the log holds its beginning, or a
// blank one.
func frameFor(meta codec.FrameMeta, f codec.Frame) (codec.Frame, error) {
	if f.IsZero() {
		if meta.Kind != codec.EntryBlank {
			return f, fmt.Errorf("%w: a write names a %v frame that its input did not bring", ErrViolation, meta.Kind)
		}
		return codec.SealFrame(codec.AppendEntry(make([]byte, codec.FrameHeaderSize), nil), meta, codec.CompressionNone)
	}
	if got := f.Meta(); got.First != meta.First || got.Count != meta.Count {
		return codec.CutFrame(f, meta.First, meta.Last())
	}
	return f, nil
}

// abandonProposals tells the clients of a lost leadership that nobody knows what becomes of their entries.
func (n *node) abandonProposals() {
	kept := n.proposed[:0]
	for _, p := range n.proposed {
		if p.meta.Last() <= n.out.Commit {
			kept = append(kept, p)
			continue
		}
		n.bytes -= p.meta.Size
		n.s.workload.unknown(p.request)
	}
	n.proposed = kept
}

// tap is the log that the stages see. It notes what passes.
type tap struct {
	n   *node
	log *wal.Group
}

// Submit implements [pipeline.GroupLog].
func (t *tap) Submit(w *codec.LogWrite) {
	entries, err := t.n.ghost.submit(w)
	if err != nil {
		t.n.s.violate("node %d writes a frame that can't be read: %v", t.n.id, err)
		return
	}
	t.n.s.check.wrote(t.n, entries)
	t.n.s.note(11, uint64(t.n.id), w.Seq, t.n.ghost.mem.chainAt(t.n.ghost.mem.last().Index))
	t.log.Submit(w)
	t.n.pump()
}

// Frame implements [pipeline.GroupLog].
func (t *tap) Frame(i codec.Index) (codec.Frame, bool) { return t.log.Frame(i) }

// ReadFrame implements [pipeline.GroupLog].
func (t *tap) ReadFrame(i codec.Index, done func(codec.Frame, error)) {
	life := t.n.life
	t.log.ReadFrame(i, func(f codec.Frame, err error) {
		if life == t.n.life && !t.n.dying && !t.n.stopping {
			done(f, err)
		}
	})
	t.n.pump()
}

// clock is a node's own clock, which runs fast or slow and starts anew with each life.
type clock struct {
	rate  int64 // thousandths of the true rate
	since int64 // virtual time at local time 0
}

func (c *clock) reset(now int64) { c.since = now }

func (c *clock) local(now int64) consensus.Instant {
	return consensus.Instant((now - c.since) * c.rate / 1000)
}

// virtual returns the first moment at which the clock shows at least local.
func (c *clock) virtual(local consensus.Instant) int64 {
	return c.since + (int64(local)*1000+c.rate-1)/c.rate
}
