package engine

import (
	"context"
	"flag"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
)

var (
	costRounds = flag.Int("cost.rounds", 0, "rounds in which TestPeerCost measures what a bad peer costs the others; 0: it is skipped")
	costTime   = flag.Duration("cost.time", time.Second, "how long TestPeerCost measures each of the two clusters in a round")
)

// TestPeerCost measures what a third node that is dead, does not read, or was removed and does not know it costs two
// others: put/s of both in a closed loop with 256 clients over TCP, with it and without, in turn. Two of two and two of
// three voters are the same quorum, so that all the difference is the third node's. It runs when asked for rounds.
func TestPeerCost(t *testing.T) {
	if *costRounds == 0 {
		t.Skip("measures only with -cost.rounds above 0")
	}
	for name, third := range map[string]func(*testing.T) *cluster{
		"dead": func(t *testing.T) *cluster { return withVoter(t, deadAddress(t)) },
		"slow": func(t *testing.T) *cluster { return withVoter(t, stalledReader(t)) },
		"removed": func(t *testing.T) *cluster {
			return withRemoved(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			var ratios []float64
			for range *costRounds {
				var perSecond [2]float64
				for i, start := range []func(*testing.T) *cluster{func(t *testing.T) *cluster { return withVoter(t, "") }, third} {
					t.Run("", func(t *testing.T) { perSecond[i] = start(t).measure(*costTime) })
				}
				ratios = append(ratios, perSecond[1]/perSecond[0])
				t.Logf("%.0f put/s without, %.0f with it: %.3f", perSecond[0], perSecond[1], perSecond[1]/perSecond[0])
			}
			slices.Sort(ratios)
			median := ratios[len(ratios)/2]
			t.Logf("%s: %.3f of the put/s without it (median of %d rounds, %.3f to %.3f)", name, median, len(ratios), ratios[0], ratios[len(ratios)-1])
			if median < 0.95 {
				t.Errorf("a %s peer costs the others %.1f %% of put/s, want at most 5 %%", name, 100*(1-median))
			}
		})
	}
}

// withVoter starts two nodes with a third voter at an address, or without one where that is "".
func withVoter(t *testing.T, third string) *cluster {
	return startCluster(t, clusterOptions{nodes: 2, tcp: true, memory: true, blind: true, adjust: steady, first: func(nodes []codec.Node) codec.Membership {
		if third != "" {
			nodes = append(nodes, codec.Node{ID: 3, Address: third})
		}
		return codec.NewMembership(codec.SeveralLeadersPerTerm, nodes...)
	}})
}

// steady has timeouts that a busy machine does not exceed.
func steady(cfg *Config) {
	cfg.ElectionTimeoutMin, cfg.ElectionTimeoutMax = 500*time.Millisecond, time.Second
	cfg.Logger = nil
}

// withRemoved starts two nodes and a third that was removed while it was away, and asks them for votes.
func withRemoved(t *testing.T) *cluster {
	var dir string
	c := startCluster(t, clusterOptions{nodes: 3, tcp: true, memory: true, blind: true, adjust: func(cfg *Config) {
		steady(cfg)
		if cfg.NodeID == 3 { // its log must outlive it
			if dir == "" {
				dir = t.TempDir()
			}
			cfg.Dir = filepath.Join(dir, "3")
			cfg.Switches.NoElections = true // at first
		}
	}})
	c.propose("x")
	until(t, "node 3 to follow", func() bool { return c.nodes[3].Metrics().Applied >= 3 })
	c.close(3)
	c.change(Remove(3))
	cfg := c.cfgs[3]
	cfg.Switches.NoElections = false
	c.cfgs[3] = cfg
	c.open(3)
	return c
}

// deadAddress returns one at which nobody listens.
func deadAddress(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// stalledReader listens as node 3, shakes hands and then reads nothing any more.
func stalledReader(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			running.Go(func() { shakeAsNode3(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		running.Wait()
	})
	return l.Addr().String()
}

func shakeAsNode3(c net.Conn) {
	buf := make([]byte, codec.HandshakeSizeMax)
	n, err := c.Read(buf) // a dialer writes it in one piece
	if err != nil {
		return
	}
	if h, _, err := codec.ReadHandshake(buf[:n]); err == nil {
		h.Status, h.From, h.To, h.Incarnation, h.Address = codec.HandshakeAccepted, 3, h.From, codec.Incarnation{3}, ""
		_, _ = c.Write(codec.AppendHandshake(nil, &h))
	}
}

// measure returns put/s of a closed loop with 256 clients, after a third of the time for warming up.
func (c *cluster) measure(d time.Duration) float64 {
	const clients = 256
	leader := c.leader()
	ctx, cancel := context.WithTimeout(c.t.Context(), d+d/3)
	defer cancel()
	data := make([]byte, 128)
	var wg sync.WaitGroup
	counts := make([]int, clients)
	begin := time.Now().Add(d / 3)
	for client := range clients {
		wg.Go(func() {
			for ctx.Err() == nil {
				if _, err := leader.Propose(context.Background(), data); err != nil {
					c.t.Error(err)
					return
				}
				if time.Now().After(begin) {
					counts[client]++
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(begin)
	total := 0
	for _, n := range counts {
		total += n
	}
	return float64(total) / took.Seconds()
}
