package crash

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine"
)

// smallDisk mounts a file system in memory of a size, until the test ends.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("full disk: needs root, to mount a small one")
	}
	dir := t.TempDir()
	if err := command("mount", "-t", "tmpfs", "-o", "size="+size, "tmpfs", dir); err != nil {
		t.Skip("full disk: can't mount a small one:", err)
	}
	t.Cleanup(func() {
		if err := command("umount", dir); err != nil {
			t.Error(errors.Join(err, command("umount", "-l", dir)))
		}
	})
	return dir
}

// TestDiskFullInACluster fills the real disk of one of three nodes under load. That node stops and says why, the others
// go on; when there is room again it opens and catches up.
func TestDiskFullInACluster(t *testing.T) {
	t.Parallel()
	small := smallDisk(t, "4m")
	r := rand.New(rand.NewPCG(newSeed(t), 0))
	dirs := nodeDirs(t.TempDir())
	dirs[1] = filepath.Join(small, "node")
	ballast := filepath.Join(small, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 3800<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	l, b := newLife(dirs, freeAddresses(t, r), 0, r), newBook()
	s, machines, err := openNodes(&l, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(errors.Join(err, s.close()))
	}
	ctx, cancel := context.WithCancel(t.Context())
	clients := load{seats: s, record: b, closed: 4, windowed: 2, window: 16, first: 1, failed: func(err error) { t.Error(err) }}
	var running sync.WaitGroup
	running.Go(func() { clients.run(ctx) })

	full := s[1].Load()
	<-full.Done()
	if err := full.Close(); !errors.Is(err, syscall.ENOSPC) || !errors.Is(full.Err(), syscall.ENOSPC) {
		t.Errorf("the node with the full disk stopped with %v, want ENOSPC", err)
	}
	have, _ := b.counts()
	promisedAfter(t, b, have+100)

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	cancel()
	running.Wait()
	cfg := nodeConfig(2, 1)
	cfg.Dir, cfg.Listen = dirs[1], l.Addresses[1]
	machines[1] = newMachine()
	again, err := engine.Open(cfg, machines[1])
	if err != nil {
		t.Fatal(errors.Join(err, s[0].Load().Close(), s[2].Load().Close()))
	}
	s[1].Store(again)
	if err := finish(t.Context(), s, machines, b, 1000); err != nil {
		t.Error(err)
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
	logs, err := readDirs(dirs)
	if err == nil {
		err = b.promises().check(logs)
	}
	if err != nil {
		t.Error(err)
	}
	if n := len(logs[codec.NodeID(2)].entries); n < have {
		t.Errorf("the log of the node that was full holds %d entries, %d puts were acknowledged before", n, have)
	}
}
