package crash

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/wal"
)

func init() { children["reclaim"] = reclaimChild }

const (
	lagging     = codec.GroupID(2) // holds on to what it has while the other group writes and purges
	laggingHeld = 40
	busyKept    = 16 // entries that the busy group keeps, at most, beyond the eight between two purges
)

func reclaimConfig(dir string) wal.Config {
	return wal.Config{Dir: dir, ClusterID: clusterID, Node: 1, SegmentBytes: segmentBytes, RecentBytesMax: 64 << 10}
}

var reclaimLeader = codec.LeaderID{Term: 1, Node: 1}

func reclaimFrame(g codec.GroupID, i codec.Index) codec.Frame {
	data := bytes.Repeat(binary.LittleEndian.AppendUint64(nil, uint64(g)<<32|uint64(i)), 300)
	f, err := codec.SealFrame(codec.AppendEntry(make([]byte, codec.FrameHeaderSize), data),
		codec.FrameMeta{Group: g, Leader: reclaimLeader, First: i, Count: 1, Kind: codec.EntryNormal}, codec.CompressionNone)
	if err != nil {
		panic(err)
	}
	return f
}

// reclaimChild writes to the busy group of a log, purging, until somebody ends it, and tells each entry that is durable.
func reclaimChild(args []string) error {
	l, err := wal.Open(reclaimConfig(args[0]))
	if err != nil {
		return err
	}
	held, state, err := l.Group(lagging, func(uint64, error) {})
	if err != nil {
		return err
	}
	for i := codec.Index(len(state.Frames)) + 1; i <= laggingHeld; i++ {
		held.Submit(&codec.LogWrite{Frame: reclaimFrame(lagging, i)})
	}
	durable := make(chan error, 1)
	busy, state, err := l.Group(group, func(_ uint64, err error) { durable <- err })
	if err != nil {
		return err
	}
	last := state.Base.ID.Index + codec.Index(len(state.Frames))
	for n := uint64(1); ; n++ {
		last++
		w := codec.LogWrite{Seq: n, Frame: reclaimFrame(group, last)}
		if last%8 == 0 && last > busyKept && last-busyKept > state.Base.ID.Index {
			w.Purge = &codec.LogBase{ID: codec.LogID{Leader: reclaimLeader, Index: last - busyKept}}
		}
		busy.Submit(&w)
		if err := <-durable; err != nil {
			return errors.Join(err, l.Close())
		}
		fmt.Println(last, l.Stats().ReclaimedSegments)
	}
}

// TestExt4PowerCutWhileReclaiming cuts the power of an ext4 on which a log gives back the space of its old segments: what was
// acknowledged and not purged is there, and the log opens.
func TestExt4PowerCutWhileReclaiming(t *testing.T) {
	if why := tools(); why != "" {
		t.Skip("power cut on ext4:", why)
	}
	t.Parallel()
	r := rand.New(rand.NewPCG(newSeed(t), 0))
	m := newImage(t, t.TempDir(), "disk", 64<<20)
	dir := filepath.Join(m.dir, "node")
	told, files := codec.Index(0), 0
	want := rounds(10, 3)
	for range want {
		cmd := exec.Command(os.Args[0], childFlag, "reclaim", dir)
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		reclaimed := 0
		for more := 200 + r.IntN(200); more > 0 && lines.Scan(); more-- {
			if _, err := fmt.Sscan(lines.Text(), &told, &reclaimed); err != nil {
				t.Fatalf("child says %q: %v", lines.Text(), err)
			}
		}
		err = m.cut()
		_ = cmd.Process.Kill() // it may have ended by itself: its disk is gone
		_ = cmd.Wait()
		if err == nil {
			err = m.powerOn()
		}
		if err != nil {
			t.Fatal(err)
		}
		files += reclaimed
		if err := checkReclaimed(dir, told); err != nil {
			t.Fatalf("%d acknowledged: %v", told, err)
		}
	}
	t.Logf("%d power cuts, %d files had gone, %d entries", want, files, told)
	if files < 3*want {
		t.Errorf("%d files went before %d cuts", files, want)
	}
}

// checkReclaimed reads a copy of the log.
func checkReclaimed(dir string, told codec.Index) error {
	disk, err := copyDir(dir)
	if err != nil {
		return err
	}
	for g, held := range map[codec.GroupID]codec.Index{group: told, lagging: laggingHeld} {
		l, err := readLogOf(1, disk, g)
		if err != nil {
			return err
		}
		base := l.state.Base.ID.Index
		last := base + codec.Index(len(l.entries))
		if last < held || g == lagging && base > 0 || g == group && last-base > busyKept+16 {
			return fmt.Errorf("group %d holds %d to %d, want up to %d", g, base+1, last, held)
		}
		for i, e := range l.entries {
			want, err := reclaimFrame(g, base+1+codec.Index(i)).AppendEntries(nil)
			if err != nil || e.ID != want[0].ID || !bytes.Equal(e.Data, want[0].Data) {
				return fmt.Errorf("group %d: entry %v at %d (%v)", g, e.ID, base+1+codec.Index(i), err)
			}
		}
	}
	names, err := os.ReadDir(filepath.Join(dir, "wal"))
	if err != nil {
		return err
	}
	segments := 0
	for _, n := range names {
		if !strings.Contains(n.Name(), ".") {
			segments++
		}
	}
	if segments > 24 {
		return fmt.Errorf("%d segments", segments)
	}
	return nil
}
