package engine

import (
	"errors"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine/consensus"
	"github.com/millrace/millrace/engine/shipment"
)

// arrival is a snapshot that is complete and durable here, with what is needed to install it.
type arrival struct {
	shipment.Arrival
	sessions []byte
}

// piece takes a piece of a snapshot, if it comes from the leader that this node follows.
func (k *keeper) piece(p *codec.Packet) {
	vote := k.l.status.Vote
	switch {
	case k.receiver == nil || p.Message.Vote != vote || !vote.Committed || vote.Leader.Node != p.Node:
		k.send([]codec.Packet{shipment.Refuse(p, vote)})
	default:
		if err := k.receiver.Take(p, vote); err != nil {
			k.l.malformed++
			k.l.logs.snapshots.Warn("dropped an unreadable piece of a snapshot", "peer", p.Node, "err", err)
		}
	}
}

// complete is called on the receiver's goroutine with a snapshot that is complete and durable. It reads what the loop must
// not read from the disk.
func (k *keeper) complete(a shipment.Arrival) {
	got := &arrival{Arrival: a}
	if k.store != nil {
		var err error
		if got.sessions, err = k.sessions(a.Info); err != nil {
			if errors.Is(err, codec.ErrCorrupt) {
				err = errors.Join(err, k.store.SetAside(a.Info, err))
			}
			k.post(func(k *keeper) {
				k.l.logs.snapshots.Error("snapshot that came in can't be read", "entry", a.Base.ID, "err", err)
			})
			return
		}
	}
	k.post(func(k *keeper) { k.install(got) })
}

// install offers a snapshot to the core, which says whether it is to be installed.
func (k *keeper) install(a *arrival) {
	k.arrived = a
	k.l.step(consensus.Input{Kind: consensus.InputInstall, Peer: a.Peer, Message: a.Message, Base: &a.Base, MetadataOnly: k.store == nil})
	k.arrived = nil
}

// replace makes the snapshot that was offered last the state of this node. The log begins behind it, or
// holds its last entry.
func (k *keeper) replace(base *codec.LogBase) {
	a := k.arrived
	if a == nil || a.Base.ID != base.ID {
		panic("BUG: the core installs a snapshot that nobody brought")
	}
	k.installed++
	k.l.logs.snapshots.Info("snapshot installed", "entry", base.ID, "bytes", a.Info.Size, "from", a.Peer)
	k.l.emit(SnapshotInstalled{Snapshot: base.ID, Bytes: a.Info.Size, Peer: a.Peer})
	k.l.loseUpTo(base.ID.Index)
	k.newest, k.newestAt, k.full = a.Info, k.l.now, a.Info.Size
	k.sizes.reset()
	k.marked = 0
	k.restore(a.Info, a.sessions)
}
