package simulation

import (
	"math/rand/v2"
	"time"

	"github.com/millrace/millrace/codec"
)

// keptMax is how many old messages of each direction between two nodes are kept to be delivered again. A new one takes
// the place of a random old one, so that some grow very old. Append replies, which say what a peer holds, get there more
// often, requests to campaign always, in places of their own.
const keptMax = 24

// keep remembers a message to be delivered again.
func (w *network) keep(l *link, e *envelope) {
	f := &w.s.faults
	if !f.on[ClassReplay] || w.s.healing {
		return
	}
	r := f.rolls[ClassReplay]
	switch {
	case e.kind == codec.MessageTransfer && len(l.requests) < keptMax/4:
		l.requests = append(l.requests, e)
	case e.kind == codec.MessageTransfer:
		l.requests[r.IntN(len(l.requests))] = e
	case len(l.old) < keptMax:
		l.old = append(l.old, e)
	case e.kind == codec.MessageAppendReply || r.IntN(8) == 0:
		l.old[r.IntN(len(l.old))] = e
	}
}

// replay delivers old messages again: mostly to a leader, and then mostly what its peers once acknowledged; to others now
// and then what asks them to campaign.
func (w *network) replay(n *node, r *rand.Rand) bool {
	from := w.s.nodes[r.IntN(len(w.s.nodes))]
	l := w.link(from.id, n.id)
	var old []*envelope
	switch {
	case !n.leads() && len(l.requests) > 0 && r.IntN(2) == 0:
		old = l.requests
	case n.leads() && r.IntN(4) > 0:
		for _, e := range l.old {
			if e.kind == codec.MessageAppendReply {
				old = append(old, e)
			}
		}
	default:
		old = l.old
	}
	if len(old) == 0 {
		return false
	}
	for range 1 + r.IntN(4) {
		e := old[r.IntN(len(old))]
		w.s.after(exponential(r, 5*time.Millisecond), func() { w.again(e) })
	}
	return true
}
