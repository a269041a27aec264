package target

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/millrace/millrace/cluster_benchmark/load"
	"github.com/millrace/millrace/cluster_benchmark/safety"
	"github.com/millrace/millrace/cluster_benchmark/setting"
	"github.com/millrace/millrace/pipeline"
)

// gnet's worker pool starts with the program and stays.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.IgnoreCurrent()) }

// put makes puts of some clients, each with a window and with single puts, and returns their books.
func put(t *testing.T, target Target, clients, puts, payload int) []*safety.Book {
	t.Helper()
	p, err := target.Proposer()
	if err != nil {
		t.Fatal(err)
	}
	var books []*safety.Book
	var wg sync.WaitGroup
	for i := range clients {
		b := safety.NewBook(i, payload)
		books = append(books, &b)
		wg.Go(func() {
			data := make([]byte, payload)
			for range puts {
				serial := b.Issue(data)
				result, err := p.Propose(context.Background(), data)
				if err != nil {
					t.Errorf("put %d: %v", serial, err)
					return
				}
				b.Acknowledge(serial, result.LogID)
			}
		})
	}
	wg.Wait()
	return books
}

func open(t *testing.T, name string, s setting.Scenario) (Target, string) {
	t.Helper()
	dir := t.TempDir()
	target, err := Open(t.Context(), name, s, dir)
	if err != nil {
		t.Fatal(err)
	}
	return target, dir
}

func TestCeilings(t *testing.T) {
	for _, name := range []string{setting.CeilingHandoff, setting.CeilingDisk, setting.CeilingNet} {
		for _, nodes := range []int{1, 2, 3, 5} {
			t.Run(fmt.Sprintf("%s/%d", name, nodes), func(t *testing.T) {
				target, dir := open(t, name, setting.Scenario{Nodes: nodes})
				put(t, target, 8, 20, 100)
				c := target.Counters()
				if c.Entries != 160 || c.Frames == 0 || c.Frames > 160 {
					t.Errorf("%d entries in %d frames, want 160 in at most as many", c.Entries, c.Frames)
				}
				if err := target.Settle(t.Context()); err != nil || target.Replicas() != nil {
					t.Errorf("settle: %v, replicas: %v", err, target.Replicas())
				}
				if err := target.Close(); err != nil {
					t.Error(err)
				}
				c = target.Counters()
				if name == setting.CeilingDisk {
					if low := uint64(nodes * 160 * 100); c.WALBytes < low || c.WALSyncs < uint64(nodes) || c.WALSyncs > c.Frames*uint64(nodes) {
						t.Errorf("%d bytes, %d syncs for %d frames on %d files", c.WALBytes, c.WALSyncs, c.Frames, nodes)
					}
				} else if c.WALBytes != 0 || c.WALSyncs != 0 {
					t.Errorf("%d bytes and %d syncs without a disk", c.WALBytes, c.WALSyncs)
				}
				if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
					t.Errorf("left behind: %v, %v", left, err)
				}
			})
		}
	}
}

// TestCloseAnswersWhatWaits closes each ceiling while puts are on their way: each is answered, one way or the other.
func TestCloseAnswersWhatWaits(t *testing.T) {
	for _, name := range []string{setting.CeilingHandoff, setting.CeilingDisk, setting.CeilingNet} {
		target, _ := open(t, name, setting.Scenario{Nodes: 3})
		p, err := target.Proposer()
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		first := make(chan struct{})
		var once sync.Once
		for range 4 {
			wg.Go(func() {
				for {
					if _, err := p.Propose(context.Background(), []byte("x")); err != nil {
						if !errors.Is(err, pipeline.ErrStopped) {
							t.Errorf("%s: %v, want ErrStopped", name, err)
						}
						return
					}
					once.Do(func() { close(first) })
				}
			})
		}
		<-first
		if err := target.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		wg.Wait()
	}
}

