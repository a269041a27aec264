package netio

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"

	"github.com/panjf2000/gnet/v2"

	"github.com/millrace/millrace/codec"
)

// TCP moves packets between nodes over TCP. See the package comment for how.
// Owner: shared. Configuration and link are read-only once Start has returned; mu guards what SetPeers, Start, Close
// and handshakes change, rarely. Send reads the peers through an atomic pointer and takes none of these locks.
type TCP struct {
	cfg    Config
	listen *net.TCPAddr
	report *reporter

	link     codec.Link
	listener net.Listener
	client   *gnet.Client // one engine for accepted and dialed connections; see enroll
	counters counters
	guests   guests

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup // accept loop, handshakes, lanes
	closing atomic.Bool
	stopped atomic.Bool // gnet's loops have stopped by themselves

	mu      sync.Mutex // no owner goroutine: a few calls a minute from several sides
	started bool
	closed  chan struct{} // not nil once Close was called; closed when it is done
	slots   map[slotKey]*slot
	learned map[codec.NodeID]bool // peers that only their own handshakes named

	// gate is held for reading around a call of Link inside Send and for writing by Close, so that none is made after
	// it. No owner can do that: the call is made on the sender's goroutine.
	gate sync.RWMutex

	peers atomic.Pointer[map[codec.NodeID]*peer]

	// Hooks of tests: what OnTraffic was given, and what a write was made of, both no longer needed.
	afterTraffic, afterWrite func([]byte)
	// And what Start accepts from, so that a test can make accept fail.
	wrapListener func(net.Listener) net.Listener
}

// peer is a node to keep connections to.
type peer struct {
	address string
	// told is the address that the peer itself told when it shook hands last, nil for none. It is tried where address does
	// not answer as that peer: either may be the newer one.
	told  atomic.Pointer[string]
	lanes [codec.LaneEnd]*lane
	stop  context.CancelFunc // ends the lanes' goroutines, once they run
}

// NewTCP returns a transport that does nothing until Start. Errors wrap [ErrConfig] or [ErrInsecure].
func NewTCP(cfg Config) (*TCP, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	addr, loopback, err := cfg.listenAddress()
	if err != nil {
		return nil, err
	}
	if !loopback && !cfg.Insecure {
		return nil, fmt.Errorf("listen address %q is not loopback and Insecure is not set: %w", cfg.Listen, ErrInsecure)
	}
	cfg.Insecure = !loopback
	t := &TCP{
		cfg:     cfg,
		listen:  addr,
		report:  newReporter(cfg.Logger),
		slots:   make(map[slotKey]*slot),
		learned: make(map[codec.NodeID]bool),
		guests:  guests{byAddress: make(map[string]int)},
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.peers.Store(&map[codec.NodeID]*peer{})
	return t, nil
}

// Start begins to listen, to dial the peers and to report to link. Errors: [ErrClosed], [ErrStarted], [ErrConfig] where the
// link is that of another incarnation, and that of the system for an address that can't be listened on, naming it.
func (t *TCP) Start(link codec.Link) error {
	if link.Verify == nil || link.Deliver == nil || link.Down == nil {
		panic("BUG: a link needs Verify, Deliver and Down")
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.closed != nil:
		return ErrClosed
	case t.started:
		return ErrStarted
	}
	if err := checkIncarnation(t.cfg.Node, t.cfg.Incarnation, &link); err != nil {
		return err
	}
	config := net.ListenConfig{KeepAliveConfig: t.keepAlive()}
	listener, err := config.Listen(t.ctx, "tcp", t.listen.String())
	if err != nil {
		return fmt.Errorf("node %d can't listen on %q: %w", t.cfg.Node, t.cfg.Listen, err)
	}
	t.gate.Lock() // a Send may already ask who is to hear of what it can't send
	t.link = link
	t.gate.Unlock()
	if t.wrapListener != nil {
		listener = t.wrapListener(listener)
	}
	t.listener = listener
	t.client, err = gnet.NewClient(&events{t: t},
		gnet.WithLogger(gnetLogger{t.cfg.Logger}),
		gnet.WithNumEventLoop(t.cfg.EventLoops),
		gnet.WithTicker(t.cfg.Insecure))
	if err == nil {
		err = t.client.Start()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("node %d can't start its event loops: %w", t.cfg.Node, err), listener.Close())
	}
	t.started = true
	t.running.Add(1)
	go func() {
		defer t.running.Done()
		t.acceptLoop(t.ctx)
	}()
	for _, p := range *t.peers.Load() {
		t.startLanes(p)
	}
	return nil
}

// keepAlive detects a silent peer on an idle connection within the peer timeout, in the whole seconds the system
// counts in.
func (t *TCP) keepAlive() net.KeepAliveConfig {
	third := max(t.cfg.PeerTimeout/3, 1e9)
	return net.KeepAliveConfig{Enable: true, Idle: third, Interval: third, Count: 2}
}

