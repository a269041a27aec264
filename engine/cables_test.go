package engine

import (
	"sync"

	"github.com/millrace/millrace/codec"
)

// cables lie between the nodes of a cluster and their transports, of whatever kind: each direction can be cut, and what
// passes is counted.
type cables struct {
	mu      sync.Mutex
	cut     map[[2]codec.NodeID]bool
	tried   map[codec.NodeID]map[codec.MessageKind]int // by sender, what was cut off included
	changed chan struct{}                              // closed at the next message
}

func newCables() *cables {
	return &cables{cut: map[[2]codec.NodeID]bool{}, tried: map[codec.NodeID]map[codec.MessageKind]int{}, changed: make(chan struct{})}
}

// plug puts the cables in front of a node's transport.
func (c *cables) plug(id codec.NodeID, t Transport) Transport {
	return &plug{Transport: t, cables: c, id: id}
}

// part cuts both directions between nodes of one side and nodes of the other.
func (c *cables) part(one, other []codec.NodeID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range one {
		for _, b := range other {
			c.cut[[2]codec.NodeID{a, b}], c.cut[[2]codec.NodeID{b, a}] = true, true
		}
	}
}

// heal mends everything.
func (c *cables) heal() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.cut)
}

// count returns how many messages of a kind a node has sent, whether they passed or not, and what is closed at the next.
func (c *cables) count(from codec.NodeID, kind codec.MessageKind) (int, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tried[from][kind], c.changed
}

// pass notes a message and reports whether it may go on.
func (c *cables) pass(from codec.NodeID, p *codec.Packet) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tried[from] == nil {
		c.tried[from] = map[codec.MessageKind]int{}
	}
	c.tried[from][p.Message.Kind]++
	close(c.changed)
	c.changed = make(chan struct{})
	return !c.cut[[2]codec.NodeID{from, p.Node}]
}

// plug is one node's end.
type plug struct {
	Transport
	cables *cables
	id     codec.NodeID
	link   codec.Link
}

func (p *plug) Start(link codec.Link) error {
	p.link = link
	return p.Transport.Start(link)
}

func (p *plug) Send(lane codec.Lane, packets []codec.Packet) {
	kept := make([]codec.Packet, 0, len(packets))
	for _, packet := range packets {
		if p.cables.pass(p.id, &packet) {
			kept = append(kept, packet)
		} else {
			p.link.Down(packet.Node, lane)
		}
	}
	p.Transport.Send(lane, kept)
}
