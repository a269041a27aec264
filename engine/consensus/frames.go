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

// frameList is the list of a log's frames, ascending by first index. It grows by blocks and never copies what it
// holds, so that no step of a long log pays for a doubling.
type frameList struct {
	chunks []*[frameChunk]frameRef
	n      int
}

func (l *frameList) at(i int) *frameRef { return &l.chunks[i/frameChunk][i%frameChunk] }

func (l *frameList) push(r frameRef) {
	if l.n == len(l.chunks)*frameChunk {
		l.chunks = append(l.chunks, new([frameChunk]frameRef))
	}
	l.n++
	*l.at(l.n - 1) = r
}

// cut keeps the first n refs. One empty block stays for the pushes that follow.
func (l *frameList) cut(n int) {
	l.n = n
	keep := min(len(l.chunks), n/frameChunk+1)
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