// TestBatchLargerThanAFile: the ring of the preallocated file is written around its end.
func TestBatchLargerThanAFile(t *testing.T) {
	target, _ := open(t, setting.CeilingDisk, setting.Scenario{Nodes: 1})
	p, _ := target.Proposer()
	data := make([]byte, 12<<20)
	for range 8 { // 96 MiB into a file of 64
		if _, err := p.Propose(t.Context(), data); err != nil {
			t.Fatal(err)
		}
	}
	if err := target.Close(); err != nil {
		t.Fatal(err)
	}
	if c := target.Counters(); c.WALBytes < 8*12<<20 {
		t.Errorf("%d bytes written", c.WALBytes)
	}
}

// TestDiskFailureFailsPuts: what can't be synced is not answered as if it were.
func TestDiskFailureFailsPuts(t *testing.T) {
	target, _ := open(t, setting.CeilingDisk, setting.Scenario{Nodes: 3})
	k := target.(*disk)
	if err := k.files[1].file.Close(); err != nil {
		t.Fatal(err)
	}
	p, _ := target.Proposer()
	// A majority of healthy files may answer the first puts; the failure is noticed with the next sync at the latest.
	var err error
	for range 1000 {
		if _, err = p.Propose(t.Context(), []byte("x")); err != nil {
			break
		}
	}
	if !errors.Is(err, os.ErrClosed) {
		t.Errorf("propose: %v, want the file's error", err)
	}
	if err := target.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("close: %v, want the file's error", err)
	}
}

func TestNetFailureFailsPuts(t *testing.T) {
	target, _ := open(t, setting.CeilingNet, setting.Scenario{Nodes: 3})
	if err := target.(*trip).far.Close(); err != nil {
		t.Fatal(err)
	}
	p, _ := target.Proposer()
	for range 2 {
		if _, err := p.Propose(t.Context(), []byte("x")); err == nil {
			t.Error("a put was answered over a closed connection")
		}
	}
	if err := target.Close(); err == nil {
		t.Error("close says nothing of the broken connection")
	}
}

func TestDirectoryThatCannotBeUsed(t *testing.T) {
	for _, name := range []string{setting.CeilingDisk, setting.Millrace} {
		file := t.TempDir() + "/file"
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		s := setting.Scenario{Nodes: 3, Clients: 1, Payload: 16, Store: setting.StoreWAL, Net: setting.NetInproc}
		if target, err := Open(t.Context(), name, s, file); err == nil {
			t.Errorf("%s opened below a file", name)
			target.Close()
		}
	}
}

func TestClusters(t *testing.T) {
	for _, store := range []string{setting.StoreMemory, setting.StoreWAL} {
		for _, network := range []string{setting.NetInproc, setting.NetTCP} {
			t.Run(store+"/"+network, func(t *testing.T) {
				target, _ := open(t, setting.Millrace, setting.Scenario{Nodes: 3, Clients: 8, Payload: 32, Store: store, Net: network})
				books := put(t, target, 8, 20, 32)
				if err := target.Settle(t.Context()); err != nil {
					t.Error(err)
				}
				c := target.Counters()
				if err := target.Close(); err != nil {
					t.Error(err)
				}
				if v := safety.Check(books, target.Replicas(), nil); !v.OK || v.Acknowledged != 160 || len(v.Applied) != 3 {
					t.Errorf("%+v, want 160 puts, ok", v)
				}
				if c.Entries < 160 || c.Frames == 0 {
					t.Errorf("%d entries in %d frames", c.Entries, c.Frames)
				}
				if wal := store == setting.StoreWAL; (c.WALSyncs > 0) != wal || (c.WALBytes > 3*160*32) != wal {
					t.Errorf("%d syncs, %d bytes", c.WALSyncs, c.WALBytes)
				}
				if _, err := target.Proposer(); !errors.Is(err, load.ErrGone) {
					t.Errorf("after Close: %v, want ErrGone", err)
				}
			})
		}
	}
}
