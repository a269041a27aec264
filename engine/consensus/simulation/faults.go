package simulation

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/millrace/millrace/codec"
)

// gaps are the mean times between two faults of a class, from the most to the least frequent that a seed may draw.
// Classes that are not listed strike message by message or node by node.
var gaps = map[Class][2]time.Duration{
	ClassReplay:      {50 * time.Millisecond, 2 * time.Second},
	ClassDelay:       {time.Second, 10 * time.Second},
	ClassClog:        {time.Second, 10 * time.Second},
	ClassPartition:   {time.Second, 12 * time.Second},
	ClassReset:       {300 * time.Millisecond, 5 * time.Second},
	ClassKill:        {2 * time.Second, 20 * time.Second},
	ClassPowerCut:    {2 * time.Second, 15 * time.Second},
	ClassAllDown:     {8 * time.Second, 30 * time.Second},
	ClassStop:        {3 * time.Second, 15 * time.Second},
	ClassOutage:      {8 * time.Second, 30 * time.Second},
	ClassPause:       {2 * time.Second, 12 * time.Second},
	ClassStall:       {3 * time.Second, 20 * time.Second},
	ClassSyncError:   {4 * time.Second, 20 * time.Second},
	ClassShortWrite:  {4 * time.Second, 20 * time.Second},
	ClassNoSpace:     {5 * time.Second, 25 * time.Second},
	ClassReadError:   {time.Second, 6 * time.Second},
	ClassRot:         {500 * time.Millisecond, 4 * time.Second},
	ClassLostWrite:   {500 * time.Millisecond, 4 * time.Second},
	ClassStrayWrite:  {500 * time.Millisecond, 4 * time.Second},
	ClassWipe:        {100 * time.Millisecond, time.Second},
	ClassSnapshotRot: {200 * time.Millisecond, 2 * time.Second},
	ClassReversion:   {3 * time.Millisecond, 30 * time.Millisecond},

	ClassLearner:   {600 * time.Millisecond, 5 * time.Second},
	ClassPromote:   {200 * time.Millisecond, 1500 * time.Millisecond},
	ClassDemote:    {700 * time.Millisecond, 5 * time.Second},
	ClassRemove:    {time.Second, 6 * time.Second},
	ClassReplace:   {120 * time.Millisecond, 1200 * time.Millisecond},
	ClassQuorum:    {time.Second, 8 * time.Second},
	ClassJoint:     {2 * time.Second, 12 * time.Second},
	ClassPriority:  {time.Second, 10 * time.Second},
	ClassAddress:   {time.Second, 10 * time.Second},
	ClassRefusable: {time.Second, 8 * time.Second},
	ClassTransfer:  {500 * time.Millisecond, 6 * time.Second},
	ClassElect:     {time.Second, 8 * time.Second},
	ClassForget:    {time.Second, 8 * time.Second},
	ClassSwitch:    {time.Second, 8 * time.Second},
	ClassHeartbeat: {300 * time.Millisecond, 4 * time.Second},
}

// shares are the shares of seeds that a class is switched on in, where that is not one half.
var shares = map[Class]float64{
	ClassRot: 0.65, ClassLostWrite: 0.65, ClassStrayWrite: 0.65, ClassWipe: 0.6, ClassSnapshotRot: 0.65, ClassReversion: 0.15,
	ClassLearner: 0.65, ClassPromote: 0.65, ClassFuture: 0.6,
}

// faults is what goes wrong in a run.
//
// Owner: the run.
type faults struct {
	s                   *run
	on                  [ClassEnd]bool
	level               [ClassEnd]float64    // probability, or seconds between two
	rolls               [ClassEnd]*rand.Rand // what a class draws while the run goes on
	injected            [ClassEnd]int
	delayMin, delayMean time.Duration
}

// levels are the probabilities, per message or per pause, of the classes that strike that way.
var levels = map[Class][2]float64{
	ClassLoss:      {0.001, 0.3},
	ClassDuplicate: {0.005, 0.5},
	ClassCorrupt:   {0.0005, 0.01},
	ClassFuture:    {0.001, 0.02},
	ClassBurst:     {0.6, 1},
	ClassClock:     {1, 1},
}

