package consensus

import (
	"slices"

	"github.com/millrace/millrace/codec"
)

// leaderRun says that the entries from first on, up to the next run, were proposed by leader.
type leaderRun struct {
	leader codec.LeaderID
	first  codec.Index
}

// pendingWrite is a submitted write that is not known to be durable: once seq is, so are the entries up to last.
type pendingWrite struct {
	seq  uint64
	last codec.Index
}

// memberRecord is a membership entry of the log, or the newest one up to its base. The membership is never changed, so it may be handed out.
type memberRecord struct {
	id         codec.LogID
	membership *codec.Membership
}

// raftLog knows what a log holds without its bytes: where it begins, which frames, whose entries, which of them are
// durable, which memberships. Looking up the log id at an index costs the logarithm of the number of leaderships, finding
// a frame that of the number of frames. See base.go for how it begins.
//
// Owner: the [Core] it is part of.
type raftLog struct {
	group codec.GroupID
	// base is the log id before the first entry, zero for a log that begins with the first one of all. Invariant: it is
	// committed.
	base   codec.LogID
	frames frameList
	// runs are ascending in both fields, the first one from the first entry on. Invariant: the entries of one leader are
	// contiguous (log matching).
	runs []leaderRun
	// last is the log id of the last entry, base where there is none.
	last codec.LogID
	// flushed is the index up to which every entry, as the log holds it now, is durable here; 0 while not even the jump to
	// base is. Invariant: flushed <= last.Index.
	flushed codec.Index
	// pending are the writes behind flushed. Invariant: ascending in both fields, above flushed, at most last.Index.
	pending ring[pendingWrite]
	// memberships are ascending; the first one may stand at base or before, no other does.
	memberships []memberRecord
	// headersTo is the index of the last entry whose frame came without its entries, 0 for none.
	headersTo codec.Index
}

// idAt returns the log id at an index; false beyond the end, and before the base. Index 0 has the zero log id.
func (l *raftLog) idAt(index codec.Index) (codec.LogID, bool) {
	switch {
	case index == l.base.Index:
		return l.base, true
	case index == 0:
		return codec.LogID{}, true
	case index < l.base.Index, index > l.last.Index:
		return codec.LogID{}, false
	}
	return codec.LogID{Leader: l.runs[l.runAt(index)].leader, Index: index}, true
}

// holds reports whether the log has exactly this entry. Everything before it is then equal too (log matching).
func (l *raftLog) holds(id codec.LogID) bool {
	have, ok := l.idAt(id.Index)
	return ok && have == id
}

// matches reports whether the log holds this entry, or held it: what stood before the base was committed, so it is what
// every established leader holds there, as long as that leader id is possible before the base's.
func (l *raftLog) matches(id codec.LogID) bool {
	if id.Index < l.base.Index {
		return id.Leader.Compare(l.base.Leader) <= 0
	}
	return l.holds(id)
}

