package consensus

import (
	"fmt"

	"github.com/millrace/millrace/codec"
)

type handler func(*Core, *Input)

// inputTable says who takes which input. An empty cell means: nothing to do but look at the timers.
var inputTable = [roleEnd][inputKindEnd]handler{
	Learner: {
		InputPropose:        (*Core).refuseProposal,
		InputMessage:        (*Core).message,
		InputFlushed:        (*Core).flushed,
		InputInitialize:     (*Core).initialize,
		InputChange:         (*Core).refuseNotLeader,
		InputElect:          (*Core).electNow,
		InputHeartbeat:      (*Core).refuseNotLeader,
		InputTransfer:       (*Core).refuseNotLeader,
		InputForgetLeader:   (*Core).forgetLeader,
		InputSwitch:         (*Core).switchOver,
		InputAllowReversion: (*Core).refuseNotLeader,
		InputSnapshot:       (*Core).noteSnapshot,
		InputPurge:          (*Core).purge,
		InputInstall:        (*Core).install,
		InputRead:           (*Core).askRead,
		InputBarrier:        (*Core).refuseNotLeader,
	},
	Follower: {
		InputPropose:        (*Core).refuseProposal,
		InputMessage:        (*Core).message,
		InputFlushed:        (*Core).flushed,
		InputInitialize:     (*Core).refuseInitialized,
		InputChange:         (*Core).refuseNotLeader,
		InputElect:          (*Core).electNow,
		InputHeartbeat:      (*Core).refuseNotLeader,
		InputTransfer:       (*Core).refuseNotLeader,
		InputForgetLeader:   (*Core).forgetLeader,
		InputSwitch:         (*Core).switchOver,
		InputAllowReversion: (*Core).refuseNotLeader,
		InputSnapshot:       (*Core).noteSnapshot,
		InputPurge:          (*Core).purge,
		InputInstall:        (*Core).install,
		InputRead:           (*Core).askRead,
		InputBarrier:        (*Core).refuseNotLeader,
	},
	Candidate: {
		InputPropose:        (*Core).refuseProposal,
		InputMessage:        (*Core).message,
		InputFlushed:        (*Core).flushedAsCandidate,
		InputInitialize:     (*Core).refuseInitialized,
		InputChange:         (*Core).refuseNotLeader,
		InputElect:          (*Core).electNow,
		InputHeartbeat:      (*Core).refuseNotLeader,
		InputTransfer:       (*Core).refuseNotLeader,
		InputForgetLeader:   (*Core).forgetLeader,
		InputSwitch:         (*Core).switchOver,
		InputAllowReversion: (*Core).refuseNotLeader,
		InputSnapshot:       (*Core).noteSnapshot,
		InputPurge:          (*Core).purge,
		InputInstall:        (*Core).install,
		InputRead:           (*Core).askRead,
		InputBarrier:        (*Core).refuseNotLeader,
	},
	Leader: {
		InputPropose:        (*Core).propose,
		InputMessage:        (*Core).message,
		InputFlushed:        (*Core).flushedAsLeader,
		InputPeerDown:       (*Core).peerDown,
		InputInitialize:     (*Core).refuseInitialized,
		InputChange:         (*Core).change,
		InputElect:          (*Core).electNow,
		InputHeartbeat:      (*Core).heartbeatNow,
		InputTransfer:       (*Core).transfer,
		InputForgetLeader:   (*Core).forgetLeader,
		InputSwitch:         (*Core).switchOver,
		InputAllowReversion: (*Core).allowReversion,
		InputSnapshot:       (*Core).noteSnapshot,
		InputPurge:          (*Core).purge,
		InputInstall:        (*Core).install,
		InputRead:           (*Core).read,
		InputBarrier:        (*Core).barrier,
		InputSnapshotLost:   (*Core).snapshotLost,
	},
}

// asks reports whether an input is something that the caller asks for and may be refused.
func (k InputKind) asks() bool {
	switch k {
	case InputTick, InputMessage, InputFlushed, InputPeerDown, InputSwitch, InputSnapshot, InputSnapshotLost:
		return false
	}
	return true
}

// messageTable says who takes which message. An empty cell drops it: an answer that comes after the role that asked is
// over.
var messageTable = [roleEnd][codec.MessageKindEnd]handler{
	Learner: {
		codec.MessageVote:      (*Core).voteRequest,
		codec.MessageAppend:    (*Core).appendRequest,
		codec.MessageHeartbeat: (*Core).heartbeatRequest,
		codec.MessageTransfer:  (*Core).transferRequest,
		codec.MessageRead:      (*Core).refuseRead,
		codec.MessageReadReply: (*Core).readReply,
	},
	Follower: {
		codec.MessageVote:      (*Core).voteRequest,
		codec.MessageVoteReply: (*Core).preVoteReply,
		codec.MessageAppend:    (*Core).appendRequest,
		codec.MessageHeartbeat: (*Core).heartbeatRequest,
		codec.MessageTransfer:  (*Core).transferRequest,
		codec.MessageRead:      (*Core).refuseRead,
		codec.MessageReadReply: (*Core).readReply,
	},
	Candidate: {
		codec.MessageVote:      (*Core).voteRequest,
		codec.MessageVoteReply: (*Core).voteReply,
		codec.MessageAppend:    (*Core).appendRequest,
		codec.MessageHeartbeat: (*Core).heartbeatRequest,
		codec.MessageTransfer:  (*Core).transferRequest,
		codec.MessageRead:      (*Core).refuseRead,
	},
	Leader: {
		codec.MessageVote:           (*Core).voteRequest,
		codec.MessageAppend:         (*Core).appendRequest,
		codec.MessageAppendReply:    (*Core).appendReply,
		codec.MessageHeartbeat:      (*Core).heartbeatRequest,
		codec.MessageHeartbeatReply: (*Core).heartbeatReply,
		codec.MessageTransfer:       (*Core).transferRequest,
		codec.MessageTransferReply:  (*Core).transferReply,
		codec.MessageRead:           (*Core).readRequest,
	},
}

