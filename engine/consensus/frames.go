package consensus

import "github.com/millrace/millrace/codec"

// frameRef is what a core keeps of each frame: 16 bytes. The count follows from where the next frame starts, the leader
// from the log's runs.
type frameRef struct {
	first codec.Index
	size  uint32
	kind  codec.EntryKind

	headerOnly bool
}

// frameChunk is the number of refs in one block of a frameList.
const frameChunk = 1024

// frameList is the list of a log's frames, ascending by first index. It grows and shrinks by blocks and never copies what
// it holds, so that no step of a long log pays for a doubling.
type frameList struct {
	chunks []*[frameChunk]frameRef
	// skip is the number of refs at the start of the first block that were dropped. Invariant: less than a block.
	skip int
	n    int
}

func (l *frameList) at(i int) *frameRef {
	i += l.skip
	return &l.chunks[i/frameChunk][i%frameChunk]
}

func (l *frameList) push(r frameRef) {
	if l.skip+l.n == len(l.chunks)*frameChunk {
		l.chunks = append(l.chunks, new([frameChunk]frameRef))
	}
	l.n++
	*l.at(l.n - 1) = r
}

// drop removes the first n refs.
func (l *frameList) drop(n int) {
	l.n -= n
	l.skip += n
	whole := l.skip / frameChunk
	clear(l.chunks[:whole])
	l.chunks = l.chunks[whole:]
	l.skip %= frameChunk
}

// cut keeps the first n refs. One empty block stays for the pushes that follow.
func (l *frameList) cut(n int) {
	l.n = n
	keep := min(len(l.chunks), (l.skip+n)/frameChunk+1)
	clear(l.chunks[keep:])
	l.chunks = l.chunks[:keep]
}

// find returns the position of the frame that holds index: the last one that starts at or below it. The caller knows
// that there is one. Recent frames are found at once, others by binary search.
func (l *frameList) find(index codec.Index) int {
	lo, hi := 0, l.n // the frame at lo starts at or below index, the one at hi does not
	for step := 1; step < hi; step *= 2 {
		if l.at(l.n-step).first <= index {
			lo = l.n - step
			break
		}
		hi = l.n - step
	}
	for hi-lo > 1 {
		mid := lo + (hi-lo)/2
		if l.at(mid).first <= index {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo
}
