package simulation

import (
	"fmt"
	"slices"

	"github.com/millrace/millrace/codec"
)

// ghostEntry is an entry as the simulator saw it on its way to a log. chain is a hash of it and of everything before
// it, so that equal chains are equal logs. A witness's entry that came without its bytes (bare) has the chain that was
// noted when the entry was first written anywhere.
type ghostEntry struct {
	id    codec.LogID
	kind  codec.EntryKind
	bare  bool
	chain uint64
}

// past is what was written under a log id, and before it, when that was first written anywhere.
type past struct {
	before, chain uint64
	kind          codec.EntryKind
	membership    *codec.Membership // of a membership entry
}

// ghostLog is what a log must hold, and what it held before it was purged, or what the snapshot stands for that took its
// place: entries are all from the first one on.
type ghostLog struct {
	vote    codec.Vote
	base    codec.Index // the log begins behind it
	entries []ghostEntry
	members []codec.Index // of membership entries, ascending
}

func (g *ghostLog) last() codec.LogID {
	if n := len(g.entries); n > 0 {
		return g.entries[n-1].id
	}
	return codec.LogID{}
}

func (g *ghostLog) holds(id codec.LogID) bool {
	if id.Index == 0 {
		return id.IsZero()
	}
	return id.Index <= codec.Index(len(g.entries)) && g.entries[id.Index-1].id == id
}

// chainAt returns the chain at an index, 0 before the first entry.
func (g *ghostLog) chainAt(i codec.Index) uint64 {
	if i == 0 {
		return 0
	}
	return g.entries[i-1].chain
}

// memberAt returns the log id of the newest membership entry, zero when there is none.
func (g *ghostLog) memberAt() codec.LogID { return g.memberBefore(0) }

// memberBefore returns the log id of the membership entry so many before the newest, zero when there is none.
func (g *ghostLog) memberBefore(back int) codec.LogID {
	n := len(g.members) - 1 - back
	if n < 0 {
		return codec.LogID{}
	}
	return g.entries[g.members[n]-1].id
}

// memberUpTo returns the log id of the newest membership entry at or below an index, zero when there is none.
func (g *ghostLog) memberUpTo(i codec.Index) codec.LogID {
	n := len(g.members)
	for n > 0 && g.members[n-1] > i {
		n--
	}
	if n == 0 {
		return codec.LogID{}
	}
	return g.entries[g.members[n-1]-1].id
}

func (g *ghostLog) clone() ghostLog {
	return ghostLog{vote: g.vote, base: g.base, entries: append([]ghostEntry(nil), g.entries...), members: append([]codec.Index(nil), g.members...)}
}

// ghostRecord is one record of a write: a vote, a jump, a truncation, a frame or a purge.
type ghostRecord struct {
	seq     uint64 // of its write
	vote    codec.Vote
	hasVote bool
	jump    []ghostEntry // all that the snapshot stands for which takes the log's place
	cut     int          // entries to keep; -1 for a record that cuts nothing
	entries []ghostEntry
	purge   codec.Index // the log begins behind it from now on; 0 for a record that purges nothing
}

func (g *ghostLog) apply(r *ghostRecord) {
	if r.hasVote {
		g.vote = r.vote
	}
	if len(r.jump) > 0 {
		g.base, g.entries, g.members = codec.Index(len(r.jump)), slices.Clone(r.jump), g.members[:0]
		g.noteMembers(r.jump)
	}
	if r.cut >= 0 {
		g.entries = g.entries[:r.cut]
		for n := len(g.members); n > 0 && g.members[n-1] > codec.Index(r.cut); n-- {
			g.members = g.members[:n-1]
		}
	}
	g.noteMembers(r.entries)
	g.entries = append(g.entries, r.entries...)
	g.base = max(g.base, r.purge)
}

func (g *ghostLog) noteMembers(entries []ghostEntry) {
	for i := range entries {
		if entries[i].kind == codec.EntryMembership {
			g.members = append(g.members, entries[i].id.Index)
		}
	}
}

// ghost is what one node's log must hold: mem once everything submitted is written, disk whatever happens. The records
// between the two may be lost, from the last one on.
//
// Owner: the run.
type ghost struct {
	mem, disk ghostLog
	pending   []ghostRecord
}

func (g *ghost) clone() ghost {
	return ghost{mem: g.mem.clone(), disk: g.disk.clone(), pending: append([]ghostRecord(nil), g.pending...)}
}

