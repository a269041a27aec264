package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine/consensus"
	"github.com/millrace/millrace/pipeline"
)

// The interfaces an embedding program may implement, and the values that pass through them. What each method promises and
// is promised, and who may keep which bytes, stands with them in package pipeline.
type (
	// StateMachine is what committed entries are applied to, by its one method, Apply. Package engine/storagetest tests one.
	StateMachine = pipeline.StateMachine
	// Snapshotter is a StateMachine whose state can be taken, by Snapshot, and given, by Restore. Without it no log is ever
	// purged.
	Snapshotter = pipeline.Snapshotter
	// SnapshotSource is a state that a Snapshotter has captured: WriteTo writes it while entries are applied, Close frees it.
	SnapshotSource = pipeline.SnapshotSource
	// Adopter is an OnDisk that can take the state of another log, by Adopt, for [Import] and [Raft.Restore].
	Adopter = pipeline.Adopter
	// OnDisk is a Snapshotter that keeps its state on disk by itself, says by Applied how far it is, and makes it durable
	// by Sync.
	OnDisk = pipeline.OnDisk
	// Entry is a committed entry: its ID, Kind and Data.
	Entry = pipeline.Entry
	// Result is the answer to a proposal: LogID, where its entry stands in the log, and Data, what the state machine said.
	Result = pipeline.Result
	// Log replaces the write-ahead log; see [Config].
	Log = pipeline.Log
	// GroupLog is one group's part of a Log.
	GroupLog = pipeline.GroupLog
	// Transport replaces TCP; see [Config].
	Transport = pipeline.Transport
)

// theGroup is the only group of a node so far.
const theGroup codec.GroupID = 1

// Raft is one node of one group. Its methods may be called from any goroutine.
type Raft struct {
	cfg       Config
	log       pipeline.Log
	transport pipeline.Transport
	intake    *pipeline.Intake
	box       *mailbox
	loop      *loop

	leads   atomic.Bool                         // this node leads
	leader  atomic.Pointer[codec.Node]          // known leader; nil when none
	members atomic.Pointer[EffectiveMembership] // never changed once published; nil when none is known
	// changedMu guards changed. No owner would do: callers wait for a change without a detour through the loop.
	changedMu sync.Mutex
	changed   chan struct{}          // closed at the next change of leader
	office    atomic.Pointer[office] // who leads; never nil
	events    eventHub
	watch     watchHub
	callbacks callbackHub
	reads     readGate
	lease     leaseView
	fresh     atomic.Pointer[freshness] // newest state that was read; nil for none

	done    chan struct{}           // closed when the node has ended
	failure error                   // why, when it ended by itself; set before done is closed
	logErr  error                   // of closing the log; set before done is closed
	last    atomic.Pointer[Metrics] // of the moment it ended; set before the mailbox closes
	closing sync.Once
}

// Open starts a node: it opens the log, reads what it holds, and begins to listen. A node whose log is empty waits to
// be initialized, or to be found by a leader. A witness has no state machine: there sm must be nil. Errors: a
// [ConfigError]; a [WitnessError], or one that wraps [ErrWitnessLog], where the log belongs to another kind of node; what
// the log or the transport return, naming the directory or the address.
func Open(cfg Config, sm StateMachine) (*Raft, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	switch {
	case sm == nil && !cfg.Witness:
		return nil, &ConfigError{"StateMachine", "nil", "a state machine, or Witness set"}
	case sm != nil && cfg.Witness:
		return nil, &ConfigError{"StateMachine", fmt.Sprintf("%T", sm), "nil for a witness, which has no state"}
	}
	r := &Raft{cfg: cfg, changed: make(chan struct{}), done: make(chan struct{})}
	r.office.Store(&office{})
	r.watch.changed, r.callbacks.end = make(chan struct{}), make(chan struct{})
	if r.log = cfg.Log; r.log == nil {
		if r.log, err = openLog(&cfg); err != nil {
			return nil, err
		}
	}
	if r.transport = cfg.Transport; r.transport == nil {
		if r.transport, err = newTransport(&cfg, r.log.Incarnation()); err != nil {
			return nil, errors.Join(err, r.log.Close())
		}
	}
	if err := r.start(sm); err != nil {
		return nil, errors.Join(err, r.transport.Close(), r.log.Close())
	}
	return r, nil
}

