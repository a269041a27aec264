package codec

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// named is one value of a format under a name that golden files and subtests use.
type named[T any] struct {
	name  string
	value T
}

// frameSpec is what a sample frame is made of.
type frameSpec struct {
	meta        FrameMeta
	entries     [][]byte
	compression Compression
}

// seal makes the frame; one without its entries takes none.
func (s frameSpec) seal(t testing.TB) Frame {
	t.Helper()
	if s.meta.HeaderOnly {
		return HeaderFrame(s.meta)
	}
	buf := make([]byte, FrameHeaderSize)
	for _, e := range s.entries {
		buf = AppendEntry(buf, e)
	}
	f, err := SealFrame(buf, s.meta, s.compression)
	if err != nil {
		t.Fatalf("SealFrame: %v", err)
	}
	return f
}

// compressibleEntries are n entries that compress well and differ from each other.
func compressibleEntries(n int) [][]byte {
	out := make([][]byte, n)
	for i := range out {
		out[i] = fmt.Appendf(nil, `{"serial":%d,"payload":"%s"}`, i, bytes.Repeat([]byte("put "), 8))
	}
	return out
}

func sampleFrames() []named[frameSpec] {
	leader := LeaderID{Term: 0x0102030405060708, Node: 3}
	membership := sampleMemberships()[0].value
	return []named[frameSpec]{
		{"normal", frameSpec{
			meta:    FrameMeta{Group: 7, Leader: leader, First: 0x1112131415161718, Count: 3, Kind: EntryNormal},
			entries: [][]byte{[]byte("first"), {}, bytes.Repeat([]byte{0xa5}, 200)},
		}},
		{"blank", frameSpec{
			meta:    FrameMeta{Group: 1, Leader: LeaderID{Term: 2, Node: 1}, First: 1, Count: 1, Kind: EntryBlank},
			entries: [][]byte{{}},
		}},
		{"membership", frameSpec{
			meta:    FrameMeta{Leader: LeaderID{}, First: 1, Count: 1, Kind: EntryMembership},
			entries: [][]byte{AppendMembership(nil, &membership)},
		}},
		{"s2", frameSpec{
			meta:        FrameMeta{Group: 7, Leader: leader, First: 100, Count: 20, Kind: EntryNormal},
			entries:     compressibleEntries(20),
			compression: CompressionS2,
		}},
		{"zstd", frameSpec{
			meta:        FrameMeta{Group: 7, Leader: leader, First: 100, Count: 20, Kind: EntryNormal},
			entries:     compressibleEntries(20),
			compression: CompressionZstd,
		}},
		{"zstd, unpacked size below 256", frameSpec{
			meta:        FrameMeta{Group: 7, Leader: leader, First: 100, Count: 1, Kind: EntryNormal},
			entries:     [][]byte{bytes.Repeat([]byte("a"), 100)},
			compression: CompressionZstd,
		}},
		{"header only", frameSpec{
			meta: FrameMeta{Group: 7, Leader: leader, First: 0x1112131415161718, Count: 3, Kind: EntryNormal, HeaderOnly: true},
		}},
		{"session", frameSpec{
			meta:    FrameMeta{Group: 7, Leader: leader, First: 9, Count: 2, Kind: EntrySession},
			entries: [][]byte{[]byte("opening"), []byte("a command")},
		}},
		{"restore", frameSpec{
			meta:    FrameMeta{Group: 7, Leader: leader, First: 11, Count: 1, Kind: EntryRestore},
			entries: [][]byte{[]byte("a part")},
		}},
		{"header only, session", frameSpec{
			meta: FrameMeta{Group: 7, Leader: leader, First: 9, Count: 2, Kind: EntrySession, HeaderOnly: true},
		}},
	}
}

