package wal

import (
	"fmt"
	"sort"

	"github.com/millrace/millrace/codec"
)

// frameRef says where a frame of a group stands: the entries it contributes, and the record that holds it. Where a truncation
// fell inside the frame, meta.Count is smaller than what the record holds. A group's loop knows the record that was written
// first; only the book knows where a frame was moved to.
type frameRef struct {
	meta codec.FrameMeta
	at   spot
	cut  bool // it was cut while not in memory: meta.Size is still that of the whole
}

// index is a group's log without the bytes, and the newest of the bytes.
//
// Owner: the group's loop, or the book.
//
// Invariant: refs stand without gaps, ascending from behind base. recent[recentHead:] are the
// frames of the newest refs, one for one.
type index struct {
	base        codec.LogID // the last entry that is not in the log any more; zero for none
	refs        []frameRef
	recent      []codec.Frame
	recentHead  int
	recentBytes int
}

// last returns the index of the last entry; where there is none, of the one before the first.
func (x *index) last() codec.Index {
	if len(x.refs) == 0 {
		return x.base.Index
	}
	return x.refs[len(x.refs)-1].meta.Last()
}

// find returns the position of the frame that holds an entry, or -1.
func (x *index) find(i codec.Index) int {
	if i <= x.base.Index || i > x.last() {
		return -1
	}
	return sort.Search(len(x.refs), func(n int) bool { return x.refs[n].meta.Last() >= i })
}

// cached returns the frame at a position of refs, if it is in memory.
func (x *index) cached(position int) (codec.Frame, bool) {
	n := position - (len(x.refs) - (len(x.recent) - x.recentHead))
	if n < 0 {
		return codec.Frame{}, false
	}
	f := x.recent[x.recentHead+n]
	return f, !f.IsZero()
}

// appendRef adds a frame that is not in memory.
func (x *index) appendRef(meta codec.FrameMeta, at spot) error {
	if want := x.last() + 1; meta.First != want {
		return fmt.Errorf("frame of group %d starts at index %d, want %d: %w", meta.Group, meta.First, want, codec.ErrCorrupt)
	}
	x.refs = append(x.refs, frameRef{meta: meta, at: at})
	return nil
}

// append adds a frame and keeps it in memory.
func (x *index) append(f codec.Frame, meta codec.FrameMeta, seq uint64) {
	if x.recentHead > 64 && x.recentHead > len(x.recent)/2 {
		n := copy(x.recent, x.recent[x.recentHead:])
		clear(x.recent[n:])
		x.recent, x.recentHead = x.recent[:n], 0
	}
	x.refs = append(x.refs, frameRef{meta: meta, at: spot{seq: seq}})
	x.recent = append(x.recent, f)
	x.recentBytes += len(f.Bytes())
}

// evict forgets the oldest frames in memory while there are more than max bytes of them, sparing those above durable.
func (x *index) evict(durable uint64, max int) {
	for x.recentBytes > max && x.recentHead < len(x.recent) {
		oldest := len(x.refs) - (len(x.recent) - x.recentHead)
		if x.refs[oldest].at.seq > durable {
			return
		}
		x.forgetOldest()
	}
}

// purge removes every entry up to an id, which must be that of a frame's last entry. Errors wrap [codec.ErrCorrupt]: it
// is not.
func (x *index) purge(to codec.LogID) error {
	position := x.find(to.Index)
	if position < 0 {
		return fmt.Errorf("purge up to %v, the log holds %d to %d: %w", to, x.base.Index+1, x.last(), codec.ErrCorrupt)
	}
	if last := x.refs[position].meta.LastID(); last != to {
		return fmt.Errorf("purge up to %v, its frame ends with %v: %w", to, last, codec.ErrCorrupt)
	}
	inMemory := len(x.recent) - x.recentHead
	for forget := inMemory - (len(x.refs) - position - 1); forget > 0; forget-- {
		x.forgetOldest()
	}
	x.base = to
	x.refs = behind(x.refs, position+1)
	return nil
}

// behind returns s without its first n elements. What stays is copied once it is the smaller part, so that what goes is
// freed, at a cost below that of having appended it.
func behind[T any](s []T, n int) []T {
	if rest := s[n:]; n <= len(rest) {
		return rest
	}
	return append(make([]T, 0, len(s)-n), s[n:]...)
}

