package engine

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"
)

// BenchmarkPropose is the closed loop: each client proposes one entry at a time and waits for it to be applied.
func BenchmarkPropose(b *testing.B) {
	for _, o := range []clusterOptions{{memory: true}, {tcp: true}} {
		for _, clients := range []int{1, 256} {
			b.Run(fmt.Sprintf("memory=%v/clients=%d", o.memory, clients), func(b *testing.B) {
				o.nodes, o.blind = 3, true
				c := startCluster(b, o)
				closedLoop(b, c.leader(), clients)
			})
		}
	}
}

// BenchmarkStages is the closed loop of 256 clients with and without stage times, for what these cost. The observer adds up
// under a lock, which is about what a histogram takes.
func BenchmarkStages(b *testing.B) {
	for _, memory := range []bool{true, false} {
		for _, interval := range []time.Duration{-1, 200 * time.Microsecond, stageIntervalDefault} {
			b.Run(fmt.Sprintf("memory=%v/interval=%v", memory, interval), func(b *testing.B) {
				o := clusterOptions{nodes: 3, memory: memory, tcp: !memory, blind: true}
				if interval > 0 {
					o.adjust = func(cfg *Config) { cfg.Stages, cfg.StageInterval = new(stageBook).observe, interval }
				}
				c := startCluster(b, o)
				closedLoop(b, c.leader(), 256)
			})
		}
	}
}

// closedLoop lets clients propose b.N entries.
func closedLoop(b *testing.B, leader *Raft, clients int) {
	data := make([]byte, 128)
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	for client := range clients {
		wg.Go(func() {
			for n := client; n < b.N; n += clients {
				if _, err := leader.Propose(context.Background(), data); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "put/s")
}