// sampleMessages holds each kind, each verdict, each flag and each form of body.
func sampleMessages(t testing.TB) []named[Packet] {
	t.Helper()
	vote := Vote{Leader: LeaderID{Term: 0x2122232425262728, Node: 2}, Committed: true}
	log := LogID{Leader: LeaderID{Term: 0x3132333435363738, Node: 1}, Index: 0x4142434445464748}
	candidate := Vote{Leader: LeaderID{Term: 5, Node: 2}}
	of := func(m Message) Packet { return Packet{Message: m} }
	all := func(kind MessageKind, status Status) Message {
		return Message{Kind: kind, Status: status, Group: 9, Vote: vote, Log: log, Commit: 0x51, Stream: 0x61, Stamp: -0x71}
	}
	data := func(kind MessageKind, status Status, payload string) Packet {
		return Packet{Message: all(kind, status), Data: sampleData(payload)}
	}
	wants := all(MessageHeartbeatReply, StatusOK)
	wants.WantSnapshot = true
	appendMessage, frame, _ := sampleAppend(t)
	return []named[Packet]{
		{"vote", of(Message{Kind: MessageVote, Group: 1, Vote: candidate, Log: log, Stamp: 1 << 40})},
		{"vote reply granted", of(Message{Kind: MessageVoteReply, Status: StatusOK, Vote: candidate, Log: log, Stamp: 1 << 40})},
		{"vote reply refused", of(Message{Kind: MessageVoteReply, Status: StatusRefused, Vote: vote, Log: log, Stamp: 1 << 40})},
		{"append without frame", of(all(MessageAppend, StatusNone))},
		{"append reply ok", of(all(MessageAppendReply, StatusOK))},
		{"append reply conflict", of(all(MessageAppendReply, StatusConflict))},
		{"append reply refused", of(all(MessageAppendReply, StatusRefused))},
		{"heartbeat", of(all(MessageHeartbeat, StatusNone))},
		{"heartbeat reply", of(all(MessageHeartbeatReply, StatusOK))},
		{"pre-vote", of(Message{Kind: MessageVote, Group: 1, Vote: candidate, Log: log, PreVote: true, Mode: SeveralLeadersPerTerm})},
		{"pre-vote reply", of(Message{Kind: MessageVoteReply, Status: StatusOK, Group: 1, Vote: candidate, PreVote: true})},
		{"vote for a transfer", of(Message{Kind: MessageVote, Group: 1, Vote: candidate, Log: log, Transfer: true, Mode: OneLeaderPerTerm})},
		{"transfer", of(all(MessageTransfer, StatusNone))},
		{"transfer reply refused", of(all(MessageTransferReply, StatusRefused))},
		{"append with frame", Packet{Message: appendMessage, Frame: frame}},
		{"heartbeat reply that wants a snapshot", of(wants)},
		{"snapshot", data(MessageSnapshot, StatusNone, "a piece of a snapshot")},
		{"snapshot reply ok", of(all(MessageSnapshotReply, StatusOK))},
		{"snapshot reply refused", of(all(MessageSnapshotReply, StatusRefused))},
		{"read", of(all(MessageRead, StatusNone))},
		{"read reply ok", of(all(MessageReadReply, StatusOK))},
		{"read reply refused", of(all(MessageReadReply, StatusRefused))},
		{"forward", data(MessageForward, StatusNone, "\x00")},
		{"forward reply ok", data(MessageForwardReply, StatusOK, "results")},
		{"forward reply refused", of(all(MessageForwardReply, StatusRefused))},
	}
}

// wire returns a packet's bytes as they go between nodes.
func wire(p *Packet) []byte {
	return append(AppendMessage(nil, &p.Message, len(p.Body())), p.Body()...)
}

func sampleData(payload string) Data {
	return SealData(append(make([]byte, DataHeaderSize), payload...))
}

// sampleSnapshot is a message with data, and its bytes.
func sampleSnapshot() (Packet, []byte) {
	p := Packet{
		Message: Message{Kind: MessageSnapshot, Group: 7, Log: LogID{LeaderID{4, 1}, 1000}, Stream: 3, Stamp: 99},
		Data:    sampleData("thirty bytes of some snapshot."),
	}
	return p, wire(&p)
}

