package pipeline

import (
	"slices"

	"github.com/millrace/millrace/codec"
)

// CommitStage hands writes to the log and holds back every packet that promises something about the disk until the log
// has made it durable.
//
// Owner: the group's loop.
type CommitStage struct {
	log       GroupLog
	submitted uint64 // Seq of the newest write
	flushed   uint64 // Seq up to which everything is durable. Invariant: flushed <= submitted
	held      []heldPacket
	unflushed []sizedWrite // submitted and not yet durable, those with frames
	bytes     int          // of unflushed
}

// sizedWrite is a write with the size of its frame.
type sizedWrite struct {
	seq  uint64
	size int
}

// heldPacket waits for the flush of seq.
type heldPacket struct {
	seq    uint64
	lane   codec.Lane
	packet codec.Packet
}

// NewCommitStage returns a stage that writes to log.
func NewCommitStage(log GroupLog) *CommitStage { return &CommitStage{log: log} }

// Submit queues a write.
func (s *CommitStage) Submit(w *codec.LogWrite) {
	if w.Seq <= s.submitted {
		panic("BUG: writes must have growing sequence numbers")
	}
	s.submitted = w.Seq
	if size := len(w.Frame.Bytes()); size > 0 {
		s.unflushed = append(s.unflushed, sizedWrite{w.Seq, size})
		s.bytes += size
	}
	s.log.Submit(w)
}

// Hold keeps the packet until everything submitted so far is durable.
func (s *CommitStage) Hold(lane codec.Lane, p codec.Packet) {
	s.held = append(s.held, heldPacket{s.submitted, lane, p})
}

// Flushed notes that every write up to seq is durable.
func (s *CommitStage) Flushed(seq uint64) {
	s.flushed = max(s.flushed, seq)
	n := 0
	for n < len(s.unflushed) && s.unflushed[n].seq <= s.flushed {
		s.bytes -= s.unflushed[n].size
		n++
	}
	s.unflushed = slices.Delete(s.unflushed, 0, n)
}

// UnflushedBytes returns the size of the frames that were submitted and are not yet durable.
func (s *CommitStage) UnflushedBytes() int { return s.bytes }

// Release calls send for each held packet whose writes are durable, in the order they were held. An append's answer
// says what an earlier one to the same peer on the same stream said and more, so only the newest of a run is sent:
// acknowledgements coalesce exactly as far as the disk coalesced the writes.
func (s *CommitStage) Release(send func(codec.Lane, codec.Packet)) {
	n := 0
	for n < len(s.held) && s.held[n].seq <= s.flushed {
		n++
	}
	if n == 0 {
		return
	}
	for i := range n {
		if !supersededBy(s.held[i+1:n], &s.held[i].packet) {
			send(s.held[i].lane, s.held[i].packet)
		}
	}
	rest := copy(s.held, s.held[n:])
	clear(s.held[rest:])
	s.held = s.held[:rest]
}

// supersededBy reports whether the next answer to the same peer among later ones covers p. Looking no further than
// that one keeps this linear for a follower, whose answers all go to one leader.
func supersededBy(later []heldPacket, p *codec.Packet) bool {
	if p.Message.Kind != codec.MessageAppendReply || p.Message.Status != codec.StatusOK {
		return false
	}
	for i := range later {
		q := &later[i].packet
		if q.Node != p.Node {
			continue
		}
		return q.Message.Kind == codec.MessageAppendReply && q.Message.Status == codec.StatusOK &&
			q.Message.Stream == p.Message.Stream && q.Message.Vote == p.Message.Vote
	}
	return false
}
