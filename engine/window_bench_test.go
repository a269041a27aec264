package engine

import (
	"sync"
	"testing"
)

// BenchmarkProposeWindow is the durable closed loop with 256 clients that keep 16 proposals outstanding each.
func BenchmarkProposeWindow(b *testing.B) {
	const clients, window = 256, 16
	c := startCluster(b, clusterOptions{nodes: 3, tcp: true, blind: true})
	leader := c.leader()
	data := make([]byte, 128)
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	for client := range clients {
		wg.Go(func() {
			missing := 0
			done := make(chan struct{}, 1)
			fn := func(_ Result, err error) {
				if err != nil {
					b.Error(err)
				}
				if missing--; missing == 0 {
					done <- struct{}{}
				}
			}
			for n := client * window; n < b.N; n += clients * window {
				missing = window
				for range window {
					for leader.ProposeAsync(data, fn) != nil {
					}
				}
				<-done
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "put/s")
}
