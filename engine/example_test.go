package engine_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine"
)

// Three nodes on a log and a transport of the program's own: the least that each has to do.
func Example_ownLogAndTransport() {
	net := &wire{nodes: map[codec.NodeID]*port{}}
	var nodes []*engine.Raft
	var members []codec.Node
	for id := codec.NodeID(1); id <= 3; id++ {
		node, err := engine.Open(engine.Config{
			NodeID: id, ClusterID: "own", Log: newSliceLog(), Transport: &port{net: net, id: id},
		}, counter{})
		if err != nil {
			fmt.Println(err)
			return
		}
		defer node.Close()
		nodes = append(nodes, node)
		members = append(members, codec.Node{ID: id})
	}
	ctx := context.Background()
	if err := nodes[0].Initialize(ctx, codec.NewMembership(codec.OneLeaderPerTerm, members...)); err != nil {
		fmt.Println(err)
		return
	}
	leader, err := nodes[0].WaitLeader(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	result, err := nodes[leader.ID-1].Propose(ctx, []byte("hello"))
	fmt.Printf("%s, %v\n", result.Data, err)
	// Output: 5 bytes, <nil>
}

// counter answers each entry with its size.
type counter struct{}

func (counter) Apply(entries []engine.Entry, results []engine.Result) error {
	for i, e := range entries {
		results[i].Data = fmt.Appendf(nil, "%d bytes", len(e.Data))
	}
	return nil
}

// sliceLog is a log for one group that keeps its frames in a slice. Everything is flushed at once: it is as durable as
// the process.
type sliceLog struct {
	incarnation codec.Incarnation
	flushed     func(uint64, error)
	frames      []codec.Frame
}

func newSliceLog() *sliceLog {
	l := &sliceLog{}
	rand.Read(l.incarnation[:])
	return l
}

func (l *sliceLog) Incarnation() codec.Incarnation { return l.incarnation }

func (l *sliceLog) Peers() map[codec.NodeID]codec.Incarnation { return nil }

func (l *sliceLog) RememberPeer(_ codec.NodeID, _ codec.Incarnation, done func(error)) { done(nil) }

func (l *sliceLog) Group(_ codec.GroupID, flushed func(uint64, error)) (engine.GroupLog, codec.LogState, error) {
	l.flushed = flushed
	return l, codec.LogState{}, nil
}

func (l *sliceLog) Close() error { return nil }

func (l *sliceLog) Submit(w *codec.LogWrite) {
	if w.HasTruncate {
		l.truncate(w.Truncate)
	}
	if !w.Frame.IsZero() {
		l.frames = append(l.frames, w.Frame)
	}
	l.flushed(w.Seq, nil)
}

// truncate removes every entry above last; a frame of which some entries stay is encoded anew.
func (l *sliceLog) truncate(last codec.Index) {
	for n := len(l.frames); n > 0 && l.frames[n-1].Meta().Last() > last; n = len(l.frames) {
		f := l.frames[n-1]
		l.frames = l.frames[:n-1]
		if f.Meta().First <= last {
			if kept, err := codec.CutFrame(f, f.Meta().First, last); err == nil {
				l.frames = append(l.frames, kept)
			}
			return
		}
	}
}

func (l *sliceLog) Frame(index codec.Index) (codec.Frame, bool) {
	i, _ := slices.BinarySearchFunc(l.frames, index, func(f codec.Frame, i codec.Index) int {
		if f.Meta().Last() < i {
			return -1
		}
		return 0
	})
	if i == len(l.frames) || l.frames[i].Meta().First > index {
		return codec.Frame{}, false
	}
	return l.frames[i], true
}

func (l *sliceLog) ReadFrame(index codec.Index, done func(codec.Frame, error)) {
	if f, ok := l.Frame(index); ok {
		done(f, nil)
	} else {
		done(codec.Frame{}, errors.New("no such entry"))
	}
}

// wire connects ports in one process.
type wire struct {
	mu    sync.Mutex
	nodes map[codec.NodeID]*port
}

// port is one node's transport: what is sent is handed to the receiver at once.
type port struct {
	net  *wire
	id   codec.NodeID
	link codec.Link
}

func (p *port) Start(link codec.Link) error {
	p.link = link
	p.net.mu.Lock()
	defer p.net.mu.Unlock()
	p.net.nodes[p.id] = p
	return nil
}

func (p *port) SetPeers([]codec.Node) {}

func (p *port) Send(lane codec.Lane, packets []codec.Packet) {
	for _, packet := range packets {
		p.net.mu.Lock()
		to := p.net.nodes[packet.Node]
		if to == nil || to.link.Verify(p.id, p.link.Incarnation) != nil {
			p.link.Down(packet.Node, lane)
		} else {
			packet.Node = p.id
			to.link.Deliver([]codec.Packet{packet})
		}
		p.net.mu.Unlock()
	}
}

func (p *port) Addr() string { return fmt.Sprint("port ", p.id) }

func (p *port) Close() error {
	p.net.mu.Lock()
	defer p.net.mu.Unlock()
	delete(p.net.nodes, p.id)
	return nil
}
