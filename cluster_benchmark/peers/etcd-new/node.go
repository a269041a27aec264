package main

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/millrace/millrace/cluster_benchmark/safety"
	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/pipeline"
)

// tick is etcd's heartbeat interval; an election times out after ten.
const tick = 100 * time.Millisecond

// backlogMax bounds the bytes of puts that are proposed and not yet answered. Above it they wait in the intake.
const backlogMax = 64 << 20

// node is one raft node and the goroutine that drives it.
type node struct {
	id      uint64
	intake  *pipeline.Intake
	ready   chan struct{} // capacity 1: something waits in the intake or the inbox, or closing was set
	inbox   inbox
	closing atomic.Bool
	done    chan struct{} // closed when the driver has ended
	failure atomic.Pointer[error]
	leading atomic.Bool
	last    atomic.Uint64 // index of the last entry in the log
	applied atomic.Uint64
	frames  atomic.Uint64
	entries atomic.Uint64

	// Owner: the driver.
	raw     *raft.RawNode
	log     *storage
	net     network
	machine *safety.Machine
	waiting []proposed // in the order of their indexes
	placed  int        // how many of them have a place in the log
	backlog int        // bytes of all of them
	batches []*pipeline.Batch
	decoded []codec.Entry
	props   []*raftpb.Entry
	early   []*raftpb.Message
	late    []*raftpb.Message
	results []pipeline.Result
}

// proposed is a batch of puts that was handed to raft.
type proposed struct {
	batch   *pipeline.Batch
	first   codec.LogID
	entries int
	bytes   int
}

// inbox holds messages of other nodes until the driver takes them all.
type inbox struct {
	mu       sync.Mutex
	messages []*raftpb.Message
}

func (b *inbox) put(m *raftpb.Message) {
	b.mu.Lock()
	b.messages = append(b.messages, m)
	b.mu.Unlock()
}

// take returns all messages, and keeps room for the next ones.
func (b *inbox) take(room []*raftpb.Message) []*raftpb.Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	taken := b.messages
	b.messages = room[:0]
	return taken
}

func newNode(id uint64, log *storage, machine *safety.Machine) (*node, error) {
	n := &node{id: id, log: log, machine: machine, ready: make(chan struct{}, 1), done: make(chan struct{})}
	var err error
	if n.intake, err = pipeline.NewIntake(pipeline.IntakeConfig{Ready: n.ready}); err != nil {
		return nil, err
	}
	n.raw, err = raft.NewRawNode(&raft.Config{
		ID: id, Storage: log.memory, Applied: firstIndex,
		ElectionTick: 10, HeartbeatTick: 1, PreVote: true, CheckQuorum: true,
		MaxSizePerMsg: 1 << 20, MaxCommittedSizePerReady: 64 << 20, MaxInflightMsgs: 512,
		DisableProposalForwarding: true, Logger: quiet,
	})
	n.last.Store(firstIndex)
	n.applied.Store(firstIndex)
	return n, err
}

// deliver takes a message of another node. Any goroutine may call it.
func (n *node) deliver(m *raftpb.Message) {
	n.inbox.put(m)
	n.poke()
}

func (n *node) poke() {
	select {
	case n.ready <- struct{}{}:
	default:
	}
}

// run drives the node until it is closed or fails. The yield lets clients that are about to put, and nodes that are about
// to send, do so first: one Ready then carries hundreds of entries instead of a handful.
func (n *node) run(campaign bool) {
	defer close(n.done)
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	var messages []*raftpb.Message
	err := error(nil)
	if campaign {
		err = n.raw.Campaign()
	}
	for err == nil {
		select {
		case <-n.ready:
		case <-ticker.C:
			n.raw.Tick()
		}
		runtime.Gosched()
		if n.closing.Load() {
			err = pipeline.ErrStopped
			break
		}
		messages = n.inbox.take(messages)
		for i := range messages {
			// The error says that a message came too late to matter, as a network may make it.
			_ = n.raw.Step(messages[i])
		}
		clear(messages)
		n.propose()
		for err == nil && n.raw.HasReady() {
			err = n.handle()
		}
	}
	n.end(err)
}

// propose hands everything that waits in the intake to raft, as one message.
func (n *node) propose() {
	if n.backlog > backlogMax {
		return // answers make room, and this is called again after each
	}
	n.batches = n.intake.Take(n.batches[:0])
	if len(n.batches) == 0 {
		return
	}
	if n.raw.BasicStatus().RaftState != raft.StateLeader {
		for _, b := range n.batches {
			b.Fail(errNotLeading)
		}
		return
	}
	before := len(n.waiting)
	for _, b := range n.batches {
		n.add(b)
	}
	err := n.raw.Step(&raftpb.Message{Type: raftpb.MsgProp.Enum(), From: new(n.id), Entries: n.props})
	clear(n.props)
	n.props = n.props[:0]
	if err != nil { // nothing was appended
		for _, w := range n.waiting[before:] {
			n.backlog -= w.bytes
			w.batch.Fail(err)
		}
		n.waiting = n.waiting[:before]
		return
	}
	n.frames.Add(uint64(len(n.batches)))
}