// start wires the parts and sets the loop going.
func (r *Raft) start(sm StateMachine) error {
	wake := make(chan struct{}, 1)
	r.box = &mailbox{bytesMax: r.cfg.ReceiveBytesMax, wake: wake}
	var err error
	r.intake, err = pipeline.NewIntake(pipeline.IntakeConfig{
		BytesMax: r.cfg.IntakeBytesMax, FrameBytesMax: r.cfg.FrameBytesMax, ProposalBytesMax: r.cfg.ProposalBytesMax, Ready: wake,
		Sampling: pipeline.Sampling{Observe: r.cfg.Stages, Interval: r.cfg.StageInterval},
	})
	if err != nil {
		return err
	}
	groupLog, state, err := r.log.Group(theGroup, func(seq uint64, err error) {
		if err != nil {
			r.box.post(func(m *mail) { m.failure = err })
			return
		}
		r.box.noteFlushed(seq)
	})
	if err != nil {
		return err
	}
	l := &loop{
		raft: r, cfg: &r.cfg, logs: r.cfg.loggers(), box: r.box, intake: r.intake, groupLog: groupLog, transport: r.transport,
		start: time.Now(), armed: consensus.Never, timer: time.NewTimer(time.Hour), trusted: map[codec.NodeID]bool{}, impostors: map[codec.NodeID]bool{},
		disagreed: map[codec.NodeID]bool{}, unheard: map[codec.NodeID]bool{}, lostBy: errLostLeadership, forwarding: newForwarding(),
	}
	l.timer.Stop()
	if l.keeper, err = newKeeper(l, sm); err != nil {
		return fmt.Errorf("node %d: %w", r.cfg.NodeID, err)
	}
	if err := r.begin(l, sm, state); err != nil {
		l.keeper.stop(ErrStopped)
		return errors.Join(err, l.keeper.wait())
	}
	r.loop = l
	go l.run()
	return nil
}

// begin makes of what the log and the snapshots hold a node that is ready to run.
func (r *Raft) begin(l *loop, sm StateMachine, state codec.LogState) error {
	from, err := l.keeper.pick(sm, state.Base)
	if err != nil {
		return fmt.Errorf("node %d: %w", r.cfg.NodeID, err)
	}
	state.Snapshot = from.start.Base
	if l.core, err = consensus.New(r.cfg.consensus(), state, l.clock()); err != nil {
		return fmt.Errorf("node %d: %w", r.cfg.NodeID, err)
	}
	if err := cmp.Or(l.checkWitness(), l.checkReach(state.Base.ID)); err != nil {
		return err
	}
	if i := slices.IndexFunc(state.Frames, func(f codec.FrameMeta) bool { return f.HeaderOnly }); i >= 0 && !r.cfg.Witness {
		return fmt.Errorf("node %d is opened as an ordinary member, and the entry %v is without its content: %w",
			r.cfg.NodeID, state.Frames[i].LastID(), ErrWitnessLog)
	}
	l.publishMembership()
	l.commits = pipeline.NewCommitStage(l.groupLog)
	l.streams = pipeline.NewStreamStage(l.groupLog, r.transport, func(cold pipeline.ColdFrame) {
		r.box.post(func(m *mail) { m.cold = append(m.cold, cold) })
	})
	if err := r.link(l); err != nil {
		return err
	}
	if err := l.keeper.start(sm, &from, state.Frames); err != nil {
		return fmt.Errorf("node %d: %w", r.cfg.NodeID, err)
	}
	return nil
}