// init draws which classes the seed switches on and how much of each: in a tenth of the seeds none, else each with
// probability one half; in a quarter of them nobody changes the membership.
func (f *faults) init(s *run) {
	f.s = s
	general := stream(s.opts.Seed, streamClasses)
	calm, fixed := general.IntN(10) == 0, general.IntN(4) == 0
	for c := range ClassEnd {
		r := stream(s.opts.Seed, streamClasses+1+uint64(c))
		f.rolls[c] = stream(s.opts.Seed, streamClassesDrawn+uint64(c))
		share, ok := shares[c]
		if !ok {
			share = 0.5
		}
		f.on[c] = r.Float64() < share && !calm && !s.opts.off(c) && !(fixed && c.changesMembership())
		if g, ok := gaps[c]; ok {
			f.level[c] = logUniform(r, g[0].Seconds(), g[1].Seconds())
		} else {
			f.level[c] = logUniform(r, levels[c][0], levels[c][1])
		}
		if c == ClassDelay {
			f.delayMin = time.Duration(r.Int64N(int64(30 * time.Millisecond)))
			f.delayMean = logDuration(r, time.Millisecond, 100*time.Millisecond)
		}
	}
	if f.on[ClassReversion] {
		f.on[ClassWipe] = false // an old image of a disk does not know the peers' disks
	}
}

func (f *faults) count(c Class) { f.injected[c]++ }

// begin sets the timed classes going.
func (f *faults) begin() {
	for c := range ClassEnd {
		if _, timed := gaps[c]; timed && f.on[c] {
			f.later(c)
		}
	}
}

func (f *faults) later(c Class) {
	f.s.after(exponential(f.rolls[c], time.Duration(f.level[c]*float64(time.Second))), func() {
		if f.s.healing {
			return
		}
		f.s.note(50, uint64(c))
		f.strike(c, f.rolls[c])
		f.later(c)
	})
}

// strikes says whether a class that goes by probability strikes now.
func (f *faults) strikes(c Class) bool {
	if !f.on[c] || f.s.healing || f.rolls[c].Float64() >= f.level[c] {
		return false
	}
	f.count(c)
	return true
}

// loses says whether a message is lost. A loss on the append lane costs a connection, so it is rarer there.
func (f *faults) loses(lane codec.Lane) bool {
	if lane == codec.LaneAppend && f.rolls[ClassLoss].IntN(8) > 0 {
		return false
	}
	return f.strikes(ClassLoss)
}

// delay returns what a message takes beyond the usual.
func (f *faults) delay(spike bool) time.Duration {
	if !f.on[ClassDelay] || f.s.healing {
		return 0
	}
	d := f.delayMin + exponential(f.rolls[ClassDelay], f.delayMean)
	if spike {
		d += time.Duration(f.rolls[ClassDelay].Int64N(int64(700 * time.Millisecond)))
	}
	return d
}

// lingers returns how much longer a request to campaign takes: it is the one message that must not be obeyed late, and
// there are few of them.
func (f *faults) lingers() time.Duration {
	r := f.rolls[ClassDelay]
	if !f.on[ClassDelay] || f.s.healing || r.IntN(2) == 0 {
		return 0
	}
	return exponential(r, f.s.shape.heartbeat/2)
}

// corrupts returns a damaged copy of a message, or nil.
func (f *faults) corrupts(b []byte) []byte {
	if !f.strikes(ClassCorrupt) {
		return nil
	}
	r, bad := f.rolls[ClassCorrupt], bytes.Clone(b)
	at := r.IntN(len(bad))
	bad[at] ^= 1 << r.IntN(8)
	return bad
}

// forges returns a copy of an append whose frame, one entry long, is of a kind that no build knows yet, its checksum
// right; or nil.
func (f *faults) forges(b []byte, m codec.FrameMeta) []byte {
	if m.Count != 1 || m.HeaderOnly || !f.strikes(ClassFuture) {
		return nil
	}
	const kindAt, crcAt = 1, 48 // in a frame
	b = bytes.Clone(b)
	frame := b[codec.MessageHeaderSize:]
	frame[kindAt] = byte(codec.EntryRestore) + 1 + byte(f.rolls[ClassFuture].IntN(8))
	binary.LittleEndian.PutUint32(frame[crcAt:], codec.UpdateChecksum(codec.Checksum(frame[:crcAt]), frame[codec.FrameHeaderSize:]))
	return b
}

// repeats says whether a message arrives again, and how much later.
func (f *faults) repeats() (late time.Duration, again bool) {
	if !f.strikes(ClassDuplicate) {
		return 0, false
	}
	return exponential(f.rolls[ClassDuplicate], 20*time.Millisecond), true
}

// bursts returns how often the timers of a process fire that was paused, before it reads what waits.
func (f *faults) bursts() int {
	if !f.strikes(ClassBurst) {
		return 0
	}
	return 1 + f.rolls[ClassBurst].IntN(6)
}

