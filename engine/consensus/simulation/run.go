package simulation

import (
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/millrace/millrace/codec"
)

// Options say which run to make. The zero value of a field changes nothing that the seed draws.
type Options struct {
	Seed uint64
	// Without leaves out classes of faults.
	Without []Class
	// ClientsMax bounds the number of clients; 0 is no bound.
	ClientsMax int
	// EventsMax bounds the number of events before the faults end; 0 is no bound.
	EventsMax int
	// Trace, if not nil, is told about every step of the run.
	Trace func(line string)
}

// Result is what came of a run.
type Result struct {
	Events   int
	Virtual  time.Duration
	Hash     uint64 // of everything that happened
	Injected [ClassEnd]int
	Leaders  int // leaderships
	Entries  int // committed
	Acked    int // proposals answered with success
	Retried  int // proposals made again because nobody knew what had become of them
	Twice    int // entries of them that happened both times
	Changes  int // memberships committed, the first ones included
	// Transfers are campaigns that a leader asked for, Restores leaderships taken up again after a clean close, Rises
	// campaigns of leaders above a learner's vote, Refusals damaged logs that were not opened, Strangers messages of nodes
	// with another disk than before.
	Transfers, Restores, Rises, Refusals, Strangers int
	// Snapshots are those that nodes took, Purges those of logs, Jumps logs replaced by snapshots, Reads those answered, with
	// the log's confirmation or by the leader's lease, LeaseReads the latter.
	Snapshots, Purges, Jumps, Reads, LeaseReads int
	// Transfers of snapshots begun, Pieces of them sent, Installs snapshots that a state machine was given while it ran.
	Shipped, Pieces, Installs int
	// Cuts are truncations of logs, Moved records that logs wrote again so that an old file could go, Reclaimed such files.
	Cuts, Moved, Reclaimed int
	// Sessions opened, Repeats commands proposed again in them, Expired commands whose session had been evicted.
	Sessions, Repeats, Expired int
	// Given says that the run was given up: data that was lost on purpose had been committed.
	Given bool
	Err   error
}

// run is one simulated cluster: one goroutine, one heap of events.
//
// Owner: the goroutine that called [Run].
type run struct {
	opts     Options
	shape    shape
	now      int64 // ns of virtual time
	queue    eventQueue
	events   int
	hash     uint64
	failure  error
	nodes    []*node
	net      network
	faults   faults
	workload workload
	admin    admin
	check    checker
	healing  bool
	// lenient says that nodes lose what they promised: the run is judged by its end alone; given that it was given up, for
	// what was lost had been committed.
	lenient, given bool

	transfers, restores, rises, refusals, strangers int
	snapshots, purges, jumps, installs              int
	transfersBegun, pieces, cuts, moved, reclaimed  int
}

// Run makes one run and says what came of it. It is a function of its options.
func Run(opts Options) (result Result) {
	s := &run{opts: opts, shape: drawShape(opts.Seed), hash: opts.Seed}
	if n := opts.EventsMax; n > 0 {
		s.shape.events = min(s.shape.events, n)
	}
	if n := opts.ClientsMax; n > 0 {
		s.shape.clients = min(s.shape.clients, n)
	}
	defer func() {
		if p := recover(); p != nil {
			s.record("panic: %v\n%s", p, ownFrames(debug.Stack()))
		}
		result = s.result()
	}()
	s.begin()
	s.loop(func() bool { return s.events >= s.shape.events })
	s.heal()
	return result
}

// ownFrames shortens a stack to the lines of this module.
func ownFrames(stack []byte) string {
	var out []string
	for line := range strings.Lines(string(stack)) {
		if strings.HasPrefix(line, "github.com/millrace") {
			out = append(out, strings.TrimSpace(line))
		}
	}
	return strings.Join(out[:min(len(out), 12)], "\n")
}

func (s *run) result() Result {
	return Result{
		Events: s.events, Virtual: time.Duration(s.now), Hash: s.hash, Injected: s.faults.injected,
		Leaders: len(s.check.leaders), Entries: len(s.check.committed), Acked: s.workload.acked, Retried: s.workload.retried, Twice: s.workload.twice(),
		Changes: len(s.check.memberships), Transfers: s.transfers, Restores: s.restores, Rises: s.rises, Refusals: s.refusals,
		Strangers: s.strangers, Snapshots: s.snapshots, Purges: s.purges, Jumps: s.jumps,
		Cuts: s.cuts, Moved: s.moved, Reclaimed: s.reclaimed,
		Shipped: s.transfersBegun, Pieces: s.pieces, Installs: s.installs,
		Sessions: s.workload.sessions, Repeats: s.workload.repeats, Expired: s.workload.expired,
		Reads: s.workload.reads, LeaseReads: s.workload.leaseReads, Given: s.given, Err: s.failure,
	}
}