// jump removes every entry; the next one stands behind to. Errors wrap [codec.ErrCorrupt]: it lies not beyond base.
func (x *index) jump(to codec.LogID) error {
	if to.Index <= x.base.Index {
		return fmt.Errorf("jump to %v, the log begins behind %v: %w", to, x.base, codec.ErrCorrupt)
	}
	*x = index{base: to}
	return nil
}

// forgetOldest lets go of the oldest frame in memory.
func (x *index) forgetOldest() {
	x.recentBytes -= len(x.recent[x.recentHead].Bytes())
	x.recent[x.recentHead] = codec.Frame{}
	x.recentHead++
}

// truncate removes every entry above an index, which is not below base. A frame it falls inside of is cut. Errors wrap [codec.ErrCorrupt]: the
// cut frame is in memory and its body does not decompress; it is then no longer in memory.
func (x *index) truncate(to codec.Index) error {
	for len(x.refs) > 0 && x.refs[len(x.refs)-1].meta.First > to {
		x.refs = x.refs[:len(x.refs)-1]
		if n := len(x.recent); n > x.recentHead {
			x.recentBytes -= len(x.recent[n-1].Bytes())
			x.recent[n-1] = codec.Frame{}
			x.recent = x.recent[:n-1]
		}
	}
	if x.last() <= to {
		return nil
	}
	tail := &x.refs[len(x.refs)-1]
	f, ok := x.cached(len(x.refs) - 1)
	tail.meta.Count = uint32(to-tail.meta.First) + 1
	if !ok {
		tail.cut = true
		return nil
	}
	x.recentBytes -= len(f.Bytes())
	f, err := codec.CutFrame(f, tail.meta.First, to)
	if err == nil {
		tail.meta = f.Meta()
	}
	x.recent[len(x.recent)-1] = f
	x.recentBytes += len(f.Bytes())
	return err
}

// apply does what a checked write asks for, in its order. seq is the sequence of its first record. Errors: those of
// truncate; the rest of the write is done all the same.
func (x *index) apply(w *codec.LogWrite, meta codec.FrameMeta, seq uint64) (err error) {
	if w.HasVote {
		seq++
	}
	if w.Jump != nil {
		seq++
		mustFollow(x.jump(w.Jump.ID))
	}
	if w.HasTruncate {
		seq++
		err = x.truncate(w.Truncate)
	}
	if !w.Frame.IsZero() {
		x.append(w.Frame, meta, seq)
	}
	if w.Purge != nil {
		mustFollow(x.purge(w.Purge.ID))
	}
	return err
}

// mustFollow is for changes that were checked before.
func mustFollow(err error) {
	if err != nil {
		panic(fmt.Sprintf("BUG: a write was checked, and now %v", err))
	}
}

// notHeld is the error of a read of an index that is not in the log.
func (x *index) notHeld(id codec.GroupID, i codec.Index) error {
	if x.last() == x.base.Index {
		return fmt.Errorf("wal: group %d: index %d, the log holds nothing from %d on: %w", id, i, x.base.Index+1, ErrNotHeld)
	}
	return fmt.Errorf("wal: group %d: index %d, the log holds %d to %d: %w", id, i, x.base.Index+1, x.last(), ErrNotHeld)
}

// part returns what ref contributes of a stored frame, after checking that it is the frame ref means.
func (ref *frameRef) part(f codec.Frame) (codec.Frame, error) {
	m := f.Meta()
	if m.Group != ref.meta.Group || m.Leader != ref.meta.Leader || m.First != ref.meta.First ||
		m.Kind != ref.meta.Kind || m.Count < ref.meta.Count {
		return codec.Frame{}, fmt.Errorf("record holds %d entries up to %v of group %d, want %d up to %v of group %d: %w",
			m.Count, m.LastID(), m.Group, ref.meta.Count, ref.meta.LastID(), ref.meta.Group, codec.ErrCorrupt)
	}
	if m.Count == ref.meta.Count {
		return f, nil
	}
	return codec.CutFrame(f, m.First, ref.meta.Last())
}