// timerTable says which timers run in which role.
var timerTable = [roleEnd]func(*Core){
	Learner:   noTimer,
	Follower:  (*Core).electionTimer,
	Candidate: (*Core).electionTimer,
	Leader:    (*Core).leaderTimers,
}

// message hands a message to the cell of its role and kind. One that no correct peer sends is dropped and counted: a
// peer's bytes never stop a node by themselves. So is one of a peer with another vote mode: the two were initialized with
// different memberships, and what one promises means something else to the other.
func (c *Core) message(in *Input) {
	if in.Message.Group != c.cfg.Group {
		panic(fmt.Sprintf("BUG: message of group %d given to group %d", in.Message.Group, c.cfg.Group))
	}
	if !c.wellFormed(in) {
		c.malformed++
		return
	}
	if !c.agrees(in) {
		return
	}
	if handle := messageTable[c.role][in.Message.Kind]; handle != nil {
		handle(c, in)
	}
}

// agrees reports whether a message's sender has the vote mode of this node's membership, or one of the two knows none.
func (c *Core) agrees(in *Input) bool {
	if m := c.members.membership; m != nil && in.Message.Mode != 0 && in.Message.Mode != m.Mode {
		c.disagreed++
		c.disagreedWith = in.Peer
		return false
	}
	return true
}

// wellFormedSender reports whether a message names another node as its sender, and votes and log ids that may exist.
func (c *Core) wellFormedSender(in *Input) bool {
	m := &in.Message
	switch {
	case in.Peer == 0 || in.Peer == c.cfg.Node:
		return false
	case m.Vote.Leader.Term > termMax || m.Log.Leader.Term > termMax || m.Log.Index > indexMax:
		return false
	case m.Log.Index == 0 && !m.Log.IsZero():
		return false
	}
	return m.Log.Index <= 1 || m.Log.Leader.Term > 0
}

// wellFormed reports whether a message is one that some correct peer could have sent, judged by itself. Those of the kinds
// that the engine deals with by itself never come here.
func (c *Core) wellFormed(in *Input) bool {
	m := &in.Message
	if !c.wellFormedSender(in) || m.Kind != codec.MessageAppend && !in.Frame.IsZero() {
		return false
	}
	switch m.Kind {
	case codec.MessageVote:
		return fromLeader(in) && !m.Vote.Committed
	case codec.MessageHeartbeat, codec.MessageTransfer:
		return fromLeader(in) && m.Vote.Committed
	case codec.MessageTransferReply:
		return m.Status == codec.StatusRefused
	case codec.MessageAppend:
		return fromLeader(in) && m.Vote.Committed && (in.Frame.IsZero() || c.wellFormedFrame(in))
	case codec.MessageRead:
		return m.Status == codec.StatusNone
	case codec.MessageReadReply:
		return m.Commit <= indexMax && (m.Status == codec.StatusOK || m.Status == codec.StatusRefused)
	case codec.MessageVoteReply:
		return m.Status == codec.StatusOK || m.Status == codec.StatusRefused
	case codec.MessageAppendReply, codec.MessageHeartbeatReply:
		return m.Status == codec.StatusOK || m.Status == codec.StatusRefused || m.Status == codec.StatusConflict
	}
	return false
}

// fromLeader reports whether a request speaks for its sender's own leadership, and of entries that are not younger.
func fromLeader(in *Input) bool {
	m := &in.Message
	return m.Status == codec.StatusNone && m.Vote.Leader.Term > 0 && m.Vote.Leader.Node == in.Peer &&
		m.Log.Leader.Compare(m.Vote.Leader) <= 0
}

func (c *Core) wellFormedFrame(in *Input) bool {
	m, f := &in.Message, &in.Frame
	if !plausible(f) || f.Group != c.cfg.Group || f.First != m.Log.Index+1 ||
		f.Leader.Compare(m.Log.Leader) < 0 || f.Leader.Compare(m.Vote.Leader) > 0 {
		return false
	}
	if f.HeaderOnly && c.ordinary() {
		return false
	}
	if f.Kind != codec.EntryMembership {
		return in.Membership == nil
	}
	return in.Membership != nil && in.Membership.Validate() == nil
}

// plausible reports whether a frame's description is possible by itself. Only the first entry, a membership, may have
// been proposed by nobody.
func plausible(f *codec.FrameMeta) bool {
	switch {
	case !f.Kind.Commands() && f.Kind != codec.EntryBlank && f.Kind != codec.EntryMembership:
		return false
	case !f.Kind.Commands() && (f.Count != 1 || f.HeaderOnly):
		return false
	case f.Leader.Term == 0 && (f.First != 1 || f.Kind != codec.EntryMembership || f.Leader.Node != 0):
		return false
	}
	return f.First > 0 && f.First <= indexMax && f.Count > 0 && f.Count <= codec.FrameEntriesMax &&
		f.Leader.Term <= termMax && f.Size > 0 && f.Size <= codec.FrameHeaderSize+codec.FrameBodyMax
}
