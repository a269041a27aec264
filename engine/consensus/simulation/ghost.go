package simulation

import (
	"github.com/millrace/millrace/codec"
)

// ghostEntry is an entry as the simulator saw it on its way to a log. chain is a hash of it and of everything before
// it, so that equal chains are equal logs.
type ghostEntry struct {
	id    codec.LogID
	kind  codec.EntryKind
	chain uint64
}

// ghostLog is what a log must hold.
type ghostLog struct {
	vote    codec.Vote
	entries []ghostEntry
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

// ghostRecord is one record of a write: a vote, a truncation or a frame.
type ghostRecord struct {
	seq     uint64 // of its write
	vote    codec.Vote
	hasVote bool
	cut     int // entries to keep; -1 for a record that cuts nothing
	entries []ghostEntry
}

func (g *ghostLog) apply(r *ghostRecord) {
	if r.hasVote {
		g.vote = r.vote
	}
	if r.cut >= 0 {
		g.entries = g.entries[:r.cut]
	}
	g.entries = append(g.entries, r.entries...)
}

// ghost is what one node's log must hold: mem once everything submitted is written, disk whatever happens. The records
// between the two may be lost, from the last one on.
//
// Owner: the run.
type ghost struct {
	mem, disk ghostLog
	pending   []ghostRecord
}

// submit notes a write and returns the entries it brought.
func (g *ghost) submit(w *codec.LogWrite) ([]ghostEntry, error) {
	add := func(r ghostRecord) {
		r.seq = w.Seq
		g.pending = append(g.pending, r)
		g.mem.apply(&r)
	}
	if w.HasVote {
		add(ghostRecord{hasVote: true, vote: w.Vote, cut: -1})
	}
	if w.HasTruncate {
		add(ghostRecord{cut: int(w.Truncate)})
	}
	if w.Frame.IsZero() {
		return nil, nil
	}
	entries, err := chained(g.mem.chainAt(w.Frame.Meta().First-1), w.Frame)
	if err == nil {
		add(ghostRecord{cut: -1, entries: entries})
	}
	return entries, err
}

// chained returns the entries of a frame behind a chain.
func chained(chain uint64, f codec.Frame) ([]ghostEntry, error) {
	decoded, err := f.AppendEntries(nil)
	if err != nil {
		return nil, err
	}
	entries := make([]ghostEntry, len(decoded))
	for i, e := range decoded {
		chain = chainWith(chain, &e)
		entries[i] = ghostEntry{id: e.ID, kind: e.Kind, chain: chain}
	}
	return entries, nil
}

func chainWith(chain uint64, e *codec.Entry) uint64 {
	for _, v := range [...]uint64{uint64(e.ID.Leader.Term), uint64(e.ID.Leader.Node), uint64(e.ID.Index), uint64(e.Kind), hashBytes(e.Data)} {
		chain = mix(chain, v)
	}
	return chain
}

// flush notes that every write up to seq was reported durable.
func (g *ghost) flush(seq uint64) {
	n := 0
	for ; n < len(g.pending) && g.pending[n].seq <= seq; n++ {
		g.disk.apply(&g.pending[n])
	}
	g.pending = append(g.pending[:0], g.pending[n:]...)
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
	g.mem = ghostLog{vote: g.disk.vote, entries: append([]ghostEntry(nil), g.disk.entries...)}
	return true
}

// is reports whether a log state names exactly these entries and this vote. Their bytes are compared when they are
// applied or sent.
func (g *ghostLog) is(st *codec.LogState) bool {
	last := codec.Index(0)
	for i := range st.Frames {
		f := &st.Frames[i]
		if f.First != last+1 || f.Last() > codec.Index(len(g.entries)) {
			return false
		}
		last = f.Last()
		for _, at := range [...]codec.Index{f.First, last} {
			if e := &g.entries[at-1]; e.id.Leader != f.Leader || e.kind != f.Kind {
				return false
			}
		}
	}
	return st.Vote == g.vote && last == codec.Index(len(g.entries))
}