// enroll gives a connection past its handshake to an event loop; x is its *outConn or *inConn. Whatever it returns, c
// itself is closed: the loop has the file under another number.
//
// A gnet client is used, which takes any connection in the caller's goroutine, and not an engine: the engine's
// Register races with its accept under the default balancing, hands each connection to a pool whose goroutines
// outlive the engine, and can't be had without gnet's own listener.
func (t *TCP) enroll(c net.Conn, x any) error {
	if t.stopped.Load() {
		return errors.Join(fmt.Errorf("%w: %w", errNotTaken, errEngineStopped), c.Close())
	}
	if _, err := t.client.EnrollContext(c, x); err != nil {
		return fmt.Errorf("%w: %w", errNotTaken, err)
	}
	return nil
}

// SetPeers tells which nodes to keep connections to. A peer that is gone or has another address loses its connections;
// one that stays keeps them. A peer that is not found there is looked for at the address that it told itself. Beside them
// a node keeps connections to those that dialed it; see learned.go.
func (t *TCP) SetPeers(nodes []codec.Node) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed != nil {
		return
	}
	old := *t.peers.Load()
	peers := make(map[codec.NodeID]*peer, len(nodes))
	var fresh []*peer
	for _, n := range nodes {
		if n.ID == t.cfg.Node {
			continue
		}
		if p := old[n.ID]; p != nil && p.address == n.Address {
			peers[n.ID] = p
			continue
		}
		p := t.newPeer(n)
		if before := old[n.ID]; before != nil {
			p.told.Store(before.told.Load())
		}
		if address := t.connectedFrom(n.ID); address != "" {
			p.told.Store(&address)
		}
		peers[n.ID] = p
		fresh = append(fresh, p)
	}
	t.keepLearned(old, peers)
	t.peers.Store(&peers)
	for id, p := range old {
		if peers[id] != p && p.stop != nil {
			p.stop()
		}
	}
	if t.started {
		for _, p := range fresh {
			t.startLanes(p)
		}
	}
}

func (t *TCP) newPeer(n codec.Node) *peer {
	p := &peer{address: n.Address}
	for id := codec.LaneControl; id < codec.LaneEnd; id++ {
		p.lanes[id] = &lane{t: t, peer: n.ID, id: id, address: n.Address, told: &p.told, kick: make(chan struct{}, 1)}
	}
	return p
}

// startLanes starts the goroutine of each of a peer's lanes. t.mu is held.
func (t *TCP) startLanes(p *peer) {
	ctx, stop := context.WithCancel(t.ctx)
	p.stop = stop
	for id := codec.LaneControl; id < codec.LaneEnd; id++ {
		l := p.lanes[id]
		t.running.Add(1)
		go func() {
			defer t.running.Done()
			l.run(ctx)
		}()
	}
}

// peer returns the peer of that id, or nil.
func (t *TCP) peer(id codec.NodeID) *peer { return (*t.peers.Load())[id] }

// Send queues packets, in order, each for the node it names; it never blocks and may be called by several goroutines.
// What can't be queued is refused, and so is everything behind it on that lane until Link.Down was called: when the
// lane has room again, when its connection has ended or could not be made, or when it is up again. For a node that
// SetPeers did not name Down is called before Send returns.
func (t *TCP) Send(id codec.Lane, packets []codec.Packet) {
	if id == 0 || id >= codec.LaneEnd {
		panic(fmt.Sprintf("BUG: send on %v", id))
	}
	peers := *t.peers.Load()
	for len(packets) > 0 {
		node, n := packets[0].Node, 1
		for n < len(packets) && packets[n].Node == node {
			n++
		}
		if p := peers[node]; p != nil {
			p.lanes[id].send(packets[:n])
		} else {
			t.unknown(node, id, n)
		}
		packets = packets[n:]
	}
}

func (t *TCP) unknown(node codec.NodeID, id codec.Lane, n int) {
	t.counters.count(DropUnknownPeer, n)
	t.learnAgain(node)
	t.gate.RLock()
	defer t.gate.RUnlock()
	if t.link.Down != nil && !t.closing.Load() {
		defer t.contain("Down", func() {})
		t.link.Down(node, id)
	}
}

// Addr returns the address this node listens on: the one given, with the port the system chose for port 0.
func (t *TCP) Addr() string {
	if t.listener == nil {
		return t.listen.String()
	}
	return t.listener.Addr().String()
}

// Stats returns the counters.
func (t *TCP) Stats() Stats { return t.counters.snapshot() }

// Close ends all connections and returns when nothing of the transport runs any more. What is queued is lost. It must
// not be called from inside a function of Link.
func (t *TCP) Close() error {
	t.mu.Lock()
	if t.closed != nil {
		t.mu.Unlock()
		<-t.closed
		return nil
	}
	t.closed = make(chan struct{})
	started := t.started
	t.mu.Unlock()
	defer close(t.closed)

	t.gate.Lock()
	t.closing.Store(true)
	t.gate.Unlock()
	t.cancel()
	if !started {
		return nil
	}
	err := t.listener.Close()
	// Everything that could give gnet a connection or wake it ends before gnet does: an enrolment that comes too late
	// waits for ever, and a wake that comes too late writes into a file that was closed.
	t.running.Wait()
	return errors.Join(err, t.client.Stop())
}

// CheckAddress says why an address can't be dialed, nil if it may be: it must be host:port with both parts given. That
// somebody listens there is not checked.
func (t *TCP) CheckAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" || port == "" || port == "0" {
		return fmt.Errorf("address %q, want host:port", address)
	}
	return nil
}
