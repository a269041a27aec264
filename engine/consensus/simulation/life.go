package simulation

import (
	"cmp"
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

// group is the only group of a simulated node.
const group codec.GroupID = 1

// closing says what a restart may read from the log about the end of the life before.
type closing uint8

const (
	between closing = iota // an open or a close may or may not have reached the disk
	opened                 // writes may have been accepted: no seal may count
	sealed                 // Close has returned: the seal must be there
)

// losses says what may have been lost since the durable vote was written.
type losses uint8

const (
	lostNothing losses = iota // every life ended with a seal
	unsure                    // one ended while it opened or closed its log
	mayHaveLost
)

// chunks gives a new directory its incarnation.
type chunks struct{ r *rand.Rand }

func (c chunks) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(c.r.Uint32())
	}
	return len(p), nil
}

// start opens the log on what the disk holds and begins a life on it, unless the disk or the power fails.
func (n *node) start() {
	if n.up || n.gone {
		return
	}
	n.disk.mem.Kill()
	n.disk.heals()
	d, cut := n.disk, false
	fs := d.mount()
	if n.s.faults.cutsOpen() {
		cut = true
		d.armCut(n.s.faults.rolls[ClassPowerCut], 16)
	}
	d.badRead = n.s.faults.readsBadly()
	n.life++
	if !n.openStore(fs) {
		n.s.note(27, uint64(n.id))
		n.startLater()
		return
	}
	log, err := wal.OpenSimulation(wal.Config{
		Dir: "data", ClusterID: "simulation", Node: n.id, RecentBytesMax: n.s.shape.recentBytes,
	}, wal.Simulation{
		FS: fs, Random: chunks{n.rng}, Manual: true, SegmentBytes: n.s.shape.segmentBytes, ReclaimPercent: n.s.shape.reclaim,
	})
	if cut && d.cut != nil {
		n.s.tracef("node %d loses power while it opens its log", n.id)
		n.s.faults.count(ClassPowerCut)
		n.s.note(21, uint64(n.id))
		d.mem, n.closing = d.cut, between
		n.startLater()
		return
	}
	d.cutAt = 0
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EIO):
		n.s.note(22, uint64(n.id))
		n.closing = between
		n.startLater()
	case n.disk.damaged && err != nil:
		n.s.tracef("node %d stays away: %v", n.id, err)
		n.s.note(25, uint64(n.id))
		n.s.refusals++
		n.leave()
	case err != nil:
		n.s.violate("node %d can't open its log: %v", n.id, err)
	case n.disk.damaged:
		n.s.violate("node %d opens a damaged log", n.id)
	default:
		n.begin(log)
	}
}

func (n *node) startLater() { n.s.after(n.s.faults.downtime(), n.start) }

// leave ends a node for good.
func (n *node) leave() {
	if n.up {
		n.end(between)
	}
	n.gone = true
	n.s.note(26, uint64(n.id))
}