// link starts the transport.
func (r *Raft) link(l *loop) error {
	l.book = newPeerBook(r.cfg.NodeID, r.log, func(id codec.NodeID) {
		r.box.post(func(m *mail) { m.trusted = append(m.trusted, id) })
	})
	for id := range l.book.known {
		l.trusted[id], l.unheard[id] = true, true
	}
	for _, id := range l.book.setMembers(l.core.Membership()) {
		l.trusted[id] = false // another disk came by that id before the membership told which one it is
	}
	return r.transport.Start(codec.Link{
		Incarnation: r.log.Incarnation(),
		Verify: func(id codec.NodeID, incarnation codec.Incarnation) error {
			err := l.book.verify(id, incarnation)
			if err != nil {
				r.events.emit(PeerRefused{Peer: id, Cause: err})
			}
			return err
		},
		Deliver: r.box.deliver,
		Down: func(id codec.NodeID, lane codec.Lane) {
			switch lane {
			case codec.LaneAppend:
				r.box.post(func(m *mail) { m.downs = append(m.downs, id) })
			case codec.LaneSnapshot:
				r.box.post(func(m *mail) { m.broken = append(m.broken, id) })
			}
		},
	})
}

// Propose appends data to the replicated log and returns the state machine's answer once the entry is committed and
// applied on this node. It copies data; the caller may use it again at once. It must be called on the leader; while that
// hands its office over, proposals wait.
//
// Errors by what they say of the proposal, as [FateOf] tells. It certainly did not happen: [NotLeaderError],
// [ErrTooLarge], an error that wraps [ErrStopped] but is no [UnknownError], or the context's error alone, when it ended
// before there was room. Its fate is unknown: [UnknownError]. Without a deadline in ctx Propose waits for as long as the
// leader keeps its office.
func (r *Raft) Propose(ctx context.Context, data []byte) (Result, error) {
	if !r.leads.Load() {
		return Result{}, r.notLeader()
	}
	return r.intake.Propose(ctx, data)
}

// ProposeBatch proposes several entries in one call, in order, and returns their results together. Errors as
// [Raft.Propose]; an [UnknownError] says that some of them may have happened. Together they may have as many bytes as
// [Config.IntakeBytesMax], else the error wraps [ErrTooLarge].
func (r *Raft) ProposeBatch(ctx context.Context, datas [][]byte) ([]Result, error) {
	if !r.leads.Load() {
		return nil, r.notLeader()
	}
	return r.intake.ProposeBatch(ctx, datas)
}

// ProposeAsync proposes data and returns at once. fn gets what [Raft.Propose] would have returned, on the goroutine
// that answers everyone: it must not block, and may propose again. Errors, after which fn is never called: those that
// say that nothing happened, a [BusyError] where Propose would have waited for room, and an [ArgumentError] for no fn.
func (r *Raft) ProposeAsync(data []byte, fn func(Result, error)) error {
	if fn == nil {
		return &ArgumentError{"ProposeAsync", "a nil fn", "a function"}
	}
	if !r.leads.Load() {
		return r.notLeader()
	}
	return r.intake.ProposeAsync(data, fn)
}

// notLeader returns the error for a proposal that this node can't take.
func (r *Raft) notLeader() error {
	select {
	case <-r.done:
		return r.stopped()
	default:
	}
	if err := r.intake.Err(); err != nil { // it is on its way out
		return err
	}
	e := &NotLeaderError{Node: r.cfg.NodeID}
	if n := r.leader.Load(); n != nil && n.ID != r.cfg.NodeID {
		e.Leader = *n
	}
	return e
}

// Initialize makes this node, and through it all nodes of the membership, a cluster. It is called once in the life of a
// cluster on any one of its voters that is no witness; calling it on several with the same membership is harmless. It
// returns when the membership is durable on this node. Errors: [ErrInitialized]; one that wraps [ErrMembership] and says
// what is wrong with the membership; the context's, where it had ended before; what wraps [ErrStopped]; an [UnknownError]
// when ctx or the node ended while it waited, after which the same call may be made again.
func (r *Raft) Initialize(ctx context.Context, m codec.Membership) error {
	return r.noted("initialized", r.askInitialize(ctx, m), "nodes", len(m.Nodes))
}

