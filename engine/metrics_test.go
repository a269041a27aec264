package engine

import (
	"errors"
	"testing"
	"time"
)

// TestMetrics of a leader and a follower of each kind of cluster, at rest.
func TestMetrics(t *testing.T) {
	eachKind(t, func(t *testing.T, o clusterOptions) {
		o.adjust = calm
		c := startCluster(t, o)
		var index = c.propose("x").LogID.Index
		c.agree(1)
		for id, n := range c.nodes {
			m, err := n.Wait(t.Context(), All(AppliedAtLeast(index), FlushedAtLeast(index), HasLeader(), When("nothing to wait", func(m Metrics) bool {
				return m.Queues == Queues{}
			})))
			if err != nil {
				t.Fatal(err)
			}
			leads := n == c.leader()
			switch {
			case m.Term != m.Vote.Leader.Term || m.Term == 0 || m.Leader != c.leader().NodeID() || !m.Voter || m.Blocked:
				t.Errorf("node %d: %+v", id, m.Office)
			case m.Applied != m.Commit || m.Flushed != m.Last || m.Last.Index < index || !m.Purged.IsZero() || !m.Snapshot.IsZero():
				t.Errorf("node %d: %+v", id, m.LogPointers)
			case m.Lags != Lags{}:
				t.Errorf("node %d at rest: %+v", id, m.Lags)
			case m.Membership.LogID != n.Membership().LogID || len(m.Membership.Nodes) != 3:
				t.Errorf("node %d: %+v", id, m.Membership)
			case (m.WAL != nil) != !o.memory || m.Transport == nil:
				t.Errorf("node %d has counts of a log: %v, of a transport: %v", id, m.WAL != nil, m.Transport != nil)
			case m.WAL != nil && (m.WAL.Syncs == 0 || m.WAL.BytesWritten == 0):
				t.Errorf("node %d: %+v", id, m.WAL)
			case m.Transport.MessagesOut == 0 || o.tcp && m.Transport.ConnectionsIn == 0:
				t.Errorf("node %d: %+v", id, m.Transport)
			case leads != m.Established || leads != (len(m.Peers) == 2) || leads != (m.Entries == 1):
				t.Errorf("node %d leads: %v, %+v %+v %+v", id, leads, m.Office, m.Counts, m.Peers)
			}
		}
		leader := c.leader()
		m, err := leader.Wait(t.Context(), When("all peers to have everything", func(m Metrics) bool {
			return len(m.Peers) == 2 && m.Peers[0].Match == m.Last.Index && m.Peers[1].Match == m.Last.Index
		}))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range m.Peers {
			if !p.Voter || !p.Streaming || !p.CaughtUp || p.Next != m.Last.Index+1 || p.InflightBytes != 0 || p.WindowBytes == 0 || p.Lost || p.Snapshot {
				t.Errorf("%+v", p)
			}
		}
		if m, err := leader.Wait(t.Context(), QuorumWithin(200*time.Millisecond)); err != nil || m.QuorumAge < 0 {
			t.Errorf("%v, a lease of age %v", err, m.QuorumAge)
		}
	})
}

// heldMachine applies when it may.
type heldMachine struct{ hold chan struct{} }

func (m *heldMachine) Apply(entries []Entry, _ []Result) error {
	for range entries {
		<-m.hold
	}
	return nil
}

// TestMetricsOfAStateMachineThatIsBehind show what waits and for how long.
func TestMetricsOfAStateMachineThatIsBehind(t *testing.T) {
	sm := &heldMachine{make(chan struct{})}
	r := openAlone(t, sm, func(cfg *Config) { cfg.UnappliedBytesMax, cfg.IntakeBytesMax = 4096, 4096 })
	answered := make(chan error, 100)
	proposed, data := 0, make([]byte, 1024)
	propose := func() bool {
		err := r.ProposeAsync(data, func(_ Result, err error) { answered <- err })
		if err == nil {
			proposed++
		} else if !errors.Is(err, ErrBusy) {
			t.Fatal(err)
		}
		return err == nil
	}
	propose()
	if _, err := r.Wait(t.Context(), When("the state machine to be behind", func(m Metrics) bool { return m.UnappliedEntries > 0 })); err != nil {
		t.Fatal(err)
	}
	until(t, "the intake to be full", func() bool {
		for propose() {
		}
		m := r.Metrics()
		return m.IntakeBytes > 2048 && m.UnappliedBytes > 2048 && m.ApplyWaits > 0
	})
	if m := r.Metrics(); m.Applied >= m.Commit || m.UncommittedBytes > m.UnappliedBytes {
		t.Errorf("%+v %+v", m.LogPointers, m.Queues)
	}
	close(sm.hold)
	for range proposed {
		if err := <-answered; err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Wait(t.Context(), When("nothing to wait", func(m Metrics) bool {
		return m.UnappliedEntries == 0 && m.UnappliedBytes == 0 && m.IntakeBytes == 0 && m.ApplyWaits == 0
	})); err != nil {
		t.Error(err)
	}
}