// begin builds the cluster, initializes it and sets clients and faults going.
func (s *run) begin() {
	s.check.init(s)
	s.net.init(s)
	s.faults.init(s)
	s.lenient = s.faults.on[ClassReversion]
	s.workload.init(s)
	s.admin.init(s)
	for range s.shape.membership.Nodes {
		s.join()
	}
	for _, n := range s.nodes {
		n.start()
	}
	s.faults.begin()
	s.admin.begin()
	s.workload.begin()
}

// join adds a node with an empty disk, which is not started yet.
func (s *run) join() *node {
	n := newNode(s, codec.NodeID(len(s.nodes)+1))
	s.nodes = append(s.nodes, n)
	return n
}

// loop lets everything happen until stop, asked before each event, says so.
func (s *run) loop(stop func() bool) {
	for s.failure == nil && len(s.queue.events) > 0 && !stop() {
		e := s.queue.pop()
		s.now = e.at
		s.events++
		e.do()
	}
}

// after lets something happen later.
func (s *run) after(d time.Duration, do func()) { s.at(s.now+int64(max(d, 0)), do) }

func (s *run) at(at int64, do func()) { s.queue.push(max(at, s.now), do) }

// note adds what happens to the hash of the run.
func (s *run) note(values ...uint64) {
	s.hash = mix(s.hash, uint64(s.now))
	for _, v := range values {
		s.hash = mix(s.hash, v)
	}
}

// tracef tells the trace, if there is one. The arguments are only looked at then.
func (s *run) tracef(format string, args ...any) {
	if s.opts.Trace != nil {
		s.opts.Trace(fmt.Sprintf("%6d %12v ", s.events, time.Duration(s.now)) + fmt.Sprintf(format, args...))
	}
}

func (s *run) node(id codec.NodeID) *node {
	if id == 0 || int(id) > len(s.nodes) {
		return nil
	}
	return s.nodes[id-1]
}

// off reports whether a class of faults was left out.
func (o *Options) off(c Class) bool { return slices.Contains(o.Without, c) }

// mix adds v to a hash.
func mix(h, v uint64) uint64 {
	h = (h ^ v) * 0x9e3779b97f4a7c15
	return h ^ h>>29
}

// hashBytes is FNV-1a: it must not rest on the checksums of the code under test.
func hashBytes(b []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range b {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}

// event is something that happens at a virtual time.
type event struct {
	at  int64
	seq uint64
	do  func()
}

func (e *event) before(o *event) bool { return e.at < o.at || e.at == o.at && e.seq < o.seq }

// eventQueue is a heap by (time, sequence), so that events of one moment happen in the order in which they were made.
type eventQueue struct {
	events []event
	seq    uint64
}

func (q *eventQueue) push(at int64, do func()) {
	q.seq++
	q.events = append(q.events, event{at, q.seq, do})
	e := q.events
	for i := len(e) - 1; i > 0 && e[i].before(&e[(i-1)/2]); i = (i - 1) / 2 {
		e[i], e[(i-1)/2] = e[(i-1)/2], e[i]
	}
}

func (q *eventQueue) pop() event {
	e := q.events
	top, last := e[0], len(e)-1
	e[0], e[last] = e[last], event{}
	q.events = e[:last]
	for i := 0; ; {
		k := 2*i + 1
		if k+1 < last && e[k+1].before(&e[k]) {
			k++
		}
		if k >= last || !e[k].before(&e[i]) {
			return top
		}
		e[i], e[k] = e[k], e[i]
		i = k
	}
}

// violate records the first broken promise of a run, which ends it.
func (s *run) violate(format string, args ...any) {
	if !s.lenient {
		s.record(format, args...)
	}
}

// record is violate for what every run promises.
func (s *run) record(format string, args ...any) {
	if s.failure == nil {
		s.failure = fmt.Errorf("event %d, %v: %w: %s", s.events, time.Duration(s.now), ErrViolation, fmt.Sprintf(format, args...))
		s.tracef("%v", s.failure)
	}
}
