package engine

import (
	"slices"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine/consensus"
	"github.com/millrace/millrace/pipeline"
)

// What [Config].Stages is told: see there.
type (
	// Stage is a part of the way of a put.
	Stage = pipeline.Stage
	// StageTime is how long one put took in one stage.
	StageTime = pipeline.StageTime
)

// The stages of a put on the leader, on which it is proposed or to which it is forwarded:
//
//	caller     loop            log, network, quorum                loop       state machine     caller
//	   |--------|---------------------------------------------------|---------------|------------|
//	     intake |                     quorum                        |     apply     |   answer
//	            |-- wal_write --|-- wal_sync --|                    |
//	            |-- network, to each peer and back, with its log ---|
//
// A put's latency is the sum of intake, quorum, apply and answer, but for a moment at each end. What lies within quorum is
// shorter than that or, where the quorum did not wait for it, longer: the slowest peer, or this node's own disk. Names, for
// metrics: [Stage.String].
const (
	// StageIntake begins when the call enters the node, before it waits for room, and ends when the loop has given the put's
	// batch its place in the log.
	StageIntake = pipeline.StageIntake
	// StageWALWrite begins there and ends when this node's log has written the frame, before its sync: behind the group commit
	// under way. Neither it nor StageWALSync is told by a [Log] that does not measure ([codec.LogWrite].Timed), as [MemoryLog].
	StageWALWrite = pipeline.StageWALWrite
	// StageWALSync begins there and ends when the group commit is durable.
	StageWALSync = pipeline.StageWALSync
	// StageNetwork begins when the append is handed over for one peer, and ends when the loop reads the answer by which the
	// peer holds the frame durably: there and back, the peer's own write and sync included. It is told for each peer that the
	// append went to before the put was committed, unless the lane broke.
	StageNetwork = pipeline.StageNetwork
	// StageQuorum begins where StageIntake ends, and ends when the loop knows the put to be committed.
	StageQuorum = pipeline.StageQuorum
	// StageApply begins there and ends when the state machine has applied the put, with what is applied in the same call.
	StageApply = pipeline.StageApply
	// StageAnswer begins there and ends when the caller's goroutine runs again, or its function is about to be called.
	StageAnswer = pipeline.StageAnswer
	// StageEnd is behind the last one.
	StageEnd = pipeline.StageEnd
)

const stageIntervalDefault = 500 * time.Microsecond

// stageWatch sees the loop's part of the way of puts that are followed. Without any it does nothing.
//
// Owner: the loop.
type stageWatch struct {
	open []tracedFrame // submitted and not committed, oldest first
	away map[codec.NodeID][]sentFrame
}

// tracedFrame is a frame with puts that are followed.
type tracedFrame struct {
	meta   codec.FrameMeta
	traces pipeline.Traces
	at     time.Time // when it was submitted
}

// sentFrame is one that a peer was sent and has not acknowledged. There are no more than its window has room for.
type sentFrame struct {
	last   codec.Index
	traces pipeline.Traces
	at     consensus.Instant
}

// submitted notes a batch that became a frame, before the frame goes anywhere.
func (s *stageWatch) submitted(meta codec.FrameMeta, traces pipeline.Traces) {
	if len(traces) == 0 {
		return
	}
	now := time.Now()
	traces.Pass(StageIntake, now)
	s.open = append(s.open, tracedFrame{meta, traces, now})
}

// find returns the frame that meta describes, nil where no put in it is followed.
func (s *stageWatch) find(meta *codec.FrameMeta) *tracedFrame {
	for i := len(s.open) - 1; i >= 0; i-- { // mostly the newest
		if f := &s.open[i]; f.meta.First == meta.First && f.meta.Leader == meta.Leader {
			return f
		}
	}
	return nil
}

// timed returns what the log is to call once the frame is durable, nil for almost every one.
func (s *stageWatch) timed(meta *codec.FrameMeta) func(written, durable time.Time) {
	if len(s.open) == 0 {
		return nil
	}
	f := s.find(meta)
	if f == nil {
		return nil
	}
	traces, at := f.traces, f.at
	return func(written, durable time.Time) {
		traces.Tell(StageTime{Stage: StageWALWrite, Duration: written.Sub(at)})
		traces.Tell(StageTime{Stage: StageWALSync, Duration: durable.Sub(written)})
	}
}

// sent notes what is handed over for a peer. A frame that is sent again begins anew, and so does what went behind it.
func (s *stageWatch) sent(send *consensus.Send, l *loop) {
	if len(s.open) == 0 || send.Frame.IsZero() {
		return
	}
	f := s.find(&send.Frame)
	if f == nil {
		return
	}
	if s.away == nil {
		s.away = map[codec.NodeID][]sentFrame{}
	}
	frames := s.away[send.To]
	for len(frames) > 0 && frames[len(frames)-1].last >= f.meta.Last() {
		frames = frames[:len(frames)-1]
	}
	s.away[send.To] = append(frames, sentFrame{f.meta.Last(), f.traces, l.clock()})
}

// answered sees what a peer has answered to this leadership, by which it holds everything up to the message's log id durably.
func (s *stageWatch) answered(p *codec.Packet, vote codec.Vote, now consensus.Instant) {
	if len(s.away) == 0 {
		return
	}
	m := &p.Message
	if m.Kind != codec.MessageAppendReply || m.Status != codec.StatusOK || m.Vote != vote {
		return
	}
	frames, n := s.away[p.Node], 0
	for n < len(frames) && frames[n].last <= m.Log.Index {
		frames[n].traces.Tell(StageTime{Stage: StageNetwork, Duration: time.Duration(now - frames[n].at), Peer: p.Node})
		n++
	}
	if n > 0 {
		s.away[p.Node] = slices.Delete(frames, 0, n)
	}
}

// lost forgets what may be lost on its way to a peer.
func (s *stageWatch) lost(peer codec.NodeID) { delete(s.away, peer) }

// committed ends the quorum stage of everything up to index.
func (s *stageWatch) committed(index codec.Index) {
	n := 0
	for n < len(s.open) && s.open[n].meta.Last() <= index {
		n++
	}
	if n == 0 {
		return
	}
	now := time.Now()
	for i := range n {
		s.open[i].traces.Pass(StageQuorum, now)
	}
	s.open = slices.Delete(s.open, 0, n)
}

// end forgets everything when this node's leadership ended: what is open will be committed by another one, or not.
func (s *stageWatch) end() { *s = stageWatch{} }

// checkStages returns why the settings of what is followed can't be.
func (c *Config) checkStages() error {
	switch {
	case c.Stages == nil && c.StageInterval != 0:
		return &ConfigError{"StageInterval", c.StageInterval, "0 without Stages"}
	case c.StageInterval < 0:
		return &ConfigError{"StageInterval", c.StageInterval, "a duration above 0"}
	}
	return nil
}
