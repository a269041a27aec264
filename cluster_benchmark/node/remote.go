package node

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/millrace/millrace/cluster_benchmark/load"
	"github.com/millrace/millrace/cluster_benchmark/safety"
	"github.com/millrace/millrace/cluster_benchmark/setting"
	"github.com/millrace/millrace/cluster_benchmark/target"
	"github.com/millrace/millrace/codec"
)

// remote is a cluster whose nodes run in other processes, as a target.
//
// Owner: the goroutine that measures, but for what is marked otherwise.
type remote struct {
	run     string
	nodes   []*caller // by number, from 1; each guards itself
	about   []About
	machine []*safety.Machine // since Close; nil for nodes that could not be asked
	counted []counted         // as last told

	current atomic.Pointer[stream] // nil while nobody leads
	lost    chan struct{}          // capacity 1: somebody is to look for the leader
	ctx     context.Context        // ends with Close
	end     context.CancelFunc
	looking sync.WaitGroup
	streams []*stream // Owner: look, until it has ended

	// gone says that too few nodes are left to elect a leader, and why. Any goroutine may call it.
	gone func() error
	// silentSince is when too few nodes answered for the first time, in nanoseconds since 1970; 0 while enough do.
	silentSince atomic.Int64
}

// Description is what a cluster of nodes is.
type Description struct {
	Nodes      int
	Store      string
	WALBackend string
}

// Describe asks nodes what they are. Errors: a [ClusterError] where the addresses are not those of all nodes of one cluster; a
// [VersionError]; what kept one from being asked.
func Describe(ctx context.Context, addresses []string) (Description, error) {
	nodes, about, err := meet(ctx, addresses)
	for _, n := range nodes {
		err = errors.Join(err, n.close())
	}
	if err != nil {
		return Description{}, err
	}
	return Description{Nodes: len(about), Store: about[0].Store, WALBackend: about[0].WALBackend}, nil
}

