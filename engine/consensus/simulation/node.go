package simulation

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
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
	known       map[codec.NodeID]codec.Incarnation // of each peer, as first seen; durable
	asking      map[codec.NodeID]codec.Incarnation // and on their way to the log
	closing     closing
	losses      losses
	voteAtStart codec.Vote // that the log held when the present life began
	paused      int64      // does nothing until then
	address     string     // where it listens
	gone        bool       // never comes back
	buried      *ghostLog  // what a disk held that was lost
	wiped       bool       // it came back with an empty disk, and nobody believes it
	image       *image     // of its disk, when it was younger

	restoreLeader bool
	switches      consensus.Switches
	snaps         keeper
	ailing        bool // its newest snapshot was damaged
	reads         readings
	transfers     map[codec.NodeID]*transfer // of snapshots to peers

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
	intake                        *pipeline.Intake
	applier                       *pipeline.Applier
	machine                       machine
	batches                       []*pipeline.Batch // taken and not yet proposed
	proposed                      []proposal
	bytes                         int // of proposed
	fed                           codec.Index
	feeding, applying, partial    bool
	feedSince                     uint64
	outstanding                   []attempt      // of clients, that were not answered
	broken                        []codec.NodeID // streams that the stages gave up, scratch

	named, heard           map[codec.NodeID]string // where the membership has its peers, and where they were heard from last
	pipes                  map[codec.NodeID]*pipe  // what it has on the way as a leader
	transferred            codec.LeaderID          // campaign that a leader asked for
	moved                  moves                   // by its log, in this life
	untidy                 bool                    // it is to purge when it gets to it
	writtenSeq, flushedSeq uint64
	waitingSince           consensus.Instant // when its log last made progress, or had nothing to do
	overslept              bool              // the next round follows a pause
}

// moves is what a log wrote again, and how many files it gave back.
type moves struct{ records, segments int }

// mailbox is what waits for the next round.
type mailbox struct {
	due        bool // a round is on its way
	initialize bool
	flushed    uint64
	failure    error
	downs      []codec.NodeID
	packets    []packet
	asks       []ask
	cold       []pipeline.ColdFrame
	feed       *coldFeed
	snapshots  []codec.LogID // that are durable, and the core has not heard of
	reads      []*reading
	arrivals   []arrival      // snapshots from leaders that are complete
	again      []*transfer    // whose peers are silent
	lost       []codec.NodeID // whose transfers came to nothing
}

type coldFeed struct {
	frame codec.Frame
	err   error
}

// packet is what arrived, with what its connection's handshake said of the sender.
type packet struct {
	codec.Packet
	incarnation codec.Incarnation
	address     string
}

// ask is what an administrator wants of a node. done is told how it was taken.
type ask struct {
	in   consensus.Input
	done func(refused bool, reason error)
}

// proposal is a batch that became a frame.
type proposal struct {
	meta  codec.FrameMeta
	batch *pipeline.Batch
}

// unappliedBytesMax bounds the proposals of a node that are not applied, in bytes; beyond it they wait.
const unappliedBytesMax = 8 << 10

