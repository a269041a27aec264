package engine

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/netio"
	"github.com/millrace/millrace/pipeline"
)

// diskRegister is a register that keeps its entries by itself, with the log id of the last one: what Sync has seen survives
// its node. It answers as register does.
type diskRegister struct {
	register
	disk *registerDisk
	last codec.LogID // given to Apply
}

// registerDisk is what a diskRegister has made durable.
type registerDisk struct {
	mu     sync.Mutex
	ids    []codec.LogID
	datas  []string
	hashes []uint32
	lie    error // returned by Applied

	restores int
}

func newDiskRegister(d *registerDisk) *diskRegister {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := &diskRegister{register: register{changed: make(chan struct{})}, disk: d}
	s.ids, s.datas, s.hashes = slices.Clone(d.ids), slices.Clone(d.datas), slices.Clone(d.hashes)
	return s
}

func (s *diskRegister) Apply(entries []Entry, results []Result) error {
	s.last = entries[len(entries)-1].ID
	return s.register.Apply(entries, results)
}

func (s *diskRegister) Applied() (codec.LogID, error) {
	if n := len(s.ids); n > 0 {
		s.last = s.ids[n-1]
	}
	return s.last, s.disk.lie
}

func (s *diskRegister) Sync() (codec.LogID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	s.disk.ids, s.disk.datas, s.disk.hashes = slices.Clone(s.ids), slices.Clone(s.datas), slices.Clone(s.hashes)
	return s.last, nil
}

// onDisks gives each node's state machine a disk that outlives it.
func onDisks(o clusterOptions) (clusterOptions, map[codec.NodeID]*registerDisk) {
	disks := map[codec.NodeID]*registerDisk{}
	o.machine = func(id codec.NodeID) (StateMachine, *register) {
		if disks[id] == nil {
			disks[id] = &registerDisk{}
		}
		sm := newDiskRegister(disks[id])
		return sm, &sm.register
	}
	return o, disks
}

// TestOnDiskIsGivenOnlyWhatItLacks: after a restart an on-disk state machine continues behind what it holds.
func TestOnDiskIsGivenOnlyWhatItLacks(t *testing.T) {
	o, disks := onDisks(clusterOptions{nodes: 1})
	c := startCluster(t, o)
	for n := range 5 {
		c.propose(fmt.Sprint("a", n))
	}
	synced := make(chan error, 1)
	c.nodes[1].loop.applier.Sync(func(_ pipeline.Captured, err error) { synced <- err })
	if err := <-synced; err != nil {
		t.Fatal(err)
	}
	c.propose("behind the sync")
	c.close(1)
	if n := len(disks[1].datas); n != 5 {
		t.Fatalf("%d entries are durable, want 5", n)
	}
	c.open(1)
	if r := c.propose("c"); string(r.Data) != "7" {
		t.Errorf("it is the entry number %s, want 7", r.Data)
	}
	if got := strings.Join(c.sms[1].datas, " "); got != "a0 a1 a2 a3 a4 behind the sync c" {
		t.Errorf("the state is %q", got)
	}
}

// TestOnDiskWaitsForItsOwnLog: what others have committed is not given to a state machine that could keep it while this
// node's log does not.
func TestOnDiskWaitsForItsOwnLog(t *testing.T) {
	logs := map[codec.NodeID]*stallingLog{}
	o, _ := onDisks(clusterOptions{nodes: 3, adjust: func(cfg *Config) {
		calm(cfg)
		logs[cfg.NodeID] = &stallingLog{Log: MemoryLog()}
		cfg.Log, cfg.Dir = logs[cfg.NodeID], ""
	}})
	c := startCluster(t, o)
	c.propose("x")
	c.agree(1)
	leader := c.leader()
	logs[leader.NodeID()].stall(true)
	answered := make(chan error, 1)
	if err := leader.ProposeAsync([]byte("y"), func(_ Result, err error) { answered <- err }); err != nil {
		t.Fatal(err)
	}
	for _, id := range c.others(leader.NodeID()) {
		c.sms[id].await(t, 2)
	}
	m := leader.Metrics()
	until(t, "the leader to know the commit", func() bool { m = leader.Metrics(); return m.Commit == m.Last.Index })
	if m.Applied >= m.Commit || c.sms[leader.NodeID()].len() != 1 {
		t.Fatalf("applied %d of %d with the disk stalled at %v", m.Applied, m.Commit, m.Flushed)
	}
	logs[leader.NodeID()].stall(false)
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
	c.agree(2)
}

func TestOnDiskThatIsAheadOfItsLog(t *testing.T) {
	far := codec.LogID{Leader: codec.LeaderID{Term: 4, Node: 2}, Index: 900}
	for _, lie := range []error{nil, errors.New("unreadable")} {
		log := MemoryLog()
		_, err := Open(Config{NodeID: 1, ClusterID: "test", Log: log, Transport: netio.NewNetwork().Transport(1, "test", log.Incarnation())},
			newDiskRegister(&registerDisk{ids: []codec.LogID{far}, datas: []string{"far"}, lie: lie}))
		want := "it holds the entries up to T4-N2-900, and the log ends with T0-N0-0"
		if lie != nil {
			want = lie.Error()
		}
		var smErr *StateMachineError
		if !errors.As(err, &smErr) || !strings.Contains(err.Error(), want) {
			t.Errorf("Open: %v, want %q", err, want)
		}
	}
}