// submit notes a write, whose frame brought these entries; jump is what stands up to its Jump.
func (g *ghost) submit(w *codec.LogWrite, jump, entries []ghostEntry) {
	add := func(r ghostRecord) {
		r.seq = w.Seq
		g.pending = append(g.pending, r)
		g.mem.apply(&r)
	}
	if w.HasVote {
		add(ghostRecord{hasVote: true, vote: w.Vote, cut: -1})
	}
	if w.Jump != nil {
		add(ghostRecord{jump: jump, cut: -1})
	}
	if w.HasTruncate {
		add(ghostRecord{cut: int(w.Truncate)})
	}
	if len(entries) > 0 {
		add(ghostRecord{cut: -1, entries: entries})
	}
	if w.Purge != nil {
		add(ghostRecord{cut: -1, purge: w.Purge.ID.Index})
	}
}

// entriesOf returns the entries of a frame that stands behind a chain.
func (k *checker) entriesOf(chain uint64, f codec.Frame) ([]ghostEntry, error) {
	m := f.Meta()
	entries := make([]ghostEntry, 0, m.Count)
	if !m.HeaderOnly {
		decoded, err := f.AppendEntries(k.decoded[:0])
		if err != nil {
			return nil, err
		}
		k.decoded = decoded
		for i := range decoded {
			e := &decoded[i]
			chain = chainWith(chain, e)
			entries = append(entries, ghostEntry{id: e.ID, kind: e.Kind, chain: chain})
		}
		return entries, nil
	}
	for i := range codec.Index(m.Count) {
		id := codec.LogID{Leader: m.Leader, Index: m.First + i}
		p, ok := k.pasts[id]
		if !ok || p.before != chain || p.kind != m.Kind {
			return nil, fmt.Errorf("%w: the header of %v, which nobody wrote there", ErrViolation, id)
		}
		chain = p.chain
		entries = append(entries, ghostEntry{id: id, kind: m.Kind, bare: true, chain: chain})
	}
	return entries, nil
}

func chainWith(chain uint64, e *codec.Entry) uint64 {
	for _, v := range [...]uint64{uint64(e.ID.Leader.Term), uint64(e.ID.Leader.Node), uint64(e.ID.Index), uint64(e.Kind), hashBytes(e.Data)} {
		chain = mix(chain, v)
	}
	return chain
}

// flush notes that every write up to seq was reported durable, and reports whether a vote was among them.
func (g *ghost) flush(seq uint64) (voted bool) {
	n := 0
	for ; n < len(g.pending) && g.pending[n].seq <= seq; n++ {
		g.disk.apply(&g.pending[n])
		voted = voted || g.pending[n].hasVote
	}
	g.pending = append(g.pending[:0], g.pending[n:]...)
	return voted
}

// restart compares what a log says after a restart with what it must and may hold, and takes it over. It reports
// whether that is a state the log was in since the last report.
func (g *ghost) restart(st *codec.LogState) bool {
	for k := 0; ; k++ {
		if g.disk.is(st) {
			break
		}
		if k == len(g.pending) {
			return false
		}
		g.disk.apply(&g.pending[k])
	}
	g.pending = g.pending[:0]
	g.mem = g.disk.clone()
	return true
}

// is reports whether a log state names exactly these entries and this vote. Their bytes are compared when they are
// applied or sent.
func (g *ghostLog) is(st *codec.LogState) bool {
	last := g.base
	if !g.begins(&st.Base) {
		return false
	}
	for i := range st.Frames {
		f := &st.Frames[i]
		if f.First != last+1 || f.Last() > codec.Index(len(g.entries)) {
			return false
		}
		last = f.Last()
		for _, at := range [...]codec.Index{f.First, last} {
			if e := &g.entries[at-1]; e.id.Leader != f.Leader || e.kind != f.Kind || e.bare != f.HeaderOnly {
				return false
			}
		}
	}
	members := g.members
	for len(members) > 0 && members[0] <= g.base {
		members = members[1:]
	}
	if len(st.Memberships) != len(members) {
		return false
	}
	for i := range st.Memberships {
		if id := st.Memberships[i].ID; !g.holds(id) || members[i] != id.Index {
			return false
		}
	}
	return st.Vote == g.vote && last == codec.Index(len(g.entries))
}

// begins reports whether the log begins behind a base, whose membership is the newest one up to there.
func (g *ghostLog) begins(b *codec.LogBase) bool {
	return b.ID.Index == g.base && g.holds(b.ID) && b.Membership.ID == g.memberUpTo(g.base)
}
