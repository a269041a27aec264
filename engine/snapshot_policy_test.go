package engine

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
)

func TestSnapshotIsDue(t *testing.T) {
	for _, c := range []struct {
		policy SnapshotPolicy
		ahead  logAhead
		want   bool
	}{
		{SnapshotPolicy{Entries: 10}, logAhead{entries: 9, bytes: 1 << 40, age: time.Hour}, false},
		{SnapshotPolicy{Entries: 10}, logAhead{entries: 10}, true},
		{SnapshotPolicy{Bytes: 100}, logAhead{entries: 1, bytes: 99}, false},
		{SnapshotPolicy{Bytes: 100}, logAhead{entries: 1, bytes: 100}, true},
		{SnapshotPolicy{Bytes: 100}, logAhead{entries: 1, bytes: 100, snapshot: 101}, false},
		{SnapshotPolicy{Bytes: 100}, logAhead{entries: 1, bytes: 101, snapshot: 101}, true},
		{SnapshotPolicy{Bytes: -1}, logAhead{entries: 1 << 40, bytes: 1 << 40, age: time.Hour}, false},
		{SnapshotPolicy{Interval: time.Minute}, logAhead{entries: 1, age: time.Minute - 1}, false},
		{SnapshotPolicy{Interval: time.Minute}, logAhead{entries: 1, age: time.Minute}, true},
		{SnapshotPolicy{Interval: time.Minute}, logAhead{age: time.Hour}, false},
		{SnapshotPolicy{Entries: 10, Bytes: 100, Interval: time.Minute}, logAhead{entries: 1, bytes: 1, age: time.Hour}, true},
	} {
		if got := c.policy.due(c.ahead); got != c.want {
			t.Errorf("%+v is due with %+v ahead: %v, want %v", c.policy, c.ahead, got, c.want)
		}
	}
}

func TestPurgeTarget(t *testing.T) {
	sizes := newLogSizes()
	for i := codec.Index(1); i <= 1000; i++ {
		sizes.add(i, 64<<10)
	}
	for _, c := range []struct {
		keep     LogKeep
		snapshot codec.Index
		bytes    int64
		want     codec.Index
	}{
		{LogKeep{Entries: 100, Bytes: 1 << 40, Ratio: 1e9}, 900, 1 << 30, 800},
		{LogKeep{Entries: 2000, Bytes: 1 << 40, Ratio: 1e9}, 900, 1 << 30, 0},
		{LogKeep{Entries: -1, Bytes: 1 << 40, Ratio: 1e9}, 900, 1 << 30, 900},
		{LogKeep{Entries: 2000, Bytes: 640 << 10, Ratio: 1e9}, 900, 1 << 30, 890},
		{LogKeep{Entries: 2000, Bytes: -1, Ratio: 1e9}, 900, 1 << 30, 900},
		{LogKeep{Entries: 2000, Bytes: 1 << 40, Ratio: 2}, 900, 1 << 20, 900 - 32},
		{LogKeep{Entries: 2000, Bytes: 1 << 40, Ratio: 2}, 900, 10, 900 - 16}, // 1 MiB
		{LogKeep{Entries: 2000, Bytes: 1 << 40, Ratio: -1}, 900, 1 << 30, 900},
	} {
		if got := c.keep.purgeTarget(c.snapshot, c.bytes, &sizes); got != c.want {
			t.Errorf("%+v behind a snapshot of %d bytes at %d: purge up to %d, want %d", c.keep, c.bytes, c.snapshot, got, c.want)
		}
	}
}

// TestLogSizesAgreeWithTheFrames compares the samples with sums over all frames, within the grain.
func TestLogSizesAgreeWithTheFrames(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for _, largest := range []int{100, 10 << 10, 1 << 20} {
		t.Run(fmt.Sprint(largest), func(t *testing.T) {
			s := newLogSizes()
			type frame struct {
				last  codec.Index
				total int64
			}
			frames := []frame{{}}
			sum, marked := int64(0), 0
			for range 20_000 {
				size := 1 + rng.IntN(largest)
				last := frames[len(frames)-1].last + 1 + codec.Index(rng.IntN(5))
				s.add(last, size)
				sum += int64(size)
				frames = append(frames, frame{last, sum})
				if rng.IntN(1000) == 0 {
					s.mark()
					marked = len(frames) - 1
					if got := s.upTo(last); got != sum {
						t.Fatalf("%d bytes up to the marked entry %d, want %d", got, last, sum)
					}
				}
				if rng.IntN(3000) == 0 {
					s.forget(frames[rng.IntN(len(frames))].last)
				}
			}
			if len(s.samples) > sizesMax || s.total() != sum {
				t.Fatalf("%d samples of %d bytes, want at most %d, and %d bytes", len(s.samples), s.total(), sizesMax, sum)
			}
			if from := s.behind(frames[marked].last, s.total()); from != 0 {
				t.Fatalf("all that is known lies behind %d, want 0", from)
			}
			slack := s.grain + int64(largest) + 4*sum/sizesMax
			for range 1000 {
				f := frames[rng.IntN(len(frames))]
				if got := s.upTo(f.last); got > max(f.total, s.before) || got < f.total-slack {
					t.Fatalf("%d bytes up to %d, want %d or up to %d less", got, f.last, f.total, slack)
				}
				keep := rng.Int64N(sum)
				from := s.behind(frames[marked].last, keep)
				for _, g := range frames {
					if g.last == from && from > 0 && frames[marked].total-g.total > keep+slack {
						t.Fatalf("%d bytes behind %d, want at most %d", frames[marked].total-g.total, from, keep)
					}
				}
			}
		})
	}
}