// Connect opens a cluster whose nodes are already running, as a target for one measurement. The addresses are those at which
// its nodes listen for clients, in any order. Errors: as [Describe]; a [RefusedError] where another run uses a node; why
// there is no leader.
func Connect(ctx context.Context, s setting.Scenario, addresses []string) (target.Target, error) {
	nodes, about, err := meet(ctx, addresses)
	r := newRemote(nodes, about)
	r.gone = r.silent
	if err == nil {
		err = r.begin(ctx, s)
	}
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// meet asks every node what it is and returns them in the order of their numbers. What was opened is returned in any case.
func meet(ctx context.Context, addresses []string) ([]*caller, []About, error) {
	callers := make([]*caller, len(addresses))
	for i, a := range addresses {
		callers[i] = &caller{address: a}
	}
	sorted, about := make([]*caller, len(addresses)), make([]About, len(addresses))
	for _, c := range callers {
		a, err := askFor[About](ctx, c, question{Ask: askAbout})
		if err != nil {
			return callers, nil, err
		}
		number := int(a.Node)
		switch {
		case a.Members != 0 && a.Members != len(addresses), number < 1 || number > len(addresses):
			return callers, nil, &ClusterError{fmt.Sprintf("%s is node %d of %d, but %d were given: want the address of each node", c.address, a.Node, a.Members, len(addresses))}
		case sorted[number-1] != nil:
			return callers, nil, &ClusterError{fmt.Sprintf("%s and %s are both node %d", sorted[number-1].address, c.address, a.Node)}
		}
		sorted[number-1], about[number-1] = c, a
	}
	for i := range about {
		if a, b := &about[0], &about[i]; a.Cluster != b.Cluster || a.Store != b.Store {
			return callers, nil, &ClusterError{fmt.Sprintf("%s is of cluster %q with store %s, %s of %q with store %s: want one cluster",
				sorted[0].address, a.Cluster, a.Store, sorted[i].address, b.Cluster, b.Store)}
		}
	}
	return sorted, about, nil
}

func newRemote(nodes []*caller, about []About) *remote {
	var id runID
	rand.Read(id[:])
	r := &remote{run: hex.EncodeToString(id[:]), nodes: nodes, about: about, lost: make(chan struct{}, 1), counted: make([]counted, len(nodes))}
	r.ctx, r.end = context.WithCancel(context.Background())
	return r
}

// begin claims every node, waits for a leader and makes the run begin in its log.
func (r *remote) begin(ctx context.Context, s setting.Scenario) error {
	for _, n := range r.nodes {
		if _, err := n.ask(ctx, question{Ask: askClaim, Run: r.run}); err != nil {
			return err
		}
	}
	err := poll(ctx, func() error {
		leader, err := r.leader(ctx)
		if err != nil {
			return err
		}
		_, err = r.node(leader).ask(ctx, question{Ask: askBegin, Run: r.run, Clients: s.Clients, Payload: s.Payload})
		if err != nil {
			return err
		}
		return r.open(ctx, leader)
	})
	if err != nil {
		return fmt.Errorf("begin the run: %w", err)
	}
	r.looking.Go(r.look)
	return nil
}

// pollPause is the time between two looks at what gives no event.
const pollPause = 5 * time.Millisecond

// poll tries until there is no error, or the context ends; then it returns the last one.
func poll(ctx context.Context, try func() error) error {
	timer := time.NewTicker(pollPause)
	defer timer.Stop()
	var last error
	for {
		err := try()
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil {
			last = err
		}
		select {
		case <-timer.C:
		case <-ctx.Done():
			return last
		}
	}
}

func (r *remote) node(id codec.NodeID) *caller { return r.nodes[id-1] }

// leader asks all nodes who leads.
func (r *remote) leader(ctx context.Context) (codec.NodeID, error) {
	standings, errs := r.standings(ctx)
	for i, s := range standings {
		if errs[i] == nil && s.Leads {
			return codec.NodeID(i + 1), nil
		}
	}
	return 0, errors.Join(append([]error{errNoLeader}, errs...)...)
}

// lookTimeout bounds how long a look at where the nodes stand waits for one of them.
const lookTimeout = 2 * time.Second

// standings asks all nodes at once where they stand.
func (r *remote) standings(ctx context.Context) ([]standing, []error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	all := make([]standing, len(r.nodes))
	errs := r.each(func(i int) error {
		var err error
		all[i], err = askFor[standing](ctx, r.nodes[i], question{Ask: askStanding})
		if err == nil && all[i].Failure != "" {
			err = fmt.Errorf("node %d stopped: %s", i+1, all[i].Failure)
		}
		return err
	})
	answered := 0
	for _, err := range errs {
		if err == nil {
			answered++
		}
	}
	if answered > len(r.nodes)/2 {
		r.silentSince.Store(0)
	} else {
		r.silentSince.CompareAndSwap(0, time.Now().UnixNano())
	}
	return all, errs
}

// each does something for all nodes at once, and returns the errors by node.
func (r *remote) each(do func(i int) error) []error {
	errs := make([]error, len(r.nodes))
	var all sync.WaitGroup
	for i := range r.nodes {
		all.Go(func() { errs[i] = do(i) })
	}
	all.Wait()
	return errs
}

// goneAfter is how long too few nodes may answer before clients give up.
const goneAfter = 10 * time.Second

// silent says that too few nodes have answered for a while.
func (r *remote) silent() error {
	since := r.silentSince.Load()
	if since == 0 || time.Since(time.Unix(0, since)) < goneAfter {
		return nil
	}
	return fmt.Errorf("too few of %d nodes have answered for %v to elect a leader: %w", len(r.nodes), goneAfter, load.ErrGone)
}

// look finds the leader again whenever it was lost.
func (r *remote) look() {
	for {
		select {
		case <-r.lost:
		case <-r.ctx.Done():
			return
		}
		hint := codec.NodeID(0)
		if s := r.current.Swap(nil); s != nil {
			hint = codec.NodeID(s.leader.Load())
		}
		if hint > 0 && int(hint) <= len(r.nodes) && r.open(r.ctx, hint) == nil {
			continue
		}
		// Ends when a leader was found, or with the run; who waits is told by Proposer.
		_ = poll(r.ctx, func() error {
			leader, err := r.leader(r.ctx)
			if err != nil {
				return err
			}
			return r.open(r.ctx, leader)
		})
	}
}

// open makes a connection for puts to a node.
func (r *remote) open(ctx context.Context, id codec.NodeID) error {
	s, err := openStream(ctx, r.node(id).address, id, r.run, silenceLook, func() {
		select {
		case r.lost <- struct{}{}:
		default:
		}
	})
	if err != nil {
		return err
	}
	r.streams = append(r.streams, s)
	r.current.Store(s)
	return nil
}

// Proposer returns the connection to the leader.
func (r *remote) Proposer() (load.Proposer, error) {
	if s := r.current.Load(); s != nil && !s.retired.Load() {
		return s, nil
	}
	if err := r.gone(); err != nil {
		return nil, err
	}
	return nil, errNoLeader
}

// Counters adds up all nodes. One that can't be asked counts with what it told before.
func (r *remote) Counters() target.Counters {
	c, _ := r.count()
	return c
}

// TakeStages implements [target.Staged]: it is told by Counters, which was called just before.
func (r *remote) TakeStages() map[string]*hdrhistogram.Histogram {
	all := map[string]*hdrhistogram.Histogram{}
	for i := range r.counted {
		if err := decodeStages(all, r.counted[i].Stages); err != nil {
			return nil // of another version of the library: the node does not tell
		}
		r.counted[i].Stages = nil
	}
	return all
}

// count asks all nodes at once what they have done.
func (r *remote) count() (target.Counters, []error) {
	ctx, cancel := context.WithTimeout(r.ctx, lookTimeout)
	defer cancel()
	errs := r.each(func(i int) error {
		c, err := askFor[counted](ctx, r.nodes[i], question{Ask: askCounters})
		if err == nil {
			r.counted[i] = c
		}
		return err
	})
	var sum target.Counters
	for i := range r.counted {
		c := &r.counted[i]
		sum.Frames += c.Frames
		sum.Entries += c.Entries
		sum.WALBytes += c.WALBytes
		sum.WALSyncs += c.WALSyncs
		sum.CPU += c.CPU
		sum.Alloc += c.Alloc
		sum.PeakRSS += c.PeakRSS
	}
	return sum, errs
}

// Settle waits until the leader's log is applied on all nodes that can be asked. The error names those that can't.
func (r *remote) Settle(ctx context.Context) error {
	var missing error
	err := poll(ctx, func() error {
		standings, errs := r.standings(ctx)
		missing = errors.Join(errs...)
		if err := r.gone(); err != nil {
			return nil // nobody leads, nor ever will: there is nothing to wait for
		}
		last := codec.Index(0)
		for i, s := range standings {
			if errs[i] == nil && s.Leads {
				last = max(last, s.Last)
			}
		}
		if last == 0 {
			return errNoLeader
		}
		for i, s := range standings {
			if errs[i] == nil && s.Applied < last {
				return fmt.Errorf("node %d has applied %d of %d entries", i+1, s.Applied, last)
			}
		}
		return nil
	})
	return errors.Join(err, missing, r.gone())
}

// closeTimeout bounds how long each node may take to tell what it has applied.
const closeTimeout = 30 * time.Second

// Close asks each node what it has applied, and ends all connections.
func (r *remote) Close() error {
	r.end()
	r.looking.Wait()
	for _, s := range r.streams {
		s.close()
	}
	if len(r.streams) == 0 { // the run has not begun
		return r.hangUp()
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	r.machine = make([]*safety.Machine, len(r.nodes))
	errs := r.each(func(i int) error {
		state, err := r.nodes[i].ask(ctx, question{Ask: askState, Run: r.run})
		if err != nil {
			return err
		}
		r.machine[i], err = safety.ReadMachine(state)
		return err
	})
	for i, err := range errs {
		if err != nil {
			errs[i] = fmt.Errorf("node %d does not say what it has applied: %s", i+1, strings.Join(strings.Fields(err.Error()), " "))
		}
	}
	return errors.Join(append(errs, r.hangUp())...)
}

func (r *remote) hangUp() error {
	var errs []error
	for _, n := range r.nodes {
		errs = append(errs, n.close())
	}
	return errors.Join(errs...)
}

// Replicas returns the state machine of each node, nil for one that could not be asked.
func (r *remote) Replicas() []*safety.Machine { return r.machine }

// Places implements [target.Placed].
func (r *remote) Places() []string {
	var list []string
	for i, a := range r.about {
		list = append(list, fmt.Sprintf("node %d at %s: %s, %d cores, %s, %s, %s %s", a.Node, r.nodes[i].address,
			a.Machine.CPU, a.Machine.Cores, a.Machine.Kernel, a.Machine.Filesystem, a.Build.Version, a.Build.Commit))
	}
	return list
}