func (r *Raft) askInitialize(ctx context.Context, m codec.Membership) error {
	if err := m.Validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrMembership, err)
	}
	if !m.IsVoter(r.cfg.NodeID) {
		return fmt.Errorf("%w: node %d is not among its voters, want the node that is initialized to be one", ErrMembership, r.cfg.NodeID)
	}
	if n, _ := m.Node(r.cfg.NodeID); n.Witness != r.cfg.Witness {
		return fmt.Errorf("%w: node %d is a witness: %t, it was opened as one: %t", ErrMembership, n.ID, n.Witness, r.cfg.Witness)
	}
	if err := checkAddresses(r.transport, &m); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	m = m.Clone()
	reply := make(chan error, 1)
	if !r.box.post(func(in *mail) { in.asks = append(in.asks, func(l *loop) { l.initialize(&m, reply) }) }) {
		return r.stopped()
	}
	select {
	case err := <-reply:
		return err
	case <-ctx.Done():
		return &UnknownError{Cause: context.Cause(ctx)}
	case <-r.done:
	}
	select {
	case err := <-reply: // the loop had begun with it
		return err
	default:
		return r.stopped()
	}
}

// initialize runs in the loop.
func (l *loop) initialize(m *codec.Membership, reply chan<- error) {
	meta := codec.FrameMeta{Group: theGroup, First: 1, Count: 1, Kind: codec.EntryMembership}
	f, err := membershipFrame(meta, m)
	if err != nil {
		reply <- err
		return
	}
	meta.Size = len(f.Bytes())
	l.stepFrame(consensus.Input{Kind: consensus.InputInitialize, Membership: m, Frame: meta}, f)
	if l.out.Refused {
		reply <- l.out.Reason
		return
	}
	l.awaiting = append(l.awaiting, flushAsk{l.out.Write.Seq, reply})
}

// Leader returns the leader this node knows of, false for none. Its address is empty while this node does not know the
// membership yet.
func (r *Raft) Leader() (codec.Node, bool) {
	if n := r.leader.Load(); n != nil {
		return *n, true
	}
	return codec.Node{}, false
}

// WaitLeader returns the leader as soon as this node knows of one, as [Raft.Leader] does. Errors: the context's; one that
// wraps [ErrStopped].
func (r *Raft) WaitLeader(ctx context.Context) (codec.Node, error) {
	for {
		changed := r.changes()
		if n, ok := r.Leader(); ok {
			return n, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return codec.Node{}, context.Cause(ctx)
		case <-r.done:
			return codec.Node{}, r.stopped()
		}
	}
}

// setLeader publishes the leader by a vote; the zero Node is none. The loop calls it.
func (r *Raft) setLeader(n codec.Node, vote codec.Vote) {
	r.leads.Store(n.ID == r.cfg.NodeID)
	now := &office{n.ID == r.cfg.NodeID, n, vote}
	r.office.Store(now)
	r.callbacks.tell(now)
	if n.ID == 0 {
		r.leader.Store(nil)
	} else {
		r.leader.Store(&n)
	}
	r.changedMu.Lock()
	close(r.changed)
	r.changed = make(chan struct{})
	r.changedMu.Unlock()
}

// NodeID returns the node's id.
func (r *Raft) NodeID() codec.NodeID { return r.cfg.NodeID }

// Addr returns the address at which peers reach this node, with the real port where Listen left it open.
func (r *Raft) Addr() string { return r.transport.Addr() }

// Done is closed when the node has ended, by [Raft.Close] or by itself.
func (r *Raft) Done() <-chan struct{} { return r.done }

// Err returns why the node ended by itself: an error of its log, its state machine, a peer's message that contradicts what
// is committed, or a membership that makes of it what it was not opened as ([WitnessError], [ErrWitnessLog]). It is nil
// while it runs and after a plain Close.
func (r *Raft) Err() error {
	select {
	case <-r.done:
		return r.failure
	default:
		return nil
	}
}

// stopped returns the error for calls that came too late.
func (r *Raft) stopped() error {
	if err := r.Err(); err != nil {
		return fmt.Errorf("node %d %w: %w", r.cfg.NodeID, ErrStopped, err)
	}
	return fmt.Errorf("node %d %w", r.cfg.NodeID, ErrStopped)
}
