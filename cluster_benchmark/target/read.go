package target

import (
	"context"
	"slices"

	"github.com/millrace/millrace/cluster_benchmark/load"
	"github.com/millrace/millrace/cluster_benchmark/setting"
	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine"
)

// linearizable reads once the node has applied all that was committed before.
type linearizable struct{ member }

// Read implements [load.Reader].
func (r linearizable) Read(ctx context.Context) (codec.Index, error) {
	if _, err := r.node.EnsureLinearizable(ctx); err != nil {
		return 0, err
	}
	return r.machine.Last(), nil
}

// leased reads by the leader's lease.
type leased struct{ member }

// Read implements [load.Reader].
func (r leased) Read(ctx context.Context) (codec.Index, error) {
	var index codec.Index
	err := r.node.LeaseRead(ctx, func() error {
		index = r.machine.Last()
		return nil
	})
	return index, err
}

// Reader implements [load.ReadSource]: the leader, or one of the followers, of which each has its clients.
func (c *cluster) Reader(client int) (load.Reader, error) {
	at := c.leading()
	if at.node == nil {
		return nil, errNoLeader
	}
	if c.scenario.Read == setting.ReadFollower {
		followers := slices.DeleteFunc(c.all(), func(m member) bool { return m.node == at.node || !running(m.node) })
		if len(followers) == 0 {
			return nil, errNoFollower
		}
		at = followers[client%len(followers)]
	}
	if c.scenario.Read == setting.ReadLease {
		return leased{at}, nil
	}
	return linearizable{at}, nil
}

// running reports whether a node has not ended.
func running(n *engine.Raft) bool {
	select {
	case <-n.Done():
		return false
	default:
		return true
	}
}
