package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/millrace/millrace/codec"
)

// readAll returns what ReadLog yields and the error it ends with.
func readAll(ctx context.Context, r *Raft, from, to codec.Index) (entries []Entry, err error) {
	for e, failed := range r.ReadLog(ctx, from, to) {
		if failed != nil {
			return entries, failed
		}
		entries = append(entries, e)
	}
	return entries, nil
}

func TestReadLogReturnsWhatIsCommitted(t *testing.T) {
	eachKind(t, func(t *testing.T, o clusterOptions) {
		o.adjust = func(cfg *Config) { calm(cfg); cfg.RecentBytesMax, cfg.SegmentBytes = 1<<10, 16<<10 }
		c := startCluster(t, o)
		for n := range 50 {
			c.propose(fmt.Sprint(n, strings.Repeat(".", 100)))
		}
		c.agree(50)
		for id, node := range c.nodes {
			entries, err := readAll(t.Context(), node, 1, 0)
			if err != nil {
				t.Fatalf("node %d: %v", id, err)
			}
			var datas []string
			for i, e := range entries {
				if e.ID.Index != codec.Index(i+1) {
					t.Fatalf("node %d: entry %d is %v", id, i+1, e.ID)
				}
				if e.Kind == codec.EntryNormal {
					datas = append(datas, string(e.Data))
				}
			}
			if want := c.sms[id].datas; !slices.Equal(datas, want) {
				t.Fatalf("node %d: the log holds %d normal entries, %d others were applied", id, len(datas), len(want))
			}
			if part, err := readAll(t.Context(), node, 7, 9); err != nil || len(part) != 3 || part[0].ID != entries[6].ID || part[2].ID != entries[8].ID {
				t.Fatalf("node %d: entries 7 to 9: %v, %v", id, part, err)
			}
			last := entries[len(entries)-1].ID.Index
			if past, err := readAll(t.Context(), node, last, last+100); err != nil || len(past) != 1 {
				t.Fatalf("node %d: entries from the last one on: %v, %v", id, past, err)
			}
			if past, err := readAll(t.Context(), node, last+1, 0); err != nil || len(past) != 0 {
				t.Fatalf("node %d: entries behind the last one: %v, %v", id, past, err)
			}
		}
	})
}

// TestReadLogLeavesOutWhatIsNotCommitted: a batch that is one frame is committed as a whole, so an entry that is not
// committed needs a leader without its followers.
func TestReadLogLeavesOutWhatIsNotCommitted(t *testing.T) {
	c := startCluster(t, clusterOptions{nodes: 3, memory: true, adjust: calm})
	c.propose("committed")
	c.agree(1)
	leader := c.leader()
	c.net.Partition([]codec.NodeID{leader.NodeID()}, c.others(leader.NodeID()))
	before := leader.Metrics().Last.Index
	lost := make(chan error, 1)
	if err := leader.ProposeAsync([]byte("alone"), func(_ Result, err error) { lost <- err }); err != nil {
		t.Fatal(err)
	}
	until(t, "the leader to append it", func() bool { return leader.Metrics().Last.Index == before+1 })
	entries, err := readAll(t.Context(), leader, 1, before+1)
	if err != nil || len(entries) != int(leader.Metrics().Commit) || string(entries[len(entries)-1].Data) == "alone" {
		t.Fatalf("%d entries, %v; %d are committed", len(entries), err, leader.Metrics().Commit)
	}
	c.net.HealAll()
	<-lost // with a result, or unknown where the leader changed
}

func TestReadLogRefuses(t *testing.T) {
	c := startCluster(t, clusterOptions{nodes: 3, memory: true, adjust: func(cfg *Config) { cfg.Witness = cfg.NodeID == 3 }})
	c.propose("x")
	leader := c.leader()
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, bad := range []struct {
		ctx      context.Context
		node     *Raft
		from, to codec.Index
		want     string
	}{
		{t.Context(), leader, 0, 5, "entries 0 to 5, want a first one of 1 or more"},
		{t.Context(), leader, 7, 5, "entries 7 to 5, want"},
		{t.Context(), c.nodes[3], 1, 0, "witness"},
		{cancelled, leader, 1, 0, context.Canceled.Error()},
	} {
		if _, err := readAll(bad.ctx, bad.node, bad.from, bad.to); err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("ReadLog(%d, %d) ends with %v, want %q", bad.from, bad.to, err, bad.want)
		}
	}
	stopped := c.nodes[2]
	c.close(2)
	if _, err := readAll(t.Context(), stopped, 1, 0); !errors.Is(err, ErrStopped) {
		t.Errorf("a closed node's ReadLog ends with %v, want %v", err, ErrStopped)
	}
	for range leader.ReadLog(t.Context(), 1, 0) {
		break // a caller may have enough
	}
}

// TestReadLogWithinAFrame: entries that came together are read one by one.
func TestReadLogWithinAFrame(t *testing.T) {
	r := openAlone(t, newRegister(), func(*Config) {})
	results, err := r.ProposeBatch(t.Context(), [][]byte{[]byte("a"), []byte("b"), []byte("c"), []byte("d")})
	if err != nil {
		t.Fatal(err)
	}
	entries, err := readAll(t.Context(), r, results[1].LogID.Index, results[2].LogID.Index)
	if err != nil || len(entries) != 2 || string(entries[0].Data) != "b" || string(entries[1].Data) != "c" || entries[1].ID != results[2].LogID {
		t.Errorf("%v, %v; want the two in the middle", entries, err)
	}
	for range r.ReadLog(t.Context(), results[0].LogID.Index, 0) {
		break // and nothing is left behind
	}
}