func newNode(s *run, id codec.NodeID) *node {
	r := stream(s.opts.Seed, streamNodes+uint64(id)<<16)
	n := &node{
		s: s, id: id, disk: newDisk(s), rng: r,
		snaps: keeper{rotten: map[codec.SnapshotHash]bool{}, keep: drawKeep(r)},
		known: map[codec.NodeID]codec.Incarnation{}, asking: map[codec.NodeID]codec.Incarnation{}, closing: between,
		address: addressOf(id, 0),
	}
	n.clock.rate = s.faults.clockRate()
	n.restoreLeader, n.switches = s.shape.drawSwitches(r)
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
		n.overslept = true
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
	if n.overslept {
		n.overslept = false
		n.burst()
	}
	n.readBox()
	n.takeArrivals()
	n.tellSnapshots()
	n.reportLost()
	n.askAgain()
	n.takeReads()
	n.takeProposals()
	if n.alive() && n.now >= n.deadline {
		n.step(consensus.Input{Kind: consensus.InputTick})
	}
	if !n.alive() {
		return
	}
	n.commits.Release(n.send)
	n.feed()
	n.takeSnapshot()
	n.sweepTransfers()
	n.finishReads()
	for n.alive() {
		n.broken = n.streams.Lost(n.broken[:0])
		if len(n.broken) == 0 {
			break
		}
		for _, id := range n.broken {
			n.step(consensus.Input{Kind: consensus.InputPeerDown, Peer: id})
		}
	}
	n.streams.Flush()
	n.s.check.round(n)
	if len(n.batches) > 0 && n.bytes <= unappliedBytesMax && !n.status.Blocked {
		n.wake() // there is room now for what waited; a node that was removed is woken by nothing else
	}
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

// burst lets timers fire before what waits is read, as a process may find them that was frozen.
func (n *node) burst() {
	for range n.s.faults.bursts() {
		if n.alive() {
			n.step(consensus.Input{Kind: consensus.InputTick})
		}
	}
}

func (n *node) readBox() {
	box := n.box
	n.box = mailbox{due: box.due, snapshots: box.snapshots, reads: box.reads,
		arrivals: box.arrivals, again: box.again, lost: box.lost}
	if box.flushed > 0 {
		n.commits.Flushed(box.flushed)
		if box.flushed > n.flushedSeq { // reports overtake each other
			n.flushedSeq, n.waitingSince = box.flushed, n.now
		}
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
	for _, a := range box.asks {
		n.carry(a)
	}
	for _, cold := range box.cold {
		if err := n.streams.Loaded(cold); err != nil && !n.poisoned && n.alive() {
			n.unreadable(err)
		}
	}
	if box.feed != nil && n.alive() {
		n.fedCold(box.feed)
	}
}

// carry does what an administrator asks for.
func (n *node) carry(a ask) {
	if !n.alive() {
		a.done(true, errDown)
		return
	}
	n.step(a.in)
	if n.up {
		a.done(n.out.Refused, n.out.Reason)
	} else {
		a.done(true, errDown)
	}
}

// unreadable stops a node that can't read what its log holds. That is right where the disk is to blame, and only there.
func (n *node) unreadable(err error) {
	switch {
	case errors.Is(err, syscall.EIO):
		n.s.tracef("node %d stops: %v", n.id, err)
		n.end(opened)
		n.startLater()
	case n.disk.damaged && errors.Is(err, codec.ErrCorrupt):
		n.s.tracef("node %d stops for good: %v", n.id, err)
		n.end(opened)
		n.leave()
	default:
		n.s.violate("node %d can't read what its log holds: %v", n.id, err)
	}
}

// initialize proposes the first membership; a node that has heard of a leader meanwhile refuses it.
func (n *node) initialize() {
	m := n.s.shape.membership.Clone()
	meta := codec.FrameMeta{Group: group, First: 1, Count: 1, Kind: codec.EntryMembership}
	body := codec.AppendEntry(make([]byte, codec.FrameHeaderSize), codec.AppendMembership(nil, &m))
	f, err := codec.SealFrame(body, meta, codec.CompressionNone)
	if err != nil {
		n.s.violate("node %d: membership: %v", n.id, err)
		return
	}
	n.stepFrame(consensus.Input{Kind: consensus.InputInitialize, Membership: &m, Frame: f.Meta()}, f)
}

// receive hands a packet to the core, once the sender's incarnation is durable. One of another disk than the membership
// names, or, where it names none, than was first seen, is refused.
func (n *node) receive(p *packet) {
	if !n.alive() {
		return
	}
	switch trusted, refused := n.trusts(p.Node, p.incarnation); {
	case refused:
		n.s.strangers++
		n.s.tracef("node %d refuses node %d: its disk is another one than before", n.id, p.Node)
		return
	case !trusted:
		n.remember(p.Node, p.incarnation)
		return
	}
	n.heard[p.Node] = p.address
	switch p.Message.Kind {
	case codec.MessageSnapshot:
		n.transferPiece(p)
		return
	case codec.MessageSnapshotReply:
		n.transferReply(p.Node, &p.Message)
		return
	}
	in := consensus.Input{Kind: consensus.InputMessage, Peer: p.Node, Message: p.Message}
	if m := &p.Message; m.Kind == codec.MessageVoteReply && m.Status == codec.StatusOK && !m.PreVote && m.Vote.Leader.Node == n.id {
		n.s.check.grants(m.Vote.Leader, p.Node)
	}
	n.acknowledged(p.Node, &p.Message)
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

func readMembership(f codec.Frame) (codec.Membership, error) {
	entries, err := f.AppendEntries(nil)
	if err != nil {
		return codec.Membership{}, err
	}
	m, _, err := codec.ReadMembership(entries[0].Data)
	return m, err
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
	switch {
	case out.Install != nil:
		n.install(out.Install)
	case out.Write.Jump != nil && out.Write.Jump.ID.Index > n.fed: // a witness's: it has no state
		n.fed, n.partial = out.Write.Jump.ID.Index, true
	case out.Write.Purge != nil && out.Write.Purge.ID.Index > n.fed: // so is this
		n.fed, n.partial = out.Write.Purge.ID.Index, true
	}
	for i := range out.Now {
		n.dispatch(&out.Now[i])
	}
	for i := range out.AfterFlush {
		q := &out.AfterFlush[i]
		n.commits.Hold(q.Lane, codec.Packet{Node: q.To, Message: q.Message})
	}
	before := n.status
	n.status = n.core.Status()
	if before.Blocked && !n.status.Blocked {
		n.wake() // proposals waited
	}
	n.noteReads()
	n.s.check.step(n)
	n.shipSnapshots()
	if n.status.Role == consensus.Leader && out.Write.Frame.Kind == codec.EntryMembership {
		n.s.faults.haunt(n)
	}
	if before.Role != consensus.Leader && n.status.Role == consensus.Leader {
		n.s.faults.depose(n)
	}
	if before.Role == consensus.Leader && (n.status.Role != consensus.Leader || n.status.Vote != before.Vote) {
		n.abandonProposals()
	}
	n.tidy(&before)
}

// dispatch hands a message to the stage that attaches its frame. A frame without its entries needs none from the log.
func (n *node) dispatch(q *consensus.Send) {
	p := codec.Packet{Node: q.To, Message: q.Message}
	if q.Frame.HeaderOnly {
		p.Frame = codec.HeaderFrame(q.Frame)
		n.streams.Send(q.Lane, p, codec.FrameMeta{})
	} else {
		n.streams.Send(q.Lane, p, q.Frame)
	}
	n.s.check.sends(n, q)
}

func (n *node) send(lane codec.Lane, p codec.Packet) { n.streams.Send(lane, p, codec.FrameMeta{}) }

func (n *node) write(w *consensus.Write, f codec.Frame) {
	lw := codec.LogWrite{
		Seq: w.Seq, HasVote: w.HasVote, Vote: w.Vote, HasTruncate: w.HasTruncate, Truncate: w.Truncate, Commit: w.Commit,
		Jump: w.Jump, Purge: w.Purge,
	}
	if !w.Frame.IsZero() {
		var err error
		if lw.Frame, err = frameFor(w, f); err != nil {
			n.s.violate("node %d: frame at index %d: %v", n.id, w.Frame.First, err)
			return
		}
	}
	if w.HasTruncate || w.Jump != nil || w.Purge != nil {
		n.streams.Truncated()
	}
	if n.flushedSeq == n.writtenSeq {
		n.waitingSince = n.now
	}
	n.writtenSeq = w.Seq
	n.commits.Submit(&lw)
}

// frameFor returns the frame that a write describes: the input's own, its rest where the log holds its beginning, a
// blank one, or the membership that the write names.
func frameFor(w *consensus.Write, f codec.Frame) (codec.Frame, error) {
	meta := w.Frame
	room := make([]byte, codec.FrameHeaderSize)
	switch {
	case w.Membership != nil:
		f, err := codec.SealFrame(codec.AppendEntry(room, codec.AppendMembership(nil, w.Membership)), meta, codec.CompressionNone)
		if err == nil && f.Meta() != meta {
			err = fmt.Errorf("%w: a membership frame %+v was announced as %+v", ErrViolation, f.Meta(), meta)
		}
		return f, err
	case meta.Kind == codec.EntryBlank:
		return codec.SealFrame(codec.AppendEntry(room, nil), meta, codec.CompressionNone)
	case !f.IsZero():
		if got := f.Meta(); got.First != meta.First || got.Count != meta.Count {
			return codec.CutFrame(f, meta.First, meta.Last())
		}
		return f, nil
	}
	return f, fmt.Errorf("%w: a write names a %v frame that its input did not bring", ErrViolation, meta.Kind)
}
