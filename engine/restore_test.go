package engine

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine/consensus"
)

// foreign returns the state of a register of some other cluster, that holds the given entries.
func foreign(t testing.TB, datas ...string) []byte {
	t.Helper()
	s := registerState{Datas: datas}
	for i := range datas {
		s.IDs = append(s.IDs, codec.LogID{Leader: codec.LeaderID{Term: 99, Node: 9}, Index: codec.Index(1000 + i)})
		s.Hashes = append(s.Hashes, uint32(i))
	}
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(&s); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// states waits until all nodes have applied what the leader has, and returns the states.
func (c *cluster) states() map[codec.NodeID][]string {
	c.t.Helper()
	last := c.leader().Metrics().Last.Index
	states := map[codec.NodeID][]string{}
	for id, n := range c.nodes {
		until(c.t, fmt.Sprintf("node %d to apply entry %d", id, last), func() bool { return n.Metrics().Applied >= last })
		sm := c.sms[id]
		sm.mu.Lock()
		states[id] = slices.Clone(sm.datas)
		sm.mu.Unlock()
	}
	return states
}

// wantStates fails unless every node's state is the given one.
func (c *cluster) wantStates(want ...string) {
	c.t.Helper()
	for id, got := range c.states() {
		if !slices.Equal(got, want) {
			c.t.Fatalf("node %d holds %d entries, %.100q, want %d, %.100q", id, len(got), got, len(want), want)
		}
	}
}

func TestRestoreReplacesTheStateEverywhere(t *testing.T) {
	eachKind(t, func(t *testing.T, o clusterOptions) {
		o.adjust = quiet
		o, machines := kept(o)
		c := startCluster(t, o)
		for n := range 10 {
			c.propose(fmt.Sprint("old", n))
		}
		large := strings.Repeat("x", 3*restorePartBytes+17)
		at, err := c.leader().Restore(t.Context(), bytes.NewReader(foreign(t, "new0", large)))
		if err != nil {
			t.Fatal(err)
		}
		if r := c.propose("behind"); string(r.Data) != "3" || r.LogID.Index <= at.Index {
			t.Fatalf("entry %v behind the restore at %v is number %s, want 3", r.LogID, at, r.Data)
		}
		c.wantStates("new0", large, "behind")
		for id := range c.nodes { // so that the state need not be collected again
			c.taken(id, 1)
			if o.memory {
				continue
			}
			c.close(id)
		}
		if !o.memory {
			for id := range c.cfgs {
				c.open(id)
			}
			c.propose("after the restart")
			c.wantStates("new0", large, "behind", "after the restart")
			for id, sm := range machines {
				if sm.restores != 1 {
					t.Errorf("node %d: %d states were restored after the restart, want the snapshot alone", id, sm.restores)
				}
			}
		}
	})
}

// TestRestoreAmongWrites: what stands before the restore is gone with the old state, what stands behind it stays.
func TestRestoreAmongWrites(t *testing.T) {
	o, _ := kept(clusterOptions{nodes: 3, tcp: true, adjust: quiet})
	c := startCluster(t, o)
	leader := c.leader()
	stop, load := make(chan struct{}), make(chan []codec.Index, 1)
	go func() {
		var at []codec.Index
		defer func() { load <- at }()
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			r, err := leader.Propose(t.Context(), fmt.Append(nil, "put", n))
			if err != nil {
				t.Errorf("put %d: %v", n, err)
				return
			}
			at = append(at, r.LogID.Index)
		}
	}()
	var end codec.LogID
	for round := range 3 {
		var err error
		if end, err = leader.Restore(t.Context(), bytes.NewReader(foreign(t, fmt.Sprint("restored", round), strings.Repeat("y", 2<<20)))); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	puts := <-load
	want := []string{"restored2", strings.Repeat("y", 2<<20)}
	for n, at := range puts {
		if at > end.Index {
			want = append(want, fmt.Sprint("put", n))
		}
	}
	c.wantStates(want...)
	if len(puts) < 10 || puts[0] > end.Index {
		t.Fatalf("%d puts, the first at %d: none stood before the restore at %v", len(puts), puts[0], end)
	}
}

// slowly gives a state in pieces and waits for each.
type slowly struct {
	state []byte
	more  chan int // how many more bytes may be read
	left  int
}

func (s *slowly) Read(p []byte) (int, error) {
	for s.left == 0 {
		n, ok := <-s.more
		if !ok {
			s.left = len(s.state)
			break
		}
		s.left = n
	}
	n := copy(p[:min(len(p), s.left)], s.state)
	if s.state, s.left = s.state[n:], s.left-n; n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// TestLeaderChangesDuringRestore: nothing has changed, and the next leader can restore.
func TestLeaderChangesDuringRestore(t *testing.T) {
	o, _ := kept(clusterOptions{nodes: 3, tcp: true, adjust: quiet})
	c := startCluster(t, o)
	c.propose("old")
	first := c.leader()
	state := &slowly{state: foreign(t, strings.Repeat("z", 4*restorePartBytes)), more: make(chan int)}
	ended := make(chan error, 1)
	go func() {
		_, err := first.Restore(t.Context(), state)
		ended <- err
	}()
	state.more <- restorePartBytes
	state.more <- restorePartBytes
	until(t, "parts to be applied", func() bool {
		open := first.loop.keeper.collector.open.Load()
		return open != nil && first.Metrics().Applied == first.Metrics().Last.Index
	})
	if err := first.TransferLeadership(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	close(state.more)
	err := <-ended
	var notLeader *NotLeaderError
	if !errors.As(err, &notLeader) && !errors.As(err, new(*LeadershipError)) || !errors.Is(err, ErrRestoreGivenUp) {
		t.Fatalf("the restore ends with %v, want that this node does not lead any more", err)
	}
	c.propose("kept")
	c.wantStates("old", "kept")
	for id := range c.nodes { // the beginning that has no end holds up no snapshot
		c.snapshot(id)
	}
	if _, err := c.leader().Restore(t.Context(), bytes.NewReader(foreign(t, "new"))); err != nil {
		t.Fatal(err)
	}
	c.wantStates("new")
}

// TestRestoreThatIsLeftAlone: a caller who gives up, and a reader that fails, leave nothing behind, and snapshots go on.
func TestRestoreThatIsLeftAlone(t *testing.T) {
	o, _ := kept(clusterOptions{nodes: 1, adjust: quiet})
	c := startCluster(t, o)
	c.propose("old")
	broken := errors.New("tape torn")
	_, err := c.nodes[1].Restore(t.Context(), io.MultiReader(bytes.NewReader(make([]byte, restorePartBytes+5)), errorReader{broken}))
	if !errors.Is(err, broken) {
		t.Fatalf("a broken reader: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	state := &slowly{state: foreign(t, strings.Repeat("z", 4*restorePartBytes)), more: make(chan int)}
	ended := make(chan error, 1)
	go func() {
		_, err := c.nodes[1].Restore(ctx, state)
		ended <- err
	}()
	state.more <- restorePartBytes
	at := make(chan error, 1)
	waits, stopWaiting := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stopWaiting()
	go func() {
		_, err := c.nodes[1].Trigger().Snapshot(waits)
		at <- err
	}()
	if err := <-at; !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a snapshot while a state comes: %v, want that it waits", err)
	}
	cancel()
	close(state.more)
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Fatalf("the restore ends with %v, want %v", err, context.Canceled)
	}
	c.snapshot(1)
	c.propose("kept")
	c.wantStates("old", "kept")
	if names, err := c.nodes[1].loop.keeper.collector.fs.ReadDir(c.nodes[1].loop.keeper.collector.dir); err != nil || slices.Contains(names, spoolName) {
		t.Fatalf("files %v, %v: the parts are left", names, err)
	}
}

type errorReader struct{ err error }

func (e errorReader) Read([]byte) (int, error) { return 0, e.err }

// TestRestoreAcrossARestart: the beginning is in the log of a leader that was closed cleanly and leads on under its old
// leader id. Nobody brings the rest.
func TestRestoreAcrossARestart(t *testing.T) {
	o, _ := kept(clusterOptions{nodes: 1, adjust: quiet})
	c := startCluster(t, o)
	c.propose("old")
	node := c.nodes[1]
	leader := node.Metrics().Vote.Leader
	e := restoreEntry{step: restoreBegin, token: restoreToken{1}}
	if _, err := node.submit(t.Context(), &Proposal{Data: e.append(nil)}, codec.EntryRestore); err != nil {
		t.Fatal(err)
	}
	c.close(1)
	c.open(1)
	c.propose("new")
	if m := c.nodes[1].Metrics(); m.Role != consensus.Leader || m.Vote.Leader != leader {
		t.Fatalf("leads under %v, want %v", m.Vote, leader)
	}
	c.snapshot(1) // it was given up
	c.wantStates("old", "new")
}

// TestRestoreEntriesThatDoNotFit have no effect but an answer that says so, the same on every node.
func TestRestoreEntriesThatDoNotFit(t *testing.T) {
	o, _ := kept(clusterOptions{nodes: 3, memory: true, adjust: quiet})
	c := startCluster(t, o)
	c.propose("old")
	leader := c.leader()
	// The loop would give up what no call brings.
	keep := make(chan struct{})
	leader.box.post(func(m *mail) {
		m.asks = append(m.asks, func(l *loop) {
			l.keeper.restoring[restoreToken{1}] = true
			l.keeper.restoring[restoreToken{2}] = true
			close(keep)
		})
	})
	<-keep
	propose := func(e restoreEntry) error {
		_, err := leader.submit(t.Context(), &Proposal{Data: e.append(nil)}, codec.EntryRestore)
		return err
	}
	one, two := restoreToken{1}, restoreToken{2}
	for n, step := range []struct {
		entry restoreEntry
		want  error
	}{
		{restoreEntry{step: restorePart, token: one, bytes: []byte("x")}, ErrRestoreGivenUp},
		{restoreEntry{step: restoreBegin, token: one}, nil},
		{restoreEntry{step: restorePart, token: one, bytes: []byte("x")}, nil},
		{restoreEntry{step: restorePart, token: one, part: 2, bytes: []byte("x")}, ErrRestoreGivenUp},
		{restoreEntry{step: restorePart, token: one, part: 1, bytes: []byte("x")}, ErrRestoreGivenUp},
		{restoreEntry{step: restoreBegin, token: one}, nil},
		{restoreEntry{step: restoreEnd, token: one, size: 1}, ErrRestoreMismatch},
		{restoreEntry{step: restoreBegin, token: one}, nil},
		{restoreEntry{step: restoreEnd, token: one}, ErrRestoreMismatch}, // the hash of nothing is not zero
		{restoreEntry{step: restoreBegin, token: one}, nil},
		{restoreEntry{step: restoreBegin, token: two}, nil}, // ends the one before
		{restoreEntry{step: restorePart, token: one, bytes: []byte("x")}, ErrRestoreGivenUp},
		{restoreEntry{step: restoreDrop, token: one}, ErrRestoreGivenUp},
		{restoreEntry{step: restoreDrop, token: two}, nil},
		{restoreEntry{step: restoreEnd, token: two}, ErrRestoreGivenUp},
	} {
		if err := propose(step.entry); !errors.Is(err, step.want) || (err == nil) != (step.want == nil) {
			t.Fatalf("step %d: %v, want %v", n, err, step.want)
		}
	}
	c.wantStates("old")
}

func TestRestoreRefusals(t *testing.T) {
	plain := startCluster(t, clusterOptions{nodes: 3, memory: true, adjust: calm})
	leader := plain.leader()
	follower := plain.nodes[plain.others(leader.NodeID())[0]]
	var notLeader *NotLeaderError
	if _, err := follower.Restore(t.Context(), bytes.NewReader(nil)); !errors.As(err, &notLeader) {
		t.Errorf("on a follower: %v", err)
	}
	if _, err := leader.Restore(t.Context(), bytes.NewReader(nil)); !errors.Is(err, ErrNotSnapshotter) {
		t.Errorf("without a Snapshotter: %v", err)
	}
	o, _ := onDisks(clusterOptions{nodes: 1, memory: true, adjust: quiet})
	disk := startCluster(t, o)
	if _, err := disk.nodes[1].Restore(t.Context(), bytes.NewReader(nil)); !errors.Is(err, ErrNotAdopter) {
		t.Errorf("without an Adopter: %v", err)
	}
}

func FuzzRestoreEntry(f *testing.F) {
	for _, e := range []restoreEntry{
		{step: restoreBegin}, {step: restorePart, part: 7, bytes: []byte("x")}, {step: restoreEnd, part: 1, size: 2, hash: codec.SnapshotHash{3}}, {step: restoreDrop},
	} {
		f.Add(e.append(nil))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		e, err := readRestoreEntry(src)
		switch {
		case err == nil && !bytes.Equal(e.append(nil), src):
			t.Fatalf("%x reads as %+v, which is written as %x", src, e, e.append(nil))
		case err != nil && !errors.Is(err, codec.ErrCorrupt) && !errors.Is(err, codec.ErrVersion):
			t.Fatalf("%x: %v", src, err)
		}
	})
}

// TestRestoreNeedsRoomForItsParts: their headers do not fit into proposals that may hold next to nothing.
func TestRestoreNeedsRoomForItsParts(t *testing.T) {
	r := openAlone(t, &keptRegister{register: register{changed: make(chan struct{})}}, func(cfg *Config) { cfg.ProposalBytesMax = restorePartOverhead })
	_, err := r.Restore(t.Context(), bytes.NewReader(foreign(t, "new")))
	must(t, err, "ErrTooLarge", FateNotDone)
}
