package crash

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/wal/vfs"
)

// TestPowerCutOfANewNode cuts the power of a node before each operation of its disk in turn, from when its cluster is founded:
// so each thing it notes of its peers, of the membership, of votes and of entries is lost once. Then it must serve the
// cluster with either of the others.
func TestPowerCutOfANewNode(t *testing.T) {
	seed := newSeed(t)
	cuts := 0
	for step := 1; ; step++ {
		cut := false
		synctest.Test(t, func(t *testing.T) {
			g := newGrid(seed)
			var err error
			cut, err = g.newNodeWithCut(t.Context(), step)
			if err = g.end(err); err != nil {
				t.Errorf("seed %d, cut before operation %d: %v", seed, step, err)
			}
		})
		if t.Failed() {
			return
		}
		if !cut {
			break
		}
		cuts++
	}
	t.Logf("%d cuts", cuts)
	if cuts < 4 {
		t.Errorf("%d cuts, want one for each operation of a node's first life", cuts)
	}
}

// newNodeWithCut reports whether there was such an operation.
func (g *grid) newNodeWithCut(ctx context.Context, step int) (cut bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	const hurt = 2
	for i := range g.disks {
		if err := g.open(i); err != nil {
			return false, err
		}
	}
	g.disks[hurt].cutAt(step)
	if err := g.initialize(ctx); err != nil {
		return false, err
	}
	last, err := putOne(ctx, &g.seats, g.book, 1)
	if err == nil {
		err = g.machines[hurt].awaitOr(ctx, last, g.disks[hurt].tripped)
	}
	if err != nil {
		return false, err
	}
	g.disks[hurt].cutAt(0)
	select {
	case <-g.disks[hurt].tripped:
	default:
		return false, nil
	}
	left, _, err := g.disks[hurt].afterCut(vfs.LoseAll())
	if err == nil {
		err = g.stop(hurt)
	}
	if err != nil {
		return true, err
	}
	g.insert(hurt, left)
	if err := g.open(hurt); err != nil {
		return true, fmt.Errorf("after the cut: %w", err)
	}
	for client, away := range []codec.NodeID{1, 2} {
		for _, id := range []codec.NodeID{1, 2, 3} {
			if id != away {
				g.net.Partition([]codec.NodeID{away}, []codec.NodeID{id})
			}
		}
		if _, err := putOne(ctx, &g.seats, g.book, uint64(2+client)); err != nil {
			return true, fmt.Errorf("without node %d: %w", away, err)
		}
		g.net.HealAll()
	}
	return true, nil
}
