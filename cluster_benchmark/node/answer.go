package node

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/pipeline"
)

// fate is what became of the puts of a frame, of all of them together.
type fate uint8

const (
	fateDone    fate = 1 // each was applied; the log ids say where
	fateRefused fate = 2 // none will ever be
	fateUnknown fate = 3 // some may have been, or may yet be
)

// answerBytesMax bounds the words in an answer.
const answerBytesMax = 1000

// appendDone appends the answer to a frame whose puts were applied at these log ids, as runs of ids that follow one another:
// the number of runs, and for each the leader's term and node, the first index and how many (uvarints).
func appendDone(dst []byte, slots []slot) []byte {
	dst = append(dst, byte(fateDone))
	runs := 0
	for from := 0; from < len(slots); from = runEnd(slots, from) {
		runs++
	}
	dst = binary.AppendUvarint(dst, uint64(runs))
	for from := 0; from < len(slots); {
		end := runEnd(slots, from)
		id := slots[from].id
		for _, v := range []uint64{uint64(id.Leader.Term), uint64(id.Leader.Node), uint64(id.Index), uint64(end - from)} {
			dst = binary.AppendUvarint(dst, v)
		}
		from = end
	}
	return dst
}

// runEnd returns the first slot from there whose log id does not follow the one before.
func runEnd(slots []slot, from int) int {
	first := slots[from].id
	for i := from + 1; i < len(slots); i++ {
		if id := slots[i].id; id.Leader != first.Leader || id.Index != first.Index+codec.Index(i-from) {
			return i
		}
	}
	return len(slots)
}

// appendFailed appends the answer to a frame whose puts were not all applied: who leads instead, 0 where that is not why or
// not known, and why.
func appendFailed(dst []byte, f fate, err error) []byte {
	leader := codec.NodeID(0)
	var other *engine.NotLeaderError
	if errors.As(err, &other) {
		leader = other.Leader.ID
	}
	dst = append(dst, byte(f))
	dst = binary.AppendUvarint(dst, uint64(leader))
	text := err.Error()
	return append(dst, text[:min(len(text), answerBytesMax)]...)
}

// answer is what became of a frame.
type answer struct {
	fate    fate
	results []pipeline.Result // of fateDone
	leader  codec.NodeID      // of the others
	text    string
}

// readAnswer reads the answer to a frame of so many puts; results is room to be used again. Errors wrap [codec.ErrCorrupt].
func readAnswer(src []byte, puts int, results []pipeline.Result) (answer, error) {
	if len(src) == 0 {
		return answer{}, fmt.Errorf("empty answer: %w", codec.ErrCorrupt)
	}
	a := answer{fate: fate(src[0]), results: results[:0]}
	rest, damaged := src[1:], false
	next := func() uint64 {
		v, n := binary.Uvarint(rest)
		if n <= 0 {
			damaged, n = true, len(rest)
		}
		rest = rest[n:]
		return v
	}
	switch a.fate {
	case fateRefused, fateUnknown:
		a.leader = codec.NodeID(next())
		a.text = string(rest)
	case fateDone:
		for runs := next(); runs > 0 && !damaged; runs-- {
			id := codec.LogID{Leader: codec.LeaderID{Term: codec.Term(next()), Node: codec.NodeID(next())}, Index: codec.Index(next())}
			count := next()
			if count == 0 || count > uint64(puts-len(a.results)) {
				damaged = true
				break
			}
			for range count {
				a.results = append(a.results, pipeline.Result{LogID: id})
				id.Index++
			}
		}
		damaged = damaged || len(rest) > 0 || len(a.results) != puts
	default:
		damaged = true
	}
	if damaged {
		return answer{}, fmt.Errorf("answer of %d bytes to %d puts: %w", len(src), puts, codec.ErrCorrupt)
	}
	return a, nil
}