// begin wires the parts of a life as package engine does.
func (n *node) begin(log *wal.Log) {
	n.box, n.poisoned, n.fed, n.feeding, n.proposed, n.bytes = mailbox{}, false, 0, false, nil, 0
	n.machine, n.applying, n.partial, n.batches, n.armed = machine{n: n}, false, false, nil, consensus.Never
	n.transfers = map[codec.NodeID]*transfer{}
	n.reads = readings{asked: map[uint64]*reading{}}
	n.heard, n.named, n.pipes = map[codec.NodeID]string{}, map[codec.NodeID]string{}, map[codec.NodeID]*pipe{}
	n.transferred, n.writtenSeq, n.flushedSeq, n.overslept, n.moved, n.untidy = codec.LeaderID{}, 0, 0, false, moves{}, false
	life := n.life
	g, st, err := log.Group(group, func(seq uint64, err error) { n.flushed(life, seq, err) })
	if err != nil {
		n.s.violate("node %d: %v", n.id, err)
		return
	}
	if !n.checkRestart(log, &st) {
		return
	}
	n.log, n.tap = log, tap{n, g}
	n.commits = pipeline.NewCommitStage(&n.tap)
	n.streams = pipeline.NewStreamStage(&n.tap, (*lanes)(n), func(cold pipeline.ColdFrame) {
		n.box.cold = append(n.box.cold, cold)
		n.wake()
	})
	from := pipeline.ApplierStart{Manual: true}
	if err := n.startFrom(&st, &from); err != nil {
		n.s.note(28, uint64(n.id))
		n.diskFailed("read its newest snapshot", err)
		n.closing = opened
		n.end(opened)
		n.startLater()
		return
	}
	n.clock.reset(n.s.now)
	h := &n.s.shape
	n.core, err = consensus.New(consensus.Config{
		Node: n.id, Group: group,
		ElectionTimeoutMin: h.timeout, ElectionTimeoutMax: 2 * h.timeout, HeartbeatInterval: h.heartbeat,
		WindowBytesMax: h.windowBytes, WindowFramesMax: h.windowFrames, DiskStallTimeout: h.diskStall,
		LeaseReads: h.leaseReads, ClockDriftMax: 250_000, // clocks run at 0.9 to 1.1 of the true rate
		RestoreLeader: n.restoreLeader, AllowLogReversion: n.s.faults.on[ClassReversion] && h.reverts,
		Switches: n.switches, Seed: n.rng.Uint64(),
	}, st, n.clock.local(n.s.now))
	if err != nil {
		n.s.violate("node %d: %v", n.id, err)
		return
	}
	if !n.wireApplier(from) {
		return
	}
	n.up, n.closing, n.deadline = true, opened, 0
	n.now = n.clock.local(n.s.now)
	n.s.tracef("node %d starts, life %d, last entry %v, vote %v", n.id, n.life, n.ghost.disk.last(), st.Vote)
	n.s.note(20, uint64(n.id), uint64(n.ghost.disk.last().Index))
	n.s.check.started(n, &st)
	// Whoever initializes a cluster asks again where a crash took the membership before it was durable.
	n.box.initialize = n.initializes() && st.Vote.IsZero() && len(st.Frames) == 0
	if n.rng.IntN(4) == 0 {
		n.bring()
	}
	n.wake()
}

// checkRestart holds what the log says after a restart to what it had promised.
func (n *node) checkRestart(log *wal.Log, st *codec.LogState) bool {
	promised, pending := n.ghost.disk.last(), len(n.ghost.pending)
	vote := n.ghost.disk.vote
	if !n.ghost.restart(st) {
		n.s.violate("node %d: log holds vote %v and %d frames, last %v after a restart, promised were vote %v and %v, and %d records more",
			n.id, st.Vote, len(st.Frames), lastOf(st), vote, promised, pending)
		return false
	}
	if !st.Vote.IsZero() {
		n.checkClose(st.Vote, st.CleanClose)
	}
	if !n.incarnation.IsZero() && log.Incarnation() != n.incarnation {
		n.s.violate("node %d: incarnation %v, was %v", n.id, log.Incarnation(), n.incarnation)
	}
	n.incarnation = log.Incarnation()
	peers := log.Peers()
	for _, peer := range n.s.nodes {
		if known, ok := n.known[peer.id]; ok && peers[peer.id] != known {
			n.s.violate("node %d forgot the incarnation of node %d", n.id, peer.id)
		}
	}
	n.known = peers
	clear(n.asking)
	return n.s.failure == nil
}

// checkClose holds what the log says of the lives since the vote was written to how they ended: whether all of them ended
// with a seal.
func (n *node) checkClose(vote codec.Vote, clean bool) {
	if vote != n.voteAtStart {
		n.losses = lostNothing // it was written in the life that has just ended, reported or not
	}
	n.voteAtStart = vote
	switch n.closing {
	case opened:
		n.losses = mayHaveLost
	case between:
		n.losses = max(n.losses, unsure)
	}
	if clean && n.losses == mayHaveLost || !clean && n.losses == lostNothing {
		n.s.violate("node %d: clean close is %v after a life that ended as %d, since the vote: %d", n.id, clean, n.closing, n.losses)
	}
	switch {
	case clean:
		n.losses = lostNothing
	case n.losses == lostNothing:
		n.losses = unsure
	}
}

func lastOf(st *codec.LogState) string {
	if len(st.Frames) == 0 {
		return "none"
	}
	return fmt.Sprint(st.Frames[len(st.Frames)-1].LastID())
}

// flushed is what the log calls. A life that is over counts for nothing, but for what its Close made durable.
func (n *node) flushed(life int, seq uint64, err error) {
	if life != n.life || n.dying {
		return
	}
	if n.poisoned {
		n.s.violate("node %d: write %d is reported durable, or failed, after its log was poisoned", n.id, seq)
	}
	if n.ghost.flush(seq) {
		n.losses = lostNothing
	}
	if err != nil {
		n.poisoned = true
	}
	if n.stopping {
		return
	}
	report := func() {
		if life == n.life && n.up {
			n.box.flushed = max(n.box.flushed, seq)
			n.box.failure = cmp.Or(n.box.failure, err)
			n.wake()
		}
	}
	if err != nil && n.rng.IntN(2) == 0 {
		report()
		return
	}
	// The report takes a while. What is submitted meanwhile belongs to the next batch, and must not profit from it; after
	// an error nothing may come of it.
	n.s.after(exponential(n.s.net.disk, n.s.shape.flush/2), report)
}

