package simulation

import (
	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine/consensus"
	"github.com/millrace/millrace/pipeline"
)

func (n *node) takeProposals() {
	n.batches = n.intake.Take(n.batches)
	for len(n.batches) > 0 && n.alive() && n.bytes <= unappliedBytesMax && !n.blocked() {
		b := n.batches[0]
		n.batches = n.batches[1:]
		n.propose(b)
	}
}

// blocked reports whether proposals wait because the leader hands over or leaves. Now and then one is tried all the same.
func (n *node) blocked() bool { return n.status.Blocked && n.rng.IntN(8) > 0 }

// propose appends a batch to the log, or tells its clients that this node does not lead.
func (n *node) propose(b *pipeline.Batch) {
	n.in = consensus.Input{Kind: consensus.InputPropose}
	n.in.Frame = codec.FrameMeta{Group: group, Kind: b.Kind(), Count: uint32(b.Entries()), Size: b.Bytes()}
	n.core.Step(n.now, &n.in, &n.out)
	if n.out.Refused {
		n.applier.Refuse(b, errRefused)
		n.carryOut(codec.Frame{})
		return
	}
	meta := n.out.Write.Frame
	f, err := b.Seal(meta.Group, meta.Leader, meta.First, n.s.shape.compression)
	if err != nil {
		n.s.violate("node %d: proposal: %v", n.id, err)
		return
	}
	n.proposed = append(n.proposed, proposal{meta, b})
	n.bytes += meta.Size
	n.carryOut(f)
}

// abandonProposals tells the clients of a lost leadership that nobody knows what becomes of their entries, but for those that
// are committed and will be applied.
func (n *node) abandonProposals() {
	kept := n.proposed[:0]
	for _, p := range n.proposed {
		if p.meta.Last() <= n.out.Commit && !n.status.WantsSnapshot {
			kept = append(kept, p)
			continue
		}
		n.loseProposal(p)
	}
	n.proposed = kept
}

// loseProposal tells the clients of a batch that nobody knows what becomes of their entries.
func (n *node) loseProposal(p proposal) {
	n.bytes -= p.meta.Size
	n.applier.Lose(p.batch, codec.LogID{Leader: p.meta.Leader, Index: p.meta.First}, errRefused)
}