// add appends a batch's puts to what is proposed next.
func (n *node) add(b *pipeline.Batch) {
	w := proposed{batch: b, entries: b.Entries(), bytes: b.Bytes() + b.Entries()*pipeline.EntryOverhead}
	frame, err := b.Seal(1, codec.LeaderID{Term: 1, Node: 1}, 1, codec.CompressionNone)
	if err == nil {
		n.decoded, err = frame.AppendEntries(n.decoded[:0])
	}
	if err != nil {
		panic("BUG: the intake's limits keep a batch within a frame: " + err.Error())
	}
	for i := range n.decoded {
		data := n.decoded[i].Data
		if data == nil {
			data = []byte{} // raft's own blank entries are the ones without
		}
		n.props = append(n.props, &raftpb.Entry{Data: data})
	}
	clear(n.decoded)
	n.waiting = append(n.waiting, w)
	n.backlog += w.bytes
	n.entries.Add(uint64(w.entries))
}

// handle does what one Ready asks for.
func (n *node) handle() error {
	ready := n.raw.Ready()
	if ready.SoftState != nil {
		n.leading.Store(ready.SoftState.RaftState == raft.StateLeader)
	}
	n.place(ready.Entries)
	n.early, n.late = n.early[:0], n.late[:0]
	for _, m := range ready.Messages {
		// What a leader replicates may leave before it has written it itself. Everything else promises something.
		if m.GetType() == raftpb.MsgApp || m.GetType() == raftpb.MsgHeartbeat {
			n.early = append(n.early, m)
		} else {
			n.late = append(n.late, m)
		}
	}
	n.net.send(n.early)
	if err := n.log.save(ready.HardState, ready.Entries); err != nil {
		return err
	}
	if !raft.IsEmptySnap(ready.Snapshot) {
		panic("BUG: no node lacks what another one has compacted")
	}
	n.net.send(n.late)
	if err := n.apply(ready.CommittedEntries); err != nil {
		return err
	}
	n.raw.Advance(ready)
	return nil
}

// place notes which entries the puts became that were just proposed: the last ones of the Ready that follows.
func (n *node) place(entries []*raftpb.Entry) {
	if len(entries) == 0 {
		return
	}
	last := entries[len(entries)-1]
	n.last.Store(last.GetIndex())
	index := last.GetIndex() + 1
	for i := n.placed; i < len(n.waiting); i++ {
		index -= uint64(n.waiting[i].entries)
	}
	for ; n.placed < len(n.waiting); n.placed++ {
		n.waiting[n.placed].first = logID(last.GetTerm(), index)
		index += uint64(n.waiting[n.placed].entries)
	}
}

// logID names an entry as every replica does: raft elects one leader per term at most, so which one it is says nothing.
func logID(term, index uint64) codec.LogID {
	return codec.LogID{Leader: codec.LeaderID{Term: codec.Term(term), Node: 1}, Index: codec.Index(index)}
}

// apply gives committed entries to the state machine and answers.
func (n *node) apply(entries []*raftpb.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	n.decoded = n.decoded[:0]
	for _, e := range entries {
		if e.Data != nil {
			n.decoded = append(n.decoded, codec.Entry{ID: logID(e.GetTerm(), e.GetIndex()), Kind: codec.EntryNormal, Data: e.Data})
		}
	}
	if err := n.machine.Apply(n.decoded, nil); err != nil {
		return err
	}
	clear(n.decoded)
	n.answer(entries)
	last := entries[len(entries)-1].GetIndex()
	n.applied.Store(last)
	return n.log.compact(last)
}

// answer answers the puts that the entries complete.
func (n *node) answer(entries []*raftpb.Entry) {
	first, last := entries[0].GetIndex(), entries[len(entries)-1].GetIndex()
	answered := 0
	for _, w := range n.waiting[:n.placed] {
		end := uint64(w.first.Index) + uint64(w.entries) - 1
		if end > last {
			break
		}
		answered++
		n.backlog -= w.bytes
		if entries[end-first].GetTerm() != uint64(w.first.Leader.Term) {
			w.batch.Lose(w.first, errOverwritten)
			continue
		}
		n.results = n.results[:0]
		for i := range w.entries {
			n.results = append(n.results, pipeline.Result{LogID: codec.LogID{Leader: w.first.Leader, Index: w.first.Index + codec.Index(i)}})
		}
		w.batch.Answer(n.results)
	}
	rest := copy(n.waiting, n.waiting[answered:])
	clear(n.waiting[rest:])
	n.waiting = n.waiting[:rest]
	n.placed -= answered
}

// end answers everyone who still waits.
func (n *node) end(err error) {
	n.leading.Store(false)
	if !errors.Is(err, pipeline.ErrStopped) {
		n.failure.Store(&err)
	}
	n.intake.Close(err)
	for _, b := range n.intake.Take(nil) {
		b.Fail(err)
	}
	for _, w := range n.waiting {
		w.batch.Lose(w.first, err)
	}
}

// close makes the driver end, and returns the error it failed with.
func (n *node) close() error {
	n.intake.Close(pipeline.ErrStopped)
	n.closing.Store(true)
	n.poke()
	<-n.done
	if p := n.failure.Load(); p != nil {
		return *p
	}
	return nil
}

// running reports whether the driver has not ended.
func (n *node) running() bool {
	select {
	case <-n.done:
		return false
	default:
		return true
	}
}

// waitLeading returns when one of the nodes leads.
func waitLeading(ctx context.Context, nodes []*node) error {
	look := time.NewTicker(2 * time.Millisecond)
	defer look.Stop()
	for {
		for _, n := range nodes {
			if n.leading.Load() {
				return nil
			}
			if p := n.failure.Load(); p != nil {
				return *p
			}
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return errors.Join(errNotLeading, context.Cause(ctx))
		}
	}
}
