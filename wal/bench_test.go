package wal

import (
	"crypto/rand"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/wal/vfs"
)

// BenchmarkSubmitFlush writes frames of three sizes, each durable before the next, and with 16 of them queued: what one
// group can commit. The last figure is how many frames one sync carried.
func BenchmarkSubmitFlush(b *testing.B) {
	for _, form := range []string{"tidwall", "files", "memory"} {
		for _, size := range []int{1 << 10, 16 << 10, 256 << 10} {
			for _, queued := range []int{1, 16} {
				b.Run(fmt.Sprintf("form=%s/frame=%dKiB/queued=%d", form, size>>10, queued), func(b *testing.B) {
					benchmarkSubmitFlush(b, form, size, queued)
				})
			}
		}
	}
}

func benchmarkSubmitFlush(b *testing.B, form string, size, queued int) {
	cfg := Config{Dir: filepath.Join(b.TempDir(), "node"), ClusterID: "bench", Node: 1, RecentBytesMax: 1 << 20}
	var l nodeLog
	var err error
	switch form {
	case "memory":
		l = NewMemory()
	case "tidwall":
		l, err = Open(cfg)
	case "files":
		l, err = OpenSimulation(cfg, Simulation{FS: vfs.OS{}, Random: rand.Reader})
	}
	if err != nil {
		b.Fatal(err)
	}
	a := newAwaiter()
	g, _ := openGroup(b, l, 1, a.flushed)
	data := make([]byte, size)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		f := makeFrame(b, 1, codec.LeaderID{Term: 1, Node: 1}, codec.Index(i)+1, codec.EntryNormal, data)
		g.Submit(&codec.LogWrite{Seq: uint64(i) + 1, Frame: f})
		if i >= queued {
			if err := a.wait(uint64(i + 1 - queued)); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := a.wait(uint64(b.N)); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	if l, ok := l.(*Log); ok {
		s := l.Stats()
		b.ReportMetric(float64(s.Records)/float64(s.Batches), "records/sync")
	}
	mustClose(b, l)
}

// BenchmarkColdRead reads frames from the files, in order.
func BenchmarkColdRead(b *testing.B) {
	l, err := Open(Config{Dir: filepath.Join(b.TempDir(), "node"), ClusterID: "bench", Node: 1, RecentBytesMax: 1})
	if err != nil {
		b.Fatal(err)
	}
	defer mustClose(b, l)
	d, _ := drive(b, l, 1)
	const frames = 1000
	for range frames {
		d.append(1, 16<<10)
	}
	d.must(d.seq)
	d.must(d.append(1, 1))
	b.SetBytes(16 << 10)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		if _, err := d.read(codec.Index(i%frames) + 1); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCommitLatency commits frames one after the other and reports the latency of a commit at three quantiles: without
// anything to reclaim, with purges that let whole segments go, and beside a group that lags behind and whose frames, an
// eighth of what is written between two rounds through the log, are written again.
func BenchmarkCommitLatency(b *testing.B) {
	for _, reclaim := range []string{"none", "purge", "lagging"} {
		for _, size := range []int{1 << 10, 16 << 10} {
			b.Run(fmt.Sprintf("reclaim=%s/frame=%dKiB", reclaim, size>>10), func(b *testing.B) { benchmarkCommitLatency(b, reclaim, size) })
		}
	}
}

func benchmarkCommitLatency(b *testing.B, reclaim string, size int) {
	l, err := Open(Config{Dir: filepath.Join(b.TempDir(), "node"), ClusterID: "bench", Node: 1, RecentBytesMax: 1 << 20})
	if err != nil {
		b.Fatal(err)
	}
	leader, data := codec.LeaderID{Term: 1, Node: 1}, make([]byte, size)
	if reclaim == "lagging" {
		d, _ := drive(b, l, 2)
		for range 512 {
			d.append(1, 16<<10)
		}
		d.must(d.seq)
	}
	a := newAwaiter()
	g, _ := openGroup(b, l, 1, a.flushed)
	latencies := make([]time.Duration, 0, b.N)
	b.ResetTimer()
	for i := range b.N {
		w := codec.LogWrite{Seq: uint64(i) + 1, Frame: makeFrame(b, 1, leader, codec.Index(i)+1, codec.EntryNormal, data)}
		if reclaim != "none" && i%256 == 255 {
			w.Purge = &codec.LogBase{ID: codec.LogID{Leader: leader, Index: codec.Index(i) - 64}}
		}
		start := time.Now()
		g.Submit(&w)
		if err := a.wait(w.Seq); err != nil {
			b.Fatal(err)
		}
		latencies = append(latencies, time.Since(start))
	}
	b.StopTimer()
	slices.Sort(latencies)
	for name, q := range map[string]float64{"p50-us": 0.5, "p99-us": 0.99, "p99.9-us": 0.999} {
		b.ReportMetric(float64(latencies[int(q*float64(b.N-1))].Nanoseconds())/1000, name)
	}
	s := l.Stats()
	b.ReportMetric(float64(s.ReclaimedSegments), "files-gone")
	b.ReportMetric(float64(s.MovedBytes)/float64(s.BytesWritten), "moved/written")
	mustClose(b, l)
}

// BenchmarkRecord puts a frame of 16 KiB into a batch of records, and takes it out again.
func BenchmarkRecord(b *testing.B) {
	f := makeFrame(b, 1, codec.LeaderID{Term: 1, Node: 1}, 1, codec.EntryNormal, make([]byte, 16<<10))
	const log = 7
	var batch batch
	h := header{kind: kindFrame, log: log, previous: log, seq: 1}
	batch.add(&h, f.Bytes(), f.Checksum())
	src := slices.Clone(batch.bytes)
	b.Run("add", func(b *testing.B) {
		b.SetBytes(int64(len(src)))
		b.ReportAllocs()
		for b.Loop() {
			batch.reset(1)
			batch.add(&h, f.Bytes(), f.Checksum())
		}
	})
	b.Run("read", func(b *testing.B) {
		b.SetBytes(int64(len(src)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := readRecord(src, log); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkOpen opens a log of 16 MiB: reads and checks every record, and repairs nothing.
func BenchmarkOpen(b *testing.B) {
	cfg := Config{Dir: filepath.Join(b.TempDir(), "node"), ClusterID: "bench", Node: 1, RecentBytesMax: 1}
	l, err := Open(cfg)
	if err != nil {
		b.Fatal(err)
	}
	d, _ := drive(b, l, 1)
	const frames, size = 1024, 16 << 10
	for range frames {
		d.append(1, size)
	}
	d.must(d.seq)
	mustClose(b, l)
	b.SetBytes(frames * size)
	b.ReportAllocs()
	for b.Loop() {
		if l, err = Open(cfg); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		mustClose(b, l)
		b.StartTimer()
	}
}
