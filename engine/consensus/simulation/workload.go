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
	floor codec.Index // the greatest index that was acknowledged to anybody before it was proposed
	again uint64      // number of the entry that it repeats, plus 1; 0 for none
}

// request is some entries proposed together, with consecutive serial numbers.
type request struct {
	first   uint64
	count   int
	retries int    // how often it may be proposed again, under new numbers, where nobody knows what became of it
	again   uint64 // number of the entry that the first one repeats, plus 1; 0 for none
	body    []byte // room for a frame's header, then the entries
}

// workload is the clients, and the oracle that knows what became of each entry. No two entries are equal, so what is
// applied names its client's request.
//
// Owner: the run.
type workload struct {
	s       *run
	rng     *rand.Rand
	ops     []op // by serial number
	acked   int
	ackedTo codec.Index // the greatest index that was acknowledged
	retried int
	quiet   int64 // no client proposes until then
}

func (w *workload) init(s *run) { w.s, w.rng = s, stream(s.opts.Seed, streamWorkload) }

// begin sets the clients going. Every other one proposes again what nobody knows the fate of.
func (w *workload) begin() {
	for i := range w.s.shape.clients {
		w.later(3 * (i % 2))
	}
}

func (w *workload) later(retries int) {
	w.s.after(exponential(w.rng, w.s.shape.gap), func() {
		switch {
		case w.s.healing:
			return
		case w.s.shape.quietAtEnd && w.s.events > w.s.shape.events*4/5:
			return
		case w.s.now < w.quiet:
		case w.rng.IntN(200) == 0:
			w.quiet = w.s.now + int64(w.rng.Int64N(int64(3*time.Second)))
		default:
			w.propose(w.target(), request{count: 1 + w.rng.IntN(w.s.shape.batch), retries: retries})
		}
		w.later(retries)
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

// propose gives a node some new entries, as many as q counts.
func (w *workload) propose(n *node, q request) request {
	q.first, q.body = uint64(len(w.ops)), make([]byte, codec.FrameHeaderSize)
	for range q.count {
		data := make([]byte, 8+w.rng.IntN(w.s.shape.data))
		binary.LittleEndian.PutUint64(data, uint64(len(w.ops)))
		for i := 8; i < len(data); i++ {
			data[i] = byte('a' + i%23)
		}
		o := op{hash: hashBytes(data), floor: w.ackedTo}
		if q.again > 0 {
			o.again = q.again + uint64(len(w.ops)) - q.first
		}
		w.ops = append(w.ops, o)
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

// unknown tells a client that nobody knows what becomes of its entries. It may propose them again: that they then happen
// twice is for sessions to prevent.
func (w *workload) unknown(q request) {
	w.settle(q, unknown)
	if q.retries == 0 || w.s.healing {
		return
	}
	w.s.after(exponential(w.rng, 300*time.Millisecond), func() {
		if !w.s.healing {
			w.retried++
			w.propose(w.target(), request{count: q.count, retries: q.retries - 1, again: q.first + 1})
		}
	})
}

func (w *workload) succeeded(q request, first codec.Index) {
	w.settle(q, acked)
	w.acked += q.count
	for i := range q.count {
		serial := q.first + uint64(i)
		if w.ops[serial].index != first+codec.Index(i) {
			w.s.violate("entry %d is answered with index %d, applied at %d", serial, first+codec.Index(i), w.ops[serial].index)
		}
	}
	w.ackedTo = max(w.ackedTo, first+codec.Index(q.count)-1)
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
	case e.ID.Index <= o.floor:
		w.s.violate("node %d applies entry %d at %v, index %d was acknowledged before it was proposed", n.id, serial, e.ID, o.floor)
	}
	o.index = e.ID.Index
}

// twice returns how many entries happened and were proposed again, and happened again.
func (w *workload) twice() (n int) {
	for i := range w.ops {
		if o := &w.ops[i]; o.again > 0 && o.index > 0 && w.ops[o.again-1].index > 0 {
			n++
		}
	}
	return n
}

// pending reports whether any entry waits for an answer.
func (w *workload) pending() bool {
	return slices.ContainsFunc(w.ops, func(o op) bool { return o.fate == waiting })
}
