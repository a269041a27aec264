package simulation

import (
	"errors"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/wal/snapshot"
)

// bring lets an operator give a node that starts the newest snapshot of another one, by hand and without that one's leader.
// The node's log often holds what the snapshot ends with, and does not know yet that it is committed.
func (n *node) bring() {
	m := n.core.Membership()
	from := n.s.nodes[n.rng.IntN(len(n.s.nodes))]
	if m == nil || n.witness() || from == n || !from.up || n.s.lenient || n.s.healing || n.ailing {
		return
	}
	info, ok := from.snaps.store.Newest()
	if !ok || info.Base.ID.Index <= n.status.Commit {
		return
	}
	raw, err := from.snaps.store.OpenRaw(info)
	if err != nil {
		from.diskFailed("open its newest snapshot", err)
		return
	}
	err = n.copySnapshot(raw)
	if closeErr := raw.Close(); closeErr != nil {
		n.s.violate("node %d: closing a snapshot: %v", from.id, closeErr)
	}
	switch {
	case err == nil:
		n.isDurable(info.Base.ID.Index)
		n.s.tracef("node %d is brought the snapshot of node %d up to %v", n.id, from.id, info.Base.ID)
		n.s.note(35, uint64(n.id), uint64(info.Base.ID.Index))
		n.box.arrivals = append(n.box.arrivals, arrival{base: info.Base})
	case !errors.Is(err, codec.ErrCorrupt) && !errors.Is(err, codec.ErrVersion):
		n.diskFailed("take a snapshot by hand", err)
	}
}

// copySnapshot makes a snapshot of another node one of this node's.
func (n *node) copySnapshot(raw *snapshot.Raw) error {
	b := make([]byte, raw.Info().Size)
	if _, err := raw.ReadAt(b, 0); err != nil {
		return err
	}
	in, err := n.snaps.store.Receive(raw.Info().ID())
	if err != nil {
		return err
	}
	if held := in.Offset(); held < int64(len(b)) {
		if err := in.Write(held, b[held:]); err != nil {
			return err
		}
	}
	_, err = in.Finish()
	return err
}
