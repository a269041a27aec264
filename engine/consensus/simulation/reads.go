package simulation

import (
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine/consensus"
)

// reading is a linearizable read that a client asks of a node.
type reading struct {
	// floor is the least index that the answer may show: up to it everything had been acknowledged to somebody, or shown to
	// a reader, when this read was asked for.
	floor codec.Index
	lease bool        // may rest on the leader's lease; then: does
	index codec.Index // confirmed by the protocol: what must be applied before
	done  func(ok bool)
}

// readings is what a node has to do with reads.
type readings struct {
	token   uint64
	asked   map[uint64]*reading // not confirmed yet, by token
	waiting []*reading          // confirmed, and not everything is applied
}

// read asks a node to read.
func (w *workload) read(n *node, lease bool, done func(ok bool)) {
	r := &reading{floor: max(w.ackedTo, w.shown), lease: lease, done: done}
	w.s.note(31, uint64(n.id), uint64(r.floor))
	if !n.up || n.partial || len(n.box.reads) > 16 {
		done(false)
		return
	}
	n.box.reads = append(n.box.reads, r)
	n.wake()
}

// takeReads asks the core to confirm what clients want to read.
func (n *node) takeReads() {
	asked := n.box.reads
	n.box.reads = nil
	for _, r := range asked {
		if !n.alive() {
			r.done(false)
			continue
		}
		n.reads.token++
		n.reads.asked[n.reads.token] = r
		n.step(consensus.Input{Kind: consensus.InputRead, Token: n.reads.token, Lease: r.lease})
	}
}

// noteReads takes the answers of a step.
func (n *node) noteReads() {
	for _, answer := range n.out.Reads {
		r := n.reads.asked[answer.Token]
		switch {
		case r == nil:
			n.s.violate("node %d answers the read %d, which nobody asked for or was answered before", n.id, answer.Token)
		case answer.Reason != nil:
			r.done(false)
		default:
			if answer.Lease && !r.lease {
				n.s.violate("node %d answers read %d by its lease, which was not asked for", n.id, answer.Token)
			}
			r.index, r.lease = answer.Index, answer.Lease
			n.reads.waiting = append(n.reads.waiting, r)
		}
		delete(n.reads.asked, answer.Token)
	}
}

// finishReads reads the state machine for those whose index is applied.
func (n *node) finishReads() {
	kept := n.reads.waiting[:0]
	for _, r := range n.reads.waiting {
		switch {
		case n.partial:
			r.done(false)
		case r.index > n.appliedTo():
			kept = append(kept, r)
		default:
			n.answerRead(r, n.appliedTo())
		}
	}
	clear(n.reads.waiting[len(kept):])
	n.reads.waiting = kept
}

// answerRead tells a client what it reads, the state behind an index. Where the leader's lease is to count, the lease is
// looked at once more after the read; some time may have passed.
func (n *node) answerRead(r *reading, shows codec.Index) {
	answer := func() {
		if r.lease && n.clock.local(n.s.now) >= n.status.LeaseUntil {
			r.done(false)
			return
		}
		n.s.workload.reads++
		if r.lease {
			n.s.workload.leaseReads++
		}
		n.s.workload.showed(n, r, shows)
		r.done(true)
	}
	if !r.lease || n.rng.IntN(3) > 0 {
		answer()
		return
	}
	life := n.life
	n.s.after(exponential(n.rng, 50*time.Millisecond), func() {
		if n.life != life || !n.up {
			r.done(false)
			return
		}
		if n.paused > n.s.now { // it goes on when the process does, and then looks at its clock
			n.s.at(n.paused, func() { answer() })
			return
		}
		answer()
	})
}

// dropReads ends the reads of a node that dies.
func (n *node) dropReads() {
	for _, r := range n.box.reads {
		r.done(false)
	}
	n.box.reads = nil
	for t := uint64(1); t <= n.reads.token && len(n.reads.asked) > 0; t++ {
		if r := n.reads.asked[t]; r != nil {
			r.done(false)
			delete(n.reads.asked, t)
		}
	}
	for _, r := range n.reads.waiting {
		r.done(false)
	}
	n.reads = readings{asked: map[uint64]*reading{}}
}

// showed holds what a client read to what it must have seen.
func (w *workload) showed(n *node, r *reading, shows codec.Index) {
	if shows < r.floor {
		w.s.violate("node %d answers a read with the state behind %d (confirmed %d, by the lease: %v): %d had been acknowledged or read before it was asked for",
			n.id, shows, r.index, r.lease, r.floor)
	}
	w.shown = max(w.shown, shows)
}
