package crash

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/netio"
	"github.com/millrace/millrace/wal"
	"github.com/millrace/millrace/wal/vfs"
)

// A leader that can't read back what a follower has missed stops, so that another node leads, instead of asking its disk
// and its follower again and again.
func TestLeaderThatCannotReadItsLogStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		network, b := netio.NewNetwork(), newBook()
		var s seats
		var unreadable [3]atomic.Bool
		var disks [3]*vfs.Fault
		machines := make([]*machine, 3)
		open := func(i int) {
			id := codec.NodeID(i + 1)
			log, err := wal.OpenSimulation(memConfig(id), wal.Simulation{FS: disks[i], Random: rand.NewChaCha8([32]byte{byte(i)})})
			if err != nil {
				t.Fatal(err)
			}
			cfg := nodeConfig(id, 1)
			cfg.Log, cfg.Transport = simLog{log}, network.Transport(id, clusterID, log.Incarnation())
			machines[i] = newMachine()
			n, err := engine.Open(cfg, machines[i])
			if err != nil {
				t.Fatal(err)
			}
			s[i].Store(n)
		}
		var members []codec.Node
		for i := range disks {
			disks[i] = vfs.NewFault(vfs.NewMem())
			disks[i].InjectIf(vfs.OpRead, unreadable[i].Load, vfs.Fail, syscall.EIO)
			open(i)
			members = append(members, codec.Node{ID: codec.NodeID(i + 1), Address: s[i].Load().Addr()})
		}
		if err := s[0].Load().Initialize(ctx, codec.NewMembership(codec.SeveralLeadersPerTerm, members...)); err != nil {
			t.Fatal(err)
		}
		leader, err := s.leader(ctx, 0)
		if err != nil {
			t.Fatal(err)
		}
		at := int(leader.NodeID()) - 1
		away := (at + 1) % 3
		if err := s[away].Load().Close(); err != nil {
			t.Fatal(err)
		}
		large := make([]byte, 4<<10)
		for serial := uint64(1); serial <= 60; serial++ { // four times what stays in memory
			id := identity{1, serial}
			put := appendIdentity(nil, id)
			put = append(put, large...)
			put = append(put, 0, 0, 0, 0)
			result, err := leader.Propose(ctx, sealPut(put))
			if err != nil {
				t.Fatal(err)
			}
			b.acked(id, result.LogID)
		}
		unreadable[at].Store(true)
		open(away)
		select {
		case <-leader.Done():
		case <-ctx.Done():
			t.Error("the leader goes on, though it can't read its log")
		}
		unreadable[at].Store(false)
		if err := leader.Close(); !errors.Is(err, syscall.EIO) {
			t.Errorf("the leader was closed with %v, want EIO", err)
		}
		open(at)
		if err := errors.Join(finish(ctx, &s, machines, b, 2), s.close()); err != nil {
			t.Error(fmt.Errorf("without the leader: %w", err))
		}
	})
}
