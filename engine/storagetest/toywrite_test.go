package storagetest

import (
	"slices"

	"github.com/millrace/millrace/codec"
)

// apply does what a write asks for, in its order: vote, jump, truncation, frame, purge.
func (g *toyGroup) apply(w *codec.LogWrite) {
	d := g.log.disk
	g.applyVote(w)
	if w.Jump != nil && !d.is("jumps are ignored") {
		g.jump(w)
	}
	frame := w.Frame
	if d.is("the frame comes before the truncation") && w.HasTruncate {
		g.appendFrame(frame)
		frame = codec.Frame{}
	}
	if w.HasTruncate && !d.is("truncations are ignored") {
		g.truncate(w.Truncate)
	}
	purgeFirst := w.Purge != nil && d.is("the purge comes before the frame")
	if purgeFirst {
		g.purge(w.Purge)
	}
	if !frame.IsZero() && !(d.is("a frame behind a jump is lost") && w.Jump != nil) {
		g.appendFrame(frame)
	}
	if w.Purge != nil && !purgeFirst && !d.is("purges are ignored") {
		g.purge(w.Purge)
	}
	g.saveCommit(w)
}

func (g *toyGroup) applyVote(w *codec.LogWrite) {
	d := g.log.disk
	v := w.Vote
	switch {
	case d.is("votes need no HasVote") && !v.IsZero():
	case !w.HasVote, d.is("votes are forgotten"), d.is("the first vote stays") && !g.vote.IsZero(),
		d.is("a vote with a frame is lost") && !w.Frame.IsZero():
		return
	case d.is("committed is forgotten"):
		v.Committed = false
	case d.is("votes have 32 bits"):
		v.Leader.Term &= 1<<32 - 1
	}
	g.vote, g.clean = v, true
}

func (g *toyGroup) jump(w *codec.LogWrite) {
	d := g.log.disk
	to := w.Jump
	keep := slices.DeleteFunc(slices.Clone(g.frames), func(f codec.Frame) bool { return f.Meta().First <= to.ID.Index })
	switch {
	case d.is("a jump can't go back") && to.ID.Index <= g.last():
		return
	case d.is("a jump is only taken by an empty log") && len(g.frames) > 0:
		return
	case d.is("a jump is only taken by a log with entries") && len(g.frames) == 0:
		return
	case d.is("a second jump is ignored") && g.base.ID.Index == 50:
		return
	case d.is("a jump goes one too far"):
		g.base, g.frames = *to, nil
		g.base.ID.Index++
		return
	case d.is("a jump wipes every group"):
		for _, o := range g.log.live {
			o.frames = nil
			g.log.disk.groups[o.id] = o.clone()
		}
	case d.is("a jump wipes the vote"):
		g.vote = codec.Vote{}
	}
	g.base = *to
	if g.frames = nil; d.is("a jump keeps what follows") {
		g.frames = keep
	}
	if d.is("the base of a jump has no membership") {
		g.base.Membership = codec.MembershipRecord{}
	}
}

func (g *toyGroup) appendFrame(f codec.Frame) {
	d := g.log.disk
	m := f.Meta()
	switch {
	case d.is("frames of megabytes are refused") && m.Size > 1<<20, d.is("frames without entries are refused") && m.HeaderOnly,
		d.is("empty entries are dropped") && m.Size < codec.FrameHeaderSize+10 && m.Kind == codec.EntryNormal, d.is("entries are forgotten"),
		d.is("a frame of another leader is refused") && len(g.frames) > 0 && g.frames[0].Meta().Leader != m.Leader,
		d.is("the second life takes no entries") && len(g.frames) > 0 && len(g.log.live) == 1 && g.count == 0:
		return
	case d.is("kinds are forgotten", "frames are unpacked"):
		entries, err := f.AppendEntries(nil)
		if err != nil || d.is("frames are unpacked") && f.Compression() == codec.CompressionNone && m.Size < 200 {
			break
		}
		buf := make([]byte, codec.FrameHeaderSize)
		for _, e := range entries {
			buf = codec.AppendEntry(buf, e.Data)
		}
		if d.is("kinds are forgotten") {
			m.Kind = codec.EntryNormal
		}
		f, _ = codec.SealFrame(buf, m, codec.CompressionS2)
	}
	g.frames = append(g.frames, f)
}

func (g *toyGroup) truncate(to codec.Index) {
	d := g.log.disk
	switch {
	case d.is("a truncation leaves one more"):
		to++
	case d.is("a truncation takes one more") && to > g.base.ID.Index:
		to--
	case d.is("a log is never emptied") && to == 0, d.is("a truncation to the base is ignored") && to == g.base.ID.Index && to > 0:
		return
	case d.is("a truncation wipes the vote"):
		g.vote = codec.Vote{}
	case d.is("a truncation behind the end panics") && to >= g.last():
		panic("it is not that long")
	}
	before := g.find(to)
	for len(g.frames) > 0 && g.frames[len(g.frames)-1].Meta().First > to {
		g.frames = g.frames[:len(g.frames)-1]
	}
	if before < 0 || g.last() <= to {
		return
	}
	n := len(g.frames) - 1
	switch f := g.frames[n]; {
	case d.is("a truncation takes the whole frame"):
		g.frames = g.frames[:n]
	case d.is("a truncation leaves the whole frame"):
	case d.is("old frames can't be cut") && f.Meta().First == 1:
		g.frames = g.frames[:n]
	default:
		g.frames[n], _ = codec.CutFrame(f, f.Meta().First, to)
	}
}

func (g *toyGroup) purge(to *codec.LogBase) {
	d := g.log.disk
	if d.is("a purge of everything is ignored") && to.ID.Index == g.last() {
		return
	}
	at := g.find(to.ID.Index)
	if at < 0 {
		return
	}
	g.base = *to
	switch d.bug {
	case "a purge takes everything":
		g.frames, g.base.ID = nil, g.frames[len(g.frames)-1].Meta().LastID()
	case "a purge leaves one frame":
		g.frames = g.frames[at:]
	case "a purge takes one frame":
		g.frames = g.frames[1:]
	default:
		g.frames = g.frames[at+1:]
	}
	switch d.bug {
	case "the base of a purge has no membership":
		g.base.Membership = codec.MembershipRecord{}
	case "the base has no leader":
		g.base.ID.Leader, g.base.Membership = codec.LeaderID{}, codec.MembershipRecord{}
	}
}

func (g *toyGroup) saveCommit(w *codec.LogWrite) {
	d := g.log.disk
	switch {
	case d.is("commits are forgotten"):
	case d.is("commits are shared"):
		for _, o := range g.log.live {
			o.commit = max(o.commit, w.Commit)
			d.groups[o.id] = o.clone()
		}
	default:
		g.commit = max(g.commit, w.Commit)
	}
}
