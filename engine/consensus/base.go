package consensus

import "github.com/millrace/millrace/codec"

// A log begins behind its base: nothing, or the last entry of what a snapshot holds. The base comes to stand where it does
// by a purge, which removes entries that a snapshot of this node has made superfluous, or by a jump, which replaces the
// whole log when a snapshot came from elsewhere. The base is committed in either case. So an entry before it is no
// secret: every established leader holds there what this log held, and a previous log id before the base matches (the
// entries up to the base that come with it are skipped). The membership that is in force at the base belongs to it:
// the entry that brought it may be gone, and a later one may be truncated.

// purge makes an entry that the log holds, the last one of a frame, its base. It is durable.
func (l *raftLog) purge(to codec.LogID) {
	gone := l.frames.n
	if to != l.last {
		gone = l.frames.find(to.Index + 1)
	}
	l.frames.drop(gone)
	run := 0
	for run+1 < len(l.runs) && l.runs[run+1].first <= to.Index+1 {
		run++
	}
	switch {
	case to == l.last:
		l.runs = l.runs[:0]
	default:
		l.runs = append(l.runs[:0], l.runs[run:]...)
		l.runs[0].first = to.Index + 1
	}
	before := 0
	for before+1 < len(l.memberships) && l.memberships[before+1].id.Index <= to.Index {
		before++
	}
	kept := append(l.memberships[:0], l.memberships[before:]...)
	clear(l.memberships[len(kept):])
	l.memberships = kept
	if l.headersTo <= to.Index {
		l.headersTo = 0
	}
	l.base = to
}

// jump replaces the whole log by a base; write seq carries it. The base's membership is kept.
func (l *raftLog) jump(base *codec.LogBase, seq uint64) {
	pending := l.pending
	pending.clear()
	pending.push(pendingWrite{seq: seq, last: base.ID.Index})
	*l = raftLog{group: l.group, pending: pending}
	l.begin(base)
}

// begin makes a base the beginning of an empty log.
func (l *raftLog) begin(base *codec.LogBase) {
	l.base, l.last = base.ID, base.ID
	if !base.Membership.ID.IsZero() {
		l.memberships = append(l.memberships, memberRecord{id: base.Membership.ID, membership: &base.Membership.Membership})
	}
}

// frameEnd returns the greatest index up to limit that is the last of a frame, or the base's: the log can begin behind it.
func (l *raftLog) frameEnd(limit codec.Index) codec.Index {
	if limit >= l.last.Index || limit <= l.base.Index {
		return min(max(limit, l.base.Index), l.last.Index)
	}
	return l.frames.at(l.frames.find(limit+1)).first - 1
}

// baseAt describes a log that begins behind an entry which this log holds, or at its base.
func (l *raftLog) baseAt(id codec.LogID) *codec.LogBase {
	base := &codec.LogBase{ID: id}
	for i := range l.memberships {
		if m := &l.memberships[i]; m.id.Index <= id.Index {
			base.Membership = codec.MembershipRecord{ID: m.id, Membership: *m.membership}
		}
	}
	return base
}
