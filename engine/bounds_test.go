package engine

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/netio"
)

// stallingLog keeps its reports back while it is stalled, as a disk whose sync does not return.
type stallingLog struct {
	Log
	mu      sync.Mutex
	stalled bool
	newest  uint64
	report  func(uint64, error)
}

func (l *stallingLog) Group(g codec.GroupID, flushed func(uint64, error)) (GroupLog, codec.LogState, error) {
	l.report = flushed
	return l.Log.Group(g, func(seq uint64, err error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.newest = seq; !l.stalled {
			flushed(seq, err)
		}
	})
}

func (l *stallingLog) stall(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stalled = on; !on {
		l.report(l.newest, nil)
	}
}

// TestStalledOwnDiskBoundsALeader: two followers commit what the leader's disk does not take, and still the leader must
// not take proposals for ever.
func TestStalledOwnDiskBoundsALeader(t *testing.T) {
	logs := map[codec.NodeID]*stallingLog{}
	c := startCluster(t, clusterOptions{nodes: 3, adjust: func(cfg *Config) {
		logs[cfg.NodeID] = &stallingLog{Log: MemoryLog()}
		cfg.Log, cfg.Dir = logs[cfg.NodeID], ""
		cfg.UnappliedBytesMax, cfg.IntakeBytesMax = 1<<20, 1<<20
	}})
	c.propose("x")
	c.agree(1)
	leader := c.leader()
	logs[leader.NodeID()].stall(true)
	taken, answered := 0, make(chan error, 1000)
	data := make([]byte, 64<<10)
	for taken < 400 { // 25 MiB
		err := leader.ProposeAsync(data, func(_ Result, err error) { answered <- err })
		if errors.Is(err, ErrBusy) {
			before := leader.Metrics().Last.Index
			if leader.Metrics().Last.Index == before && leader.Metrics().UnappliedBytes == 0 {
				break // nothing moves any more
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		taken++
	}
	if taken > 64 {
		t.Errorf("%d proposals of 64 KiB were taken with the disk stalled, bounds 1 MiB each", taken)
	}
	logs[leader.NodeID()].stall(false)
	for range taken {
		if err := <-answered; err != nil {
			t.Fatal(err)
		}
	}
	c.agree(1 + taken)
}

func TestSmallLimitsStillLetTheProtocolThrough(t *testing.T) {
	c := startCluster(t, clusterOptions{nodes: 3, tcp: true, adjust: func(cfg *Config) {
		cfg.ProposalBytesMax, cfg.FrameBytesMax = 16, 16
	}})
	c.propose("sixteen bytes ok")
	c.agree(1)
}

// TestNothingLeavesForAWriteThatWasNotMade: a frame whose body can't be read must be cut, which fails; the node stops,
// and no acknowledgement of it leaves.
func TestNothingLeavesForAWriteThatWasNotMade(t *testing.T) {
	net := netio.NewNetwork()
	log := MemoryLog()
	r, err := Open(Config{NodeID: 1, ClusterID: "test", Log: log, Transport: net.Transport(1, "test", log.Incarnation()),
		ElectionTimeoutMin: 5 * time.Second, ElectionTimeoutMax: 8 * time.Second}, newRegister())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	answers := make(chan codec.Message, 100)
	peer := net.Transport(2, "test", codec.Incarnation{2})
	if err := peer.Start(codec.Link{
		Verify: func(codec.NodeID, codec.Incarnation) error { return nil },
		Deliver: func(packets []codec.Packet) {
			for _, p := range packets {
				answers <- p.Message
			}
		},
		Down: func(codec.NodeID, codec.Lane) {},
	}); err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	peer.SetPeers([]codec.Node{{ID: 1}})
	vote := codec.Vote{Leader: codec.LeaderID{Term: 1, Node: 2}, Committed: true}
	send := func(f codec.Frame) {
		peer.Send(codec.LaneAppend, []codec.Packet{{Node: 1, Frame: f,
			Message: codec.Message{Kind: codec.MessageAppend, Group: theGroup, Vote: vote, Stream: 1}}})
	}
	send(leaderFrame(t, vote.Leader, 1, codec.CompressionNone))
	if m := <-answers; m.Status != codec.StatusOK || m.Log.Index != 1 {
		t.Fatalf("the first frame was answered %+v", m)
	}
	send(damagedBody(t, leaderFrame(t, vote.Leader, 2, codec.CompressionS2)))
	<-r.Done()
	if err := r.Err(); !errors.Is(err, codec.ErrCorrupt) {
		t.Errorf("the node stopped with %v, want an error that wraps ErrCorrupt", err)
	}
	for len(answers) > 0 {
		if m := <-answers; m.Status == codec.StatusOK && m.Log.Index > 1 {
			t.Errorf("an entry that was never written is acknowledged: %+v", m)
		}
	}
}

func leaderFrame(t *testing.T, leader codec.LeaderID, entries uint32, c codec.Compression) codec.Frame {
	t.Helper()
	buf := make([]byte, codec.FrameHeaderSize)
	for range entries {
		buf = codec.AppendEntry(buf, make([]byte, 100))
	}
	f, err := codec.SealFrame(buf, codec.FrameMeta{Group: theGroup, Leader: leader, First: 1, Count: entries, Kind: codec.EntryNormal}, c)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// damagedBody returns the frame with a body that does not decompress and a checksum that is right for it.
func damagedBody(t *testing.T, f codec.Frame) codec.Frame {
	t.Helper()
	b := append([]byte(nil), f.Bytes()...)
	for i := codec.FrameHeaderSize; i < len(b); i++ {
		b[i] = 0xff
	}
	crc := codec.UpdateChecksum(codec.Checksum(b[:48]), b[codec.FrameHeaderSize:])
	b[48], b[49], b[50], b[51] = byte(crc), byte(crc>>8), byte(crc>>16), byte(crc>>24)
	damaged, _, err := codec.ReadFrame(b)
	if err != nil {
		t.Fatal(err)
	}
	return damaged
}
