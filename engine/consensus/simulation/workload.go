package simulation

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/millrace/millrace/codec"
)

// fate is what is known of an entry that a client proposed.
type fate uint8

const (
	waiting fate = iota
	unknown      // its leader lost office, or died: it may be applied, once, or never
	refused      // it did not happen
	acked        // it happened and was applied
)

// op is one entry of a client.
type op struct {
	fate  fate
	hash  uint64      // of its bytes
	index codec.Index // where it was applied, 0 for nowhere yet
}

// request is some entries proposed together, with consecutive serial numbers.
type request struct {
	first uint64
	count int
	body  []byte // room for a frame's header, then the entries
}

// workload is the clients, and the oracle that knows what became of each entry. No two entries are equal, so what is
// applied names its client's request.
//
// Owner: the run.
type workload struct {
	s      *run
	rng    *rand.Rand
	ops    []op // by serial number
	acked  int
	quiet  int64 // no client proposes until then
	ending bool  // nor ever again
}

func (w *workload) init(s *run) { w.s, w.rng = s, stream(s.opts.Seed, streamWorkload) }

func (w *workload) begin() {
	for range w.s.shape.clients {
		w.later()
	}
}

func (w *workload) later() {
	w.s.after(exponential(w.rng, w.s.shape.gap), func() {
		switch {
		case w.ending || w.s.healing:
			return
		case w.s.shape.quietAtEnd && w.s.events > w.s.shape.events*4/5:
			return
		case w.s.now < w.quiet:
		case w.rng.IntN(200) == 0:
			w.quiet = w.s.now + int64(w.rng.Int64N(int64(3*time.Second)))
		default:
			w.propose(w.target(), 1+w.rng.IntN(w.s.shape.batch))
		}
		w.later()
	})
}

// target returns the node that a client takes for the leader: mostly one that does.
func (w *workload) target() *node {
	if w.rng.IntN(8) > 0 {
		start := w.rng.IntN(len(w.s.nodes))
		for i := range w.s.nodes {
			if n := w.s.nodes[(start+i)%len(w.s.nodes)]; n.up && n.leads() {
				return n
			}
		}
	}
	return w.s.nodes[w.rng.IntN(len(w.s.nodes))]
}

// propose gives a node some new entries.
func (w *workload) propose(n *node, count int) request {
	q := request{first: uint64(len(w.ops)), count: count, body: make([]byte, codec.FrameHeaderSize)}
	for range count {
		data := make([]byte, 8+w.rng.IntN(w.s.shape.data))
		binary.LittleEndian.PutUint64(data, uint64(len(w.ops)))
		for i := 8; i < len(data); i++ {
			data[i] = byte('a' + i%23)
		}
		w.ops = append(w.ops, op{hash: hashBytes(data)})
		q.body = codec.AppendEntry(q.body, data)
	}
	w.s.note(30, uint64(n.id), q.first)
	if !n.up || len(n.box.proposals) > 16 {
		w.refused(q)
		return q
	}
	n.box.proposals = append(n.box.proposals, q)
	n.wake()
	return q
}

func (w *workload) settle(q request, f fate) {
	for i := range w.ops[q.first : q.first+uint64(q.count)] {
		o := &w.ops[q.first+uint64(i)]
		if o.fate != waiting {
			w.s.violate("entry %d is answered twice", q.first+uint64(i))
		}
		o.fate = f
	}
}

func (w *workload) refused(q request) { w.settle(q, refused) }
func (w *workload) unknown(q request) { w.settle(q, unknown) }

func (w *workload) succeeded(q request, first codec.Index) {
	w.settle(q, acked)
	w.acked += q.count
	for i := range q.count {
		serial := q.first + uint64(i)
		if w.ops[serial].index != first+codec.Index(i) {
			w.s.violate("entry %d is answered with index %d, applied at %d", serial, first+codec.Index(i), w.ops[serial].index)
		}
	}
}

// lost settles what waited at a node that died.
func (w *workload) lost(n *node) {
	for _, p := range n.proposed {
		w.unknown(p.request)
	}
	for _, q := range n.box.proposals {
		w.refused(q)
	}
	n.proposed, n.box.proposals = nil, nil
}

// applied checks an entry that a state machine gets: somebody proposed exactly that, nobody was told that it did not
// happen, and it happens at one index only.
func (w *workload) applied(n *node, e *codec.Entry) {
	serial := uint64(len(w.ops))
	if len(e.Data) >= 8 {
		serial = binary.LittleEndian.Uint64(e.Data)
	}
	if serial >= uint64(len(w.ops)) || w.ops[serial].hash != hashBytes(e.Data) {
		w.s.violate("node %d applies at %v what nobody proposed: %d bytes, entry %d", n.id, e.ID, len(e.Data), serial)
		return
	}
	o := &w.ops[serial]
	switch {
	case o.fate == refused:
		w.s.violate("node %d applies entry %d at %v, which was refused", n.id, serial, e.ID)
	case o.index != 0 && o.index != e.ID.Index:
		w.s.violate("node %d applies entry %d at %v, it was applied at %d before", n.id, serial, e.ID, o.index)
	}
	o.index = e.ID.Index
}

// pending reports whether any entry waits for an answer.
func (w *workload) pending() bool {
	return slices.ContainsFunc(w.ops, func(o op) bool { return o.fate == waiting })
}
