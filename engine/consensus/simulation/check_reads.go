package simulation

import (
	"math"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine/consensus"
)

// asking names a read that a leader is to confirm: by who asked, 0 for a caller of its own, and that one's token.
type asking struct {
	from  codec.NodeID
	token uint64
}

// reads checks that a leader confirms a read by what a write quorum answered to messages that were sent after the read
// arrived (thesis 6.4). That a stale answer does harm takes a leader that was replaced, has not noticed, and is asked just
// then; that it was given is seen at once.
func (k *checker) reads(n *node, have *seen) {
	l, m := &have.lead, &n.in.Message
	// What is stamped with an instant at which something had been sent before might be that.
	fresh := max(n.now, l.sent+1)
	switch {
	case n.in.Kind == consensus.InputRead:
		l.reads[asking{0, n.in.Token}] = fresh
	case n.in.Kind == consensus.InputMessage && m.Kind == codec.MessageRead:
		if a := (asking{n.in.Peer, m.Stream}); l.reads[a] == 0 { // else the network repeats it, and the first one is answered first
			l.reads[a] = fresh
		}
	}
	for i := range n.out.Reads {
		a := &n.out.Reads[i]
		k.confirms(n, have, asking{0, a.Token}, a.Reason == nil && !a.Lease)
	}
	for i := range n.out.Now {
		q := &n.out.Now[i]
		switch q.Message.Kind {
		case codec.MessageReadReply:
			k.confirms(n, have, asking{q.To, q.Message.Stream}, q.Message.Status == codec.StatusOK)
		case codec.MessageAppend, codec.MessageHeartbeat:
			l.sent = max(l.sent, consensus.Instant(q.Message.Stamp))
		}
	}
}

// confirms takes a leader's answer to a read, and checks it if it rests on a quorum.
func (k *checker) confirms(n *node, have *seen, a asking, byQuorum bool) {
	fresh, asked := have.lead.reads[a]
	delete(have.lead.reads, a)
	if !asked || !byQuorum {
		return
	}
	answered := k.reached(have.member, func(id codec.NodeID) int64 {
		if id == n.id {
			return math.MaxInt64
		}
		if at, ok := have.lead.stamps[id]; ok {
			return int64(at)
		}
		return math.MinInt64
	})
	if consensus.Instant(answered) < fresh {
		k.s.violate("node %d confirms read %d of node %d, which counts what was sent at %d or later, by answers to what was sent at %d", n.id,
			a.token, a.from, fresh, answered)
	}
}