// sampleAppend is an append message with its frame, and the bytes of both.
func sampleAppend(t testing.TB) (Message, Frame, []byte) {
	t.Helper()
	f := sampleFrames()[0].value.seal(t)
	m := Message{
		Kind:   MessageAppend,
		Group:  f.Meta().Group,
		Vote:   Vote{Leader: f.Meta().Leader, Committed: true},
		Log:    LogID{Leader: LeaderID{Term: 4, Node: 1}, Index: f.Meta().First - 1},
		Commit: 12,
		Stream: 3,
		Stamp:  99,
	}
	return m, f, wire(&Packet{Message: m, Frame: f})
}

func sampleMemberships() []named[Membership] {
	three := NewMembership(SeveralLeadersPerTerm, Node{ID: 3, Address: "10.0.0.3:7000"}, Node{ID: 1, Address: "10.0.0.1:7000"}, Node{ID: 2, Address: "node2:7000"})
	joint := Membership{
		Mode: OneLeaderPerTerm,
		Configs: []VoterConfig{
			{Voters: []NodeID{1, 2, 3}, Quorum: QuorumSystem{Kind: QuorumMajority}},
			{Voters: []NodeID{2, 3, 1 << 40}, Quorum: QuorumSystem{Kind: QuorumMajority}},
		},
		Nodes: []Node{{ID: 1, Address: "a"}, {ID: 2, Address: "b"}, {ID: 3, Address: ""}, {ID: 4, Address: "learner"}, {ID: 1 << 40, Address: "far"}},
	}
	systems := Membership{
		Mode:      SeveralLeadersPerTerm,
		Transient: true,
		Configs: []VoterConfig{
			{Voters: []NodeID{1, 2, 3, 4}, Quorum: QuorumSystem{Kind: QuorumFlexible, Election: 3, Write: 2}},
			{Voters: []NodeID{1, 2, 3}, Quorum: QuorumSystem{Kind: QuorumWeighted, Election: 300, Write: 301, Weights: []uint32{200, 0, 400}}},
			{Voters: []NodeID{1, 2, 3, 4}, Quorum: QuorumSystem{Kind: QuorumHierarchical, Election: 2, Write: 1, Groups: []QuorumGroup{
				{Voters: []NodeID{1, 3}, Election: 1, Write: 2}, {Voters: []NodeID{2, 4}, Election: 2, Write: 1},
			}}},
		},
		Nodes: []Node{{ID: 1, Priority: 7}, {ID: 2, Witness: true}, {ID: 3}, {ID: 4, Address: "d", Incarnation: Incarnation{1, 2, 15: 3}}, {ID: 5, Promote: true}},
	}
	leaving := Membership{
		Mode:      SeveralLeadersPerTerm,
		Transient: true,
		Configs:   []VoterConfig{MajorityConfig(1, 2, 3), MajorityConfig(2, 3, 4)},
		Nodes: []Node{
			{ID: 1, Address: "a", Priority: 255, Leaving: true}, {ID: 2, Address: "b", Witness: true}, {ID: 3, Address: "c"},
			{ID: 4, Address: "d"}, {ID: 5, Address: "e", Witness: true, Promote: true}, {ID: 6, Leaving: true, Promote: true},
		},
	}
	return []named[Membership]{{"three voters", three}, {"joint with a learner", joint}, {"quorum systems", systems}, {"transient", leaving}}
}

func sampleHandshakes() []named[Handshake] {
	incarnation := Incarnation{0xf0, 0xf1, 0xf2, 0xf3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	longest := "a cluster id of the greatest length is sixty-four bytes, as here"
	return []named[Handshake]{
		{"hello", Handshake{HandshakeHello, RolePeer, LaneAppend, 1, 2, incarnation, "demo", "10.0.0.1:7000"}},
		{"accepted", Handshake{HandshakeAccepted, RolePeer, LaneControl, 2, 1, incarnation, "demo", ""}},
		{"snapshot lane", Handshake{HandshakeHello, RolePeer, LaneSnapshot, 3, 1, incarnation, "demo", "10.0.0.3:7000"}},
		{"wrong cluster", Handshake{HandshakeWrongCluster, RolePeer, LaneControl, 2, 1, Incarnation{}, longest, strings.Repeat("a", AddressBytesMax)}},
	}
}