// readsBadly says whether a read fails while a log is opened.
func (f *faults) readsBadly() bool {
	return f.on[ClassReadError] && !f.s.healing && f.rolls[ClassReadError].IntN(8) == 0
}

// clockRate draws how fast a node's clock runs, in thousandths.
func (f *faults) clockRate() int64 {
	rate := 900 + f.rolls[ClassClock].Int64N(201)
	if !f.on[ClassClock] {
		return 1000
	}
	f.count(ClassClock)
	return rate
}

// downtime draws how long a node stays down.
func (f *faults) downtime() time.Duration {
	if f.s.healing {
		return time.Millisecond
	}
	return logDuration(f.rolls[ClassKill], 50*time.Millisecond, 3*time.Second)
}

// cutsOpen says whether the power goes while a log is opened.
func (f *faults) cutsOpen() bool {
	return f.on[ClassPowerCut] && !f.s.healing && f.rolls[ClassPowerCut].IntN(6) == 0
}

// victim draws a node that is not gone, often the leader: that is where it hurts.
func (f *faults) victim(r *rand.Rand) *node {
	n := f.s.nodes[r.IntN(len(f.s.nodes))]
	for range f.s.nodes {
		if !n.gone {
			break
		}
		n = f.s.nodes[int(n.id)%len(f.s.nodes)]
	}
	if r.IntN(2) == 0 {
		for _, o := range f.s.nodes {
			if o.up && o.leads() {
				return o
			}
		}
	}
	return n
}

// strike lets one timed fault happen.
func (f *faults) strike(c Class, r *rand.Rand) {
	if c >= ClassLearner {
		f.s.admin.strike(c, r)
		return
	}
	n := f.victim(r)
	peer := f.s.nodes[(int(n.id)+r.IntN(max(1, len(f.s.nodes)-1)))%len(f.s.nodes)]
	l := f.s.net.link(n.id, peer.id)
	length := logDuration(r, 50*time.Millisecond, 5*time.Second)
	until := f.s.now + int64(length)
	f.s.tracef("fault %v at node %d, peer %d, %v", c, n.id, peer.id, length)
	switch c {
	case ClassReplay:
		if !f.s.net.replay(n, r) {
			return
		}
	case ClassDelay:
		l.slow = until
	case ClassClog:
		l.clogged = until
	case ClassPartition:
		cut, oneWay := f.pattern(r), r.IntN(4) == 0
		f.partition(func(i, j int) bool { return cut(i, j) && (!oneWay || i < j) }, time.Second+exponential(r, 2*time.Second))
	case ClassReset:
		f.s.net.sever(n.id, peer.id, codec.LaneAppend)
	case ClassStall:
		n.disk.until = until
	case ClassPause:
		if n.leads() && r.IntN(2) == 0 { // about as long as others take to replace it
			until = f.s.now + int64(f.s.shape.timeout)*(7+r.Int64N(20))/10
		}
		n.paused = until
	default:
		if !f.strikeNode(c, r, n, until) {
			return
		}
	}
	f.count(c)
}

// haunt may end a leader shortly after it proposed a membership, which is when the group is the most vulnerable.
func (f *faults) haunt(n *node) {
	c := ClassKill
	if f.on[ClassPowerCut] && f.rolls[ClassPowerCut].IntN(2) == 0 {
		c = ClassPowerCut
	}
	r := f.rolls[c]
	if !f.on[c] || f.s.healing || r.IntN(5) > 0 {
		return
	}
	f.endSoon(c, n, r)
}

// moved may end a node shortly after its log wrote something again, or gave files back: in the next batches the old place or
// the new one counts. Where a life before ended without a seal and the vote is still that life's, it may end in order, since
// only then does anybody ask what the new place says of it.
func (f *faults) moved(n *node) {
	if n.poisoned {
		return
	}
	st := n.log.Stats()
	moved, gone := int(st.MovedRecords)-n.moved.records, int(st.ReclaimedSegments)-n.moved.segments
	n.moved = moves{int(st.MovedRecords), int(st.ReclaimedSegments)}
	f.s.moved += moved
	f.s.reclaimed += gone
	if moved == 0 && gone == 0 || f.s.healing {
		return
	}
	c, within := [...]Class{ClassKill, ClassPowerCut, ClassStop}[f.rolls[ClassStop].IntN(3)], 50
	if n.losses == mayHaveLost && n.ghost.disk.vote == n.voteAtStart && gone > 0 {
		c, within = ClassStop, 10
	}
	r := f.rolls[c]
	if !f.on[c] || r.IntN(within) > 0 {
		return
	}
	f.endSoon(c, n, r)
}

