package engine

import (
	"time"

	"github.com/millrace/millrace/codec"
)

// SnapshotPolicy says when a node takes a snapshot of its state machine by itself: whichever of its limits is reached first.
// A field left zero does not count, but where all are zero Bytes has its default.
type SnapshotPolicy struct {
	// Entries is how many entries may be applied behind the newest snapshot.
	Entries uint64
	// Bytes is how many bytes of the log those may fill, or as many as the newest snapshot has where that is more: so that
	// a large state is not written again and again for a few changes. Default 256 MiB, which a restart reads in a few
	// seconds. Below 0: for ever.
	Bytes int64
	// Interval is how old the newest snapshot may be when something was applied behind it. One that was there when the node
	// was opened counts from then.
	Interval time.Duration
}

// LogKeep says how much of the log stays behind the newest snapshot, so that a peer which was away for a while needs the
// entries it missed and not the whole state. What exceeds one of the limits is purged when a snapshot was taken. A field
// left zero has its default; below 0 nothing is kept.
type LogKeep struct {
	// Entries is how many are kept at most. Default 1,000,000.
	Entries int64
	// Bytes is how many bytes of the log are kept at most. Default 256 MiB.
	Bytes int64
	// Ratio is how many times the size of the newest snapshot those may be: for a peer that missed more the snapshot is
	// the shorter way. At least 1 MiB may be kept by it. Default 2.
	Ratio float64
}

func (p SnapshotPolicy) withDefaults() SnapshotPolicy {
	if p == (SnapshotPolicy{}) {
		p.Bytes = 256 << 20
	}
	return p
}

func (k LogKeep) withDefaults() LogKeep {
	if k.Entries == 0 {
		k.Entries = 1_000_000
	}
	if k.Bytes == 0 {
		k.Bytes = 256 << 20
	}
	if k.Ratio == 0 {
		k.Ratio = 2
	}
	return k
}

// ratioBytesMin is what [LogKeep.Ratio] leaves in any case: a small state must not cost each peer that was away for a
// moment a restore.
const ratioBytesMin = 1 << 20

// logAhead is what lies behind the newest snapshot.
type logAhead struct {
	entries  uint64
	bytes    int64
	snapshot int64 // bytes of the newest snapshot, 0 for none
	age      time.Duration
}

// due reports whether a snapshot is to be taken.
func (p *SnapshotPolicy) due(a logAhead) bool {
	if a.entries == 0 {
		return false
	}
	return p.Entries > 0 && a.entries >= p.Entries ||
		p.Bytes > 0 && a.bytes >= max(p.Bytes, a.snapshot) ||
		p.Interval > 0 && a.age >= p.Interval
}

// purgeTarget returns the entry up to which a log may be purged behind a snapshot of so many bytes, 0 for not known.
func (k *LogKeep) purgeTarget(snapshot codec.Index, snapshotBytes int64, sizes *logSizes) codec.Index {
	entries := codec.Index(max(k.Entries, 0))
	bytes := max(k.Bytes, 0)
	switch {
	case k.Ratio < 0:
		bytes = 0
	case snapshotBytes > 0:
		bytes = min(bytes, max(ratioBytesMin, int64(min(k.Ratio*float64(snapshotBytes), 1<<62))))
	}
	if entries == 0 || bytes == 0 {
		return snapshot
	}
	return max(snapshot-min(entries, snapshot), sizes.behind(snapshot, bytes))
}