// runAt returns the position of the run that holds index, which is an entry's.
func (l *raftLog) runAt(index codec.Index) int {
	if n := len(l.runs) - 1; l.runs[n].first <= index {
		return n
	}
	lo, hi := 0, len(l.runs)-1
	for hi-lo > 1 {
		mid := lo + (hi-lo)/2
		if l.runs[mid].first <= index {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo
}

// frameAt describes the frame that holds the entry at index.
func (l *raftLog) frameAt(index codec.Index) codec.FrameMeta {
	i := l.frames.find(index)
	ref, end := l.frames.at(i), l.last.Index
	if i+1 < l.frames.n {
		end = l.frames.at(i+1).first - 1
	}
	return codec.FrameMeta{
		Group:  l.group,
		Leader: l.runs[l.runAt(ref.first)].leader,
		First:  ref.first,
		Count:  uint32(end - ref.first + 1),
		Kind:   ref.kind,
		Size:   int(ref.size),

		HeaderOnly: ref.headerOnly,
	}
}

// lastNotAbove returns the log id of the greatest index at most index whose leader is at most leader: in a log that
// conflicts with another one there, nothing above it can match (Raft 5.3, the optimisation at its end). Where that would
// be before the base it returns the base, which is committed.
func (l *raftLog) lastNotAbove(index codec.Index, leader codec.LeaderID) codec.LogID {
	index = min(index, l.last.Index)
	if index <= l.base.Index {
		return l.base
	}
	run := l.runAt(index)
	if l.runs[run].leader.Compare(leader) > 0 {
		after, _ := slices.BinarySearchFunc(l.runs[:run], leader, func(r leaderRun, leader codec.LeaderID) int {
			if r.leader.Compare(leader) <= 0 {
				return -1
			}
			return 1
		})
		if after == 0 {
			return l.base
		}
		run, index = after-1, l.runs[after].first-1
	}
	return codec.LogID{Leader: l.runs[run].leader, Index: index}
}

// firstDifference returns the index of the first entry of f that the log does not hold, or the one after f when it
// holds all. The caller has checked that the entry before f matches, and what of f stands up to the base.
func (l *raftLog) firstDifference(f *codec.FrameMeta) codec.Index {
	first := max(f.First, l.base.Index+1)
	if first > min(f.Last(), l.last.Index) {
		return first
	}
	run := l.runAt(first)
	if l.runs[run].leader != f.Leader {
		return first
	}
	end := l.last.Index
	if run+1 < len(l.runs) {
		end = l.runs[run+1].first - 1
	}
	return min(end, f.Last()) + 1
}

// append adds a frame behind the last entry; write seq carries it. membership is kept.
func (l *raftLog) append(f *codec.FrameMeta, seq uint64, membership *codec.Membership) {
	l.restore(f)
	if l.pending.n > 0 && l.pending.back().seq == seq { // behind a jump
		l.pending.back().last = l.last.Index
	} else {
		l.pending.push(pendingWrite{seq: seq, last: l.last.Index})
	}
	if membership != nil {
		l.memberships = append(l.memberships, memberRecord{id: f.LastID(), membership: membership})
	}
}

// restore adds a frame that is durable already.
func (l *raftLog) restore(f *codec.FrameMeta) {
	l.frames.push(frameRef{first: f.First, size: uint32(f.Size), kind: f.Kind, headerOnly: f.HeaderOnly})
	if f.HeaderOnly {
		l.headersTo = f.Last()
	}
	if n := len(l.runs); n == 0 || l.runs[n-1].leader != f.Leader {
		l.runs = append(l.runs, leaderRun{leader: f.Leader, first: f.First})
	}
	l.last = f.LastID()
}

// truncate removes every entry above cut, which is below the last index and not before the base, and reports whether a
// membership went too. What pending writes would have proved durable above cut is forgotten, so that the late completion
// of an overwritten tail counts for nothing.
func (l *raftLog) truncate(cut codec.Index) (membershipGone bool) {
	keep := 0
	if cut > l.base.Index {
		keep = l.frames.find(cut) + 1
	}
	l.frames.cut(keep)
	for n := len(l.runs); n > 0 && l.runs[n-1].first > cut; n-- {
		l.runs = l.runs[:n-1]
	}
	l.last = l.base
	if cut > l.base.Index {
		l.last = codec.LogID{Leader: l.runs[len(l.runs)-1].leader, Index: cut}
	}
	l.flushed = min(l.flushed, cut)
	for n := l.frames.n; l.headersTo > cut; n-- {
		switch {
		case n == 0:
			l.headersTo = 0
		case l.frames.at(n - 1).headerOnly:
			l.headersTo = l.frameAt(l.frames.at(n - 1).first).Last()
		}
	}
	l.truncatePending(cut)
	for n := len(l.memberships); n > 0 && l.memberships[n-1].id.Index > cut; n-- {
		l.memberships[n-1] = memberRecord{}
		l.memberships = l.memberships[:n-1]
		membershipGone = true
	}
	return membershipGone
}

func (l *raftLog) truncatePending(cut codec.Index) {
	for l.pending.n > 0 && l.pending.back().last > cut {
		before := l.flushed
		if l.pending.n > 1 {
			before = l.pending.at(l.pending.n - 2).last
		}
		if before < cut {
			l.pending.back().last = cut
			return
		}
		l.pending.popBack()
	}
}

// flush notes that every write up to seq is durable.
func (l *raftLog) flush(seq uint64) {
	for l.pending.n > 0 && l.pending.front().seq <= seq {
		l.flushed = l.pending.front().last
		l.pending.popFront()
	}
}

// flushedID returns the log id of the last durable entry; zero while the log's beginning is not durable.
func (l *raftLog) flushedID() codec.LogID {
	id, _ := l.idAt(l.flushed)
	return id
}

// membership returns the effective membership and the log id of its entry; nil before initialization. A membership
// takes effect when it is appended, and loses it when it is truncated; what the base brings is never lost.
func (l *raftLog) membership() (*codec.Membership, codec.LogID) {
	if n := len(l.memberships); n > 0 {
		return l.memberships[n-1].membership, l.memberships[n-1].id
	}
	return nil, codec.LogID{}
}