// endSoon ends a node, if it is still up then.
func (f *faults) endSoon(c Class, n *node, r *rand.Rand) {
	life := n.life
	f.s.after(exponential(r, 2*(f.s.shape.flush+f.s.shape.delay)), func() {
		if !n.up || n.life != life || f.s.healing {
			return
		}
		f.count(c)
		if c == ClassStop {
			n.stop()
		} else {
			n.crash(r, c == ClassKill)
		}
		n.startLater()
	})
}

// strikeNode lets one fault of a process or its disk happen and reports whether it is to be counted now.
func (f *faults) strikeNode(c Class, r *rand.Rand, n *node, until int64) bool {
	switch c {
	case ClassAllDown:
		for _, o := range f.s.nodes {
			if o.up {
				o.crash(r, false)
				o.startLater()
			}
		}
		return true
	case ClassSyncError:
		n.disk.eio = n.up
		return false // counted when it happens
	case ClassShortWrite:
		n.disk.short = n.up
		return false
	case ClassNoSpace:
		n.disk.full = until
		return false
	case ClassReadError:
		n.disk.badRead = n.up
		return false
	case ClassRot, ClassLostWrite, ClassStrayWrite, ClassWipe, ClassSnapshotRot, ClassReversion:
		return f.strikeDisk(c, r, n)
	}
	if !n.up {
		return false
	}
	switch c {
	case ClassKill:
		n.crash(r, true)
	case ClassPowerCut:
		n.crash(r, false)
	case ClassStop:
		n.stop()
	case ClassOutage:
		n.crash(r, true)
		f.s.after(5*time.Second+exponential(r, 10*time.Second), n.start)
		return true
	}
	n.startLater()
	return true
}

// partition cuts links for a while: those between nodes, by position, for which cut says so.
func (f *faults) partition(cut func(i, j int) bool, hold time.Duration) {
	var links []*link
	for i, a := range f.s.nodes {
		for j, b := range f.s.nodes {
			if i != j && cut(i, j) {
				links = append(links, f.s.net.link(a.id, b.id))
			}
		}
	}
	for _, l := range links {
		l.cuts++
	}
	f.s.after(hold, func() {
		for _, l := range links {
			l.cuts = max(0, l.cuts-1)
		}
	})
}

// depose may cut a new leader off a while after it was elected, for as long as the others take to elect another one, and
// lets clients propose much to it: the next leader has to cut all that, and has not purged yet what stands before.
func (f *faults) depose(n *node) {
	r := f.rolls[ClassPartition]
	if !f.on[ClassPartition] || f.s.healing || r.IntN(2) > 0 {
		return
	}
	life := n.life
	f.s.after(exponential(r, 5*f.s.shape.timeout), func() {
		if n.life != life || !n.leads() || f.s.healing {
			return
		}
		f.s.tracef("node %d is cut off, as its leader", n.id)
		f.count(ClassPartition)
		at := slices.Index(f.s.nodes, n)
		f.partition(func(i, j int) bool { return i == at || j == at }, 4*f.s.shape.timeout+exponential(r, 2*f.s.shape.timeout))
		f.s.workload.flood(n, r)
	})
}

// pattern draws which nodes, by position, don't reach each other.
func (f *faults) pattern(r *rand.Rand) func(i, j int) bool {
	order := r.Perm(len(f.s.nodes)) // position of each node in a random line
	half := len(order) / 2
	leader := 0
	for i, n := range f.s.nodes {
		if n.up && n.leads() {
			leader = i
		}
	}
	switch r.IntN(6) {
	case 0: // one alone
		return func(i, j int) bool { return (order[i] == 0) != (order[j] == 0) }
	case 1: // two random sides
		side := r.Uint64()
		return func(i, j int) bool { return side>>i&1 != side>>j&1 }
	case 2: // the leader in a minority
		small := func(i int) bool {
			return i == leader || order[i] < (len(order)-1)/2 && order[i] != order[leader] && order[i] < half-1
		}
		return func(i, j int) bool { return small(i) != small(j) }
	case 3: // a bridge: two sides that only one node reaches
		return func(i, j int) bool {
			return order[i] != half && order[j] != half && (order[i] < half) != (order[j] < half)
		}
	case 4: // a chain
		return func(i, j int) bool { return order[i]-order[j] > 1 || order[j]-order[i] > 1 }
	default: // a star around one that needn't be the leader
		return func(i, j int) bool { return order[i] != 0 && order[j] != 0 }
	}
}