// crash ends a life without a word. With power, the process alone is gone and the files are as readers saw them;
// without, the disk decides, and the cut may fall into a group commit.
func (n *node) crash(r *rand.Rand, power bool) {
	if !n.up {
		return
	}
	n.dying = true
	d := n.disk
	if d.busy && r.IntN(4) > 0 {
		d.armCut(r, 6)
		if power {
			d.cutHow.KeepBlock, d.cutHow.KeepName, d.cutHow.TornBlock = 1, 1, 0
		}
		n.log.Pump()
	}
	n.cutSnapshot(r, power)
	switch {
	case d.cut != nil:
		d.mem = d.cut
	case !power:
		d.mem = d.mem.Crash(drawCut(r))
	}
	n.s.tracef("node %d crashes, power %v, in a write %v", n.id, power, d.cut != nil)
	n.end(between)
	n.dying = false
	n.closing = opened
}

// stop ends a life in order: everything submitted becomes durable and the log is sealed.
func (n *node) stop() {
	if !n.up {
		return
	}
	n.stopping = true
	harmed := n.disk.harmed
	err := n.log.Close()
	n.stopping = false
	n.s.tracef("node %d stops: %v", n.id, err)
	how := sealed
	if err != nil {
		how = between
	} else if n.disk.damaged && n.disk.harmed == harmed {
		n.disk.evident = true // the seal proves what stands before it
	}
	n.end(how)
}

// end is the end of every life.
func (n *node) end(how closing) {
	n.s.note(23, uint64(n.id), uint64(how))
	n.up, n.closing = false, how
	n.core, n.log = nil, nil
	n.life++
	n.disk.cutAt, n.disk.cut = 0, nil
	asks := n.box.asks
	n.box.asks = nil
	n.dropReads()
	n.s.workload.lost(n)
	n.s.net.died(n.id)
	if n.disk.damaged && !n.disk.evident {
		n.leave() // a torn tail and a lost one look the same: whoever knows that the disk lies must not go on with it
	}
	for _, a := range asks {
		a.done(true, errDown)
	}
}

// fail stops a node that can't go on; its files stay as they are, its locks go with it.
func (n *node) fail(err error) {
	if n.s.lenient && errors.Is(err, consensus.ErrCommittedConflict) {
		n.s.tracef("node %d stops for good: %v", n.id, err)
		n.leave()
		return
	}
	if !errors.Is(err, wal.ErrPoisoned) {
		n.s.violate("node %d stops: %v", n.id, err)
		return
	}
	n.s.tracef("node %d stops: %v", n.id, err)
	n.end(opened)
	n.startLater()
}

// pump lets the log write what waits, after the disk's latency.
func (n *node) pump() {
	if n.disk.busy {
		return
	}
	n.disk.busy = true
	life := n.life
	n.s.after(n.disk.latency(n.s.net.disk), func() { n.pumped(life) })
}

func (n *node) pumped(life int) {
	if life != n.life || !n.up {
		return
	}
	if wait := max(n.disk.until, n.paused) - n.s.now; wait > 0 {
		n.s.after(time.Duration(wait), func() { n.pumped(life) })
		return
	}
	n.disk.busy = false
	n.s.note(24, uint64(n.id))
	n.log.Pump()
	n.disk.pumped(n)
	n.s.faults.moved(n)
	n.s.check.disk(n)
}

// initializes reports whether this node is one that is given the first membership.
func (n *node) initializes() bool {
	m := &n.s.shape.membership
	return !n.wiped && (n.id == 1 || n.s.shape.initializeAll && ordinaryVoter(m, n.id))
}

// wireApplier gives a life its intake and its applier.
func (n *node) wireApplier(from pipeline.ApplierStart) bool {
	var err error
	n.intake, err = pipeline.NewIntake(pipeline.IntakeConfig{FrameBytesMax: n.s.shape.frameBytes()})
	if err == nil {
		n.applier, err = pipeline.NewApplier(&n.machine, from, pipeline.ApplierEvents{Room: func() {}, Failed: n.applierFailed})
	}
	if err != nil {
		n.s.violate("node %d: %v", n.id, err)
	}
	return err == nil
}
