package engine

import (
	"fmt"
	"slices"
	"time"

	"github.com/millrace/millrace/engine/consensus"
)

// askedMax bounds the rounds that the Consensus Module has not answered. Beyond it reads gather, and share the next one.
const askedMax = 64

// reading is what the loop keeps of reads.
//
//	reads --> readGate --> waiting --> asked --> unfed --> given to the applier --> answered
//	                          ^          |
//	                          '-- lost --'
//
// Owner: the loop.
type reading struct {
	token   uint64          // of the newest question; none is used twice
	waiting [2][]*readRound // to be asked about: those that want a quorum, those that are content with a lease
	asked   []question      // oldest first
	unfed   []*readRound    // confirmed, and beyond what the applier was given
	retry   consensus.Instant
	rounds  uint64 // confirmed
}

// question is one that the Consensus Module was asked, for some rounds.
type question struct {
	token    uint64
	at       consensus.Instant
	rounds   []*readRound
	repeated bool // asked again, since the answer may be lost
}

// takeReads asks about the reads that wait. While no leader is known they wait on; a question that was lost is asked
// again under another token, so that no answer to the first one can be taken for that.
func (l *loop) takeReads() {
	rd := &l.reading
	for i := range rd.waiting {
		if slot := &l.raft.reads.open[i]; slot.Load() != nil {
			rd.waiting[i] = append(rd.waiting[i], slot.Swap(nil))
		}
	}
	l.repeatReads()
	if l.status.Leader == 0 || l.now < rd.retry {
		return
	}
	for i := range rd.waiting {
		if len(rd.waiting[i]) == 0 || len(rd.asked) >= askedMax || l.failure != nil {
			continue
		}
		rd.token++
		rd.asked = append(rd.asked, question{token: rd.token, at: l.now, rounds: rd.waiting[i]})
		rd.waiting[i] = nil
		l.step(consensus.Input{Kind: consensus.InputRead, Token: rd.token, Lease: i == 1})
	}
}

// repeatReads lets questions be asked again whose message to the leader, or whose answer, may be lost. A leader that has
// lost a message to a peer sends the next one by itself.
func (l *loop) repeatReads() {
	rd := &l.reading
	if l.status.Role == consensus.Leader {
		return
	}
	for i := range rd.asked {
		q := &rd.asked[i]
		if l.now < q.at.Add(l.repeatAfter()) {
			return
		}
		if !q.repeated {
			q.repeated = true
			rd.waiting[0] = append(rd.waiting[0], q.rounds...)
		}
	}
}

// repeatAfter returns how long the leader's answer may take before it is taken for lost.
func (l *loop) repeatAfter() time.Duration { return l.cfg.ElectionTimeoutMin / 2 }

// readDeadline returns when takeReads must be called at the latest.
func (l *loop) readDeadline() consensus.Instant {
	rd := &l.reading
	deadline := consensus.Never
	if l.status.Leader == 0 {
		return deadline
	}
	if len(rd.waiting[0])+len(rd.waiting[1]) > 0 && len(rd.asked) < askedMax {
		deadline = rd.retry
	}
	if l.status.Role != consensus.Leader {
		if i := slices.IndexFunc(rd.asked, func(q question) bool { return !q.repeated }); i >= 0 {
			deadline = min(deadline, rd.asked[i].at.Add(l.repeatAfter()))
		}
	}
	return deadline
}

// tookReads takes the Consensus Module's answers.
func (l *loop) tookReads(answers []consensus.Read) {
	rd := &l.reading
	for _, a := range answers {
		i := slices.IndexFunc(rd.asked, func(q question) bool { return q.token == a.Token })
		if i < 0 {
			panic(fmt.Sprintf("BUG: an answer to read %d, which was not asked", a.Token))
		}
		q := rd.asked[i]
		rd.asked = slices.Delete(rd.asked, i, i+1)
		if a.Reason != nil {
			l.lostRead(&q)
			continue
		}
		rd.rounds++
		for _, round := range q.rounds {
			if !round.is(round.confirmed) {
				round.index, round.at, round.byLease = a.Index, q.at, a.Lease
				close(round.confirmed)
				rd.unfed = append(rd.unfed, round)
			}
		}
	}
}

// lostRead lets the rounds of a question that came to nothing wait for another one: until the leader is another, or a little.
func (l *loop) lostRead(q *question) {
	rd := &l.reading
	rd.retry = l.now.Add(l.cfg.HeartbeatInterval)
	for _, round := range q.rounds {
		kind := 0
		if round.lease {
			kind = 1
		}
		if !round.is(round.confirmed) && !slices.Contains(rd.waiting[kind], round) && !slices.Contains(rd.waiting[0], round) {
			rd.waiting[kind] = append(rd.waiting[kind], round)
		}
	}
}

// is reports whether a channel of the round is closed.
func (*readRound) is(closed chan struct{}) bool {
	select {
	case <-closed:
		return true
	default:
		return false
	}
}

// feedReads answers the rounds whose index is applied, behind what the applier was given before.
func (l *loop) feedReads() {
	rd := &l.reading
	if len(rd.unfed) == 0 {
		return
	}
	var ready []*readRound
	kept := rd.unfed[:0]
	applied := l.applier.Applied()
	for _, round := range rd.unfed {
		switch {
		case round.index <= applied:
			l.raft.answerRead(round, nil)
		case round.index <= l.fed:
			ready = append(ready, round)
		default:
			kept = append(kept, round)
		}
	}
	clear(rd.unfed[len(kept):])
	if rd.unfed = kept; len(ready) == 0 {
		return
	}
	r, id := l.raft, l.cfg.NodeID
	l.applier.Await(func(err error) {
		if err != nil {
			err = fmt.Errorf("node %d %w: %w", id, ErrStopped, err)
		}
		for _, round := range ready {
			r.answerRead(round, err)
		}
	})
}

// answerRead lets the readers of a round go on. The applier calls it too.
func (r *Raft) answerRead(round *readRound, err error) {
	if round.behind = err; err == nil {
		r.renew(&freshness{round.at, round.index})
	}
	close(round.applied)
}

// endReads answers every read that waits, and those that come later, when the loop ends.
func (l *loop) endReads(stopped error) {
	rd := &l.reading
	var rounds []*readRound
	for i := range rd.waiting {
		end := &readRound{failed: stopped, confirmed: make(chan struct{}), applied: make(chan struct{})}
		close(end.confirmed)
		close(end.applied)
		if round := l.raft.reads.open[i].Swap(end); round != nil {
			rounds = append(rounds, round)
		}
		rounds = append(rounds, rd.waiting[i]...)
	}
	for _, q := range rd.asked {
		rounds = append(rounds, q.rounds...)
	}
	for _, round := range rounds {
		if !round.is(round.confirmed) {
			round.failed = stopped
			close(round.confirmed)
			close(round.applied)
		}
	}
	for _, round := range rd.unfed {
		l.raft.answerRead(round, stopped)
	}
	*rd = reading{}
}

// publishLease tells readers until when this leader's lease runs, and what is committed; that first, so that a reader who
// sees the lease sees what it covers.
func (l *loop) publishLease() {
	if !l.cfg.LeaseReads {
		return
	}
	v := &l.raft.lease
	if index := uint64(l.status.Commit); v.index.Load() != index {
		v.index.Store(index)
	}
	if until := int64(l.status.LeaseUntil); v.until.Load() != until {
		v.until.Store(until)
	}
}
