package crash

import (
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/netio"
	"github.com/millrace/millrace/wal"
	"github.com/millrace/millrace/wal/vfs"
)

// stopsWith checks that a node ended by itself with an error of the disk, and tells everyone so.
func stopsWith(t *testing.T, n *engine.Raft, put error, cause error) {
	t.Helper()
	var unknown *engine.UnknownError
	if !errors.As(put, &unknown) || !errors.Is(put, cause) {
		t.Errorf("the put was answered %v, want an UnknownError that wraps %q", put, cause)
	}
	<-n.Done()
	if err := n.Err(); !errors.Is(err, wal.ErrPoisoned) || !errors.Is(err, cause) {
		t.Errorf("the node stopped with %v, want an error that wraps %q and %q", err, wal.ErrPoisoned, cause)
	}
	if _, err := n.Propose(t.Context(), nil); !errors.Is(err, engine.ErrStopped) || !errors.Is(err, cause) || !certain(err) {
		t.Errorf("a put after that: %v, want one that certainly did not happen, with %q", err, cause)
	}
	if err := n.Close(); !errors.Is(err, cause) {
		t.Errorf("Close says %v, want an error that wraps %q", err, cause)
	}
}

// TestDiskFullOfANode fills the disk of a node in the middle of a write. It stops and says why; with room again it opens
// and has everything that it acknowledged.
func TestDiskFullOfANode(t *testing.T) {
	for _, cause := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EIO} {
		t.Run(cause.Error(), func(t *testing.T) {
			mem, b := vfs.NewMem(), newBook()
			disk := vfs.NewFault(mem)
			var full atomic.Bool
			disk.InjectIf(vfs.OpWrite, full.Load, vfs.Short, cause)
			open := func() *solo {
				log, err := wal.OpenSimulation(memConfig(1), wal.Simulation{FS: disk, Random: rand.NewChaCha8([32]byte{})})
				if err != nil {
					t.Fatal(err)
				}
				cfg := nodeConfig(1, 1)
				cfg.Log, cfg.Transport = simLog{log}, netio.NewNetwork().Transport(1, clusterID, log.Incarnation())
				s, err := openSolo(t.Context(), cfg)
				if err != nil {
					t.Fatal(err)
				}
				return s
			}
			s := open()
			if err := s.put(t.Context(), b, 1, 50); err != nil {
				t.Fatal(err)
			}
			full.Store(true)
			stopsWith(t, s.Raft, s.put(t.Context(), b, 51, 52), cause)
			if disk.Injected() == 0 {
				t.Error("nothing was injected")
			}

			full.Store(false)
			s = open()
			if err := errors.Join(s.put(t.Context(), b, 53, 60), s.machine.holds(b.promises()), s.Close()); err != nil {
				t.Errorf("with room again: %v", err)
			}
		})
	}
}
