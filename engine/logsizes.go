package engine

import (
	"sort"

	"github.com/millrace/millrace/codec"
)

const (
	// sizesMax bounds the samples of a [logSizes]; beyond it they become coarser.
	sizesMax = 4096
	// sizesGrain is how many bytes a sample stands for at first.
	sizesGrain = 16 << 10
)

// logSizes knows how many bytes of the log lie between two entries, from samples: it serves policies, for which a few
// frames more or less do not matter.
//
// Owner: the loop.
type logSizes struct {
	grain   int64        // bytes that a sample stands for; the last one is open until it has them
	samples []sizeSample // ascending in both fields
	before  int64        // bytes that were added before the first sample
	closed  bool         // the last sample takes no more
}

// sizeSample says how many bytes were added up to an entry.
type sizeSample struct {
	last  codec.Index
	total int64
}

func newLogSizes() logSizes { return logSizes{grain: sizesGrain} }

// add takes the next frame, by its last entry and its size.
func (s *logSizes) add(last codec.Index, size int) {
	n, total := len(s.samples), s.total()+int64(size)
	if n > 0 && !s.closed && total-s.startOf(n-1) <= s.grain {
		s.samples[n-1] = sizeSample{last, total}
		return
	}
	if n == sizesMax {
		s.coarsen()
	}
	s.samples, s.closed = append(s.samples, sizeSample{last, total}), false
}

// mark makes what is asked about the last entry exact, as where a snapshot ends.
func (s *logSizes) mark() { s.closed = true }

// total returns the bytes of all frames that were added.
func (s *logSizes) total() int64 {
	if n := len(s.samples); n > 0 {
		return s.samples[n-1].total
	}
	return s.before
}

func (s *logSizes) startOf(sample int) int64 {
	if sample == 0 {
		return s.before
	}
	return s.samples[sample-1].total
}

// coarsen joins each two samples.
func (s *logSizes) coarsen() {
	s.grain = max(2*s.grain, 2*(s.total()-s.before)/sizesMax)
	kept := s.samples[:0]
	for i := range s.samples {
		if i%2 == 1 || i == len(s.samples)-1 {
			kept = append(kept, s.samples[i])
		}
	}
	s.samples = kept
}

// upTo returns how many bytes were added up to an entry, short of those in its own sample where that goes on behind it.
func (s *logSizes) upTo(index codec.Index) int64 {
	i := sort.Search(len(s.samples), func(i int) bool { return s.samples[i].last > index })
	return s.startOf(i)
}

// behind returns the first entry behind which, up to end, there are at most so many bytes.
func (s *logSizes) behind(end codec.Index, bytes int64) codec.Index {
	from := s.upTo(end) - bytes
	if from <= s.before {
		return 0
	}
	i := sort.Search(len(s.samples), func(i int) bool { return s.samples[i].total >= from })
	return min(s.samples[i].last, end)
}

// forget drops what is known of the entries up to index.
func (s *logSizes) forget(index codec.Index) {
	i := sort.Search(len(s.samples), func(i int) bool { return s.samples[i].last > index })
	s.before = s.startOf(i)
	s.samples = append(s.samples[:0], s.samples[i:]...)
}

// reset starts anew, as where a snapshot took the log's place.
func (s *logSizes) reset() { *s = logSizes{grain: sizesGrain, samples: s.samples[:0]} }
