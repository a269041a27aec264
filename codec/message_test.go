package codec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
)

// remessage writes the header checksum that b's bytes call for.
func remessage(b []byte) []byte {
	binary.LittleEndian.PutUint32(b[80:], Checksum(b[:80]))
	return b
}

func TestMessageRoundTrip(t *testing.T) {
	for _, s := range sampleMessages(t) {
		b := wire(&s.value)
		p, n, err := ReadMessage(append(bytes.Clone(b), "after"...), len(b))
		if err != nil || n != len(b) || p.Node != 0 || p.Message != s.value.Message || !bytes.Equal(p.Body(), s.value.Body()) {
			t.Errorf("%s: read %+v, %d bytes, %v; want %+v", s.name, p.Message, n, err, s.value.Message)
		}
		if p.Frame.IsZero() != s.value.Frame.IsZero() || p.Data.IsZero() != s.value.Data.IsZero() {
			t.Errorf("%s: read frame %v, data %v; want %v, %v", s.name, !p.Frame.IsZero(), !p.Data.IsZero(), !s.value.Frame.IsZero(), !s.value.Data.IsZero())
		}
		if size, err := MessageSize(b, len(b)); err != nil || size != len(b) {
			t.Errorf("%s: MessageSize: %d, %v; want %d", s.name, size, err, len(b))
		}
		if before := AppendMessage([]byte("before"), &s.value.Message, len(s.value.Body())); !bytes.Equal(before, append([]byte("before"), b[:MessageHeaderSize]...)) {
			t.Errorf("%s: appended behind other bytes it is %x, want %x", s.name, before, b[:MessageHeaderSize])
		}
	}
}

// Every kind, verdict and form of body is among the samples, so that what holds for them holds for all.
func TestSamplesAreComplete(t *testing.T) {
	kinds, frames, data := map[string]bool{}, 0, map[MessageKind]bool{}
	for _, s := range sampleMessages(t) {
		kinds[fmt.Sprint(s.value.Message.Kind, " ", s.value.Message.Status)] = true
		if !s.value.Frame.IsZero() {
			frames++
		}
		if !s.value.Data.IsZero() {
			data[s.value.Message.Kind] = true
		}
	}
	for kind, statuses := range statusesByKind {
		for status := range strings.FieldsSeq(statuses) {
			// The answer to a heartbeat that asks for more than "yes" has the form of the answer to an append.
			if name := kind.String() + " " + status; !kinds[name] && kind != MessageHeartbeatReply {
				t.Errorf("no sample of %q", name)
			}
		}
	}
	if frames == 0 || len(data) != 3 {
		t.Errorf("%d samples with a frame, data in %v; want some, and three kinds", frames, data)
	}
}

func TestMessageWithFrame(t *testing.T) {
	want, frame, b := sampleAppend(t)
	p, n, err := ReadMessage(append(bytes.Clone(b), "after"...), len(b))
	if err != nil || n != len(b) || p.Message != want || !bytes.Equal(p.Frame.Bytes(), frame.Bytes()) {
		t.Fatalf("read %+v, %d bytes, %v; want %+v, %d bytes", p.Message, n, err, want, len(b))
	}
}

func TestMessageWithData(t *testing.T) {
	want, b := sampleSnapshot()
	stream := append(bytes.Clone(b), "what follows"...)
	p, n, err := ReadMessage(stream, len(b))
	if err != nil || n != len(b) || p.Message != want.Message || !p.Frame.IsZero() || string(p.Data.Payload()) != "thirty bytes of some snapshot." {
		t.Fatalf("read %+v with %q, %d bytes, %v; want %+v", p.Message, p.Data.Payload(), n, err, want.Message)
	}
	if &p.Data.Bytes()[0] != &stream[MessageHeaderSize] || cap(p.Data.Bytes()) != len(want.Data.Bytes()) {
		t.Errorf("the data does not alias its source, or could grow into what follows: %d bytes of %d", len(p.Data.Bytes()), cap(p.Data.Bytes()))
	}
}

// An append to a witness carries the frame without its entries.
func TestMessageWithHeaderFrame(t *testing.T) {
	want, full, _ := sampleAppend(t)
	frame := HeaderFrame(full.Meta())
	b := append(AppendMessage(nil, &want, len(frame.Bytes())), frame.Bytes()...)
	p, n, err := ReadMessage(b, len(b))
	if err != nil || n != MessageHeaderSize+FrameHeaderSize || p.Message != want || p.Frame.Meta() != frame.Meta() || !p.Frame.Meta().HeaderOnly {
		t.Fatalf("read %+v with %+v, %d bytes, %v; want %+v with %+v", p.Message, p.Frame.Meta(), n, err, want, frame.Meta())
	}
}

// Cut at any byte every kind of message is short and nothing else.
func TestReadMessageShort(t *testing.T) {
	for _, s := range sampleMessages(t) {
		b := wire(&s.value)
		for n := range b {
			if p, size, err := ReadMessage(b[:n], 1<<20); err != ErrShort || size != 0 || p.Body() != nil {
				t.Fatalf("%s: first %d of %d bytes: %v, want ErrShort", s.name, n, len(b), err)
			}
		}
	}
}

func TestReadMessageRefuses(t *testing.T) {
	le := binary.LittleEndian
	const limit = 1 << 20
	cases := []struct {
		name   string
		limit  int
		change func(b []byte) []byte
		want   error
	}{
		{"unknown version", limit, func(b []byte) []byte { b[4] = 2; return b }, ErrVersion},
		{"kind zero", limit, func(b []byte) []byte { b[5] = 0; return remessage(b) }, ErrCorrupt},
		{"unknown kind", limit, func(b []byte) []byte { b[5] = byte(MessageKindEnd); return remessage(b) }, ErrCorrupt},
		{"huge size", limit, func(b []byte) []byte { le.PutUint32(b, math.MaxUint32); return b }, ErrTooLarge},
		{"size above the limit", 300, func(b []byte) []byte { return b }, ErrTooLarge},
		{"limit below zero", -1, func(b []byte) []byte { return b }, ErrTooLarge},
		{"size below the header's", limit, func(b []byte) []byte { le.PutUint32(b, MessageHeaderSize-1); return b }, ErrCorrupt},
		{"size that cuts the frame", limit, func(b []byte) []byte { le.PutUint32(b, uint32(len(b)-1)); return remessage(b) }, ErrCorrupt},
		{"size beyond the frame", limit, func(b []byte) []byte {
			b = append(b, 0)
			le.PutUint32(b, uint32(len(b)))
			return remessage(b)
		}, ErrCorrupt},
		{"damaged size, frame not there yet", limit, func(b []byte) []byte {
			le.PutUint32(b, limit)
			return b[:MessageHeaderSize]
		}, ErrCorrupt},
		{"room for a frame in a heartbeat", limit, func(b []byte) []byte { b[5] = byte(MessageHeartbeat); return remessage(b) }, ErrCorrupt},
		{"checksum", limit, func(b []byte) []byte { b[70]++; return b }, ErrCorrupt},
		{"unknown flag", limit, func(b []byte) []byte { b[7] |= 1 << 6; return remessage(b) }, ErrCorrupt},
		{"wish for a snapshot in an append", limit, func(b []byte) []byte { b[7] |= flagWantSnapshot; return remessage(b) }, ErrCorrupt},
		{"frame where data belongs", limit, func(b []byte) []byte { b[5] = byte(MessageSnapshot); return remessage(b) }, ErrCorrupt},
		{"pre-vote flag in an append", limit, func(b []byte) []byte { b[7] |= flagPreVote; return remessage(b) }, ErrCorrupt},
		{"unknown vote mode", limit, func(b []byte) []byte { b[7] |= 3 << flagModeShift; return remessage(b) }, ErrCorrupt},
		{"room for a frame in a transfer", limit, func(b []byte) []byte { b[5] = byte(MessageTransfer); return remessage(b) }, ErrCorrupt},
		{"reserved word", limit, func(b []byte) []byte { b[87] = 1; return b }, ErrCorrupt},
		{"status in a request", limit, func(b []byte) []byte { b[6] = byte(StatusOK); return remessage(b) }, ErrCorrupt},
		{"frame of another group", limit, func(b []byte) []byte { b[8]++; return remessage(b) }, ErrCorrupt},
		{"frame after a gap", limit, func(b []byte) []byte { b[48]++; return remessage(b) }, ErrCorrupt},
		{"log id at the greatest index", limit, func(b []byte) []byte { le.PutUint64(b[48:], math.MaxUint64); return remessage(b) }, ErrCorrupt},
		{"frame of unknown version", limit, func(b []byte) []byte { b[MessageHeaderSize] = 9; return b }, ErrVersion},
		{"damaged frame", limit, func(b []byte) []byte { b[len(b)-1]++; return b }, ErrCorrupt},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, _, b := sampleAppend(t)
			p, n, err := ReadMessage(c.change(b), c.limit)
			if !errors.Is(err, c.want) || n != 0 || p.Body() != nil {
				t.Errorf("ReadMessage: %d bytes, %v; want %v and nothing read", n, err, c.want)
			}
		})
	}
}

// The same for a message whose body is data.
func TestReadMessageWithDataRefuses(t *testing.T) {
	le := binary.LittleEndian
	const limit = 1 << 20
	resize := func(b []byte, size int) []byte { le.PutUint32(b, uint32(size)); return remessage(b) }
	for _, c := range []struct {
		name   string
		limit  int
		change func(b []byte) []byte
		want   error
	}{
		{"damaged checksum", limit, func(b []byte) []byte { b[MessageHeaderSize]++; return b }, ErrCorrupt},
		{"damaged payload", limit, func(b []byte) []byte { b[len(b)-1]++; return b }, ErrCorrupt},
		{"size that cuts the data", limit, func(b []byte) []byte { return resize(b, len(b)-1) }, ErrCorrupt},
		{"size beyond the data", limit, func(b []byte) []byte { return resize(append(b, 0), len(b)+1) }, ErrCorrupt},
		{"no payload", limit, func(b []byte) []byte { return resize(b, MessageHeaderSize+DataHeaderSize) }, ErrCorrupt},
		{"half a checksum", limit, func(b []byte) []byte { return resize(b, MessageHeaderSize+2) }, ErrCorrupt},
		{"no data in a snapshot", limit, func(b []byte) []byte { return resize(b, MessageHeaderSize) }, ErrCorrupt},
		{"no data in a forward", limit, func(b []byte) []byte {
			b[5] = byte(MessageForward)
			return resize(b, MessageHeaderSize)
		}, ErrCorrupt},
		{"data in a read", limit, func(b []byte) []byte { b[5] = byte(MessageRead); return remessage(b) }, ErrCorrupt},
		{"data in the answer to a snapshot", limit, func(b []byte) []byte {
			b[5], b[6] = byte(MessageSnapshotReply), byte(StatusOK)
			return remessage(b)
		}, ErrCorrupt},
		{"data where a frame belongs, too short for one", limit, func(b []byte) []byte { b[5] = byte(MessageAppend); return remessage(b) }, ErrCorrupt},
		{"above the limit", MessageHeaderSize + DataHeaderSize + 29, func(b []byte) []byte { return b }, ErrTooLarge},
		{"far above the limit, nothing of it there yet", limit, func(b []byte) []byte {
			return resize(b, limit+1)[:MessageHeaderSize]
		}, ErrTooLarge},
		{"damaged size, data not there yet", limit, func(b []byte) []byte {
			le.PutUint32(b, limit)
			return b[:MessageHeaderSize]
		}, ErrCorrupt},
	} {
		_, b := sampleSnapshot()
		p, n, err := ReadMessage(c.change(b), c.limit)
		if !errors.Is(err, c.want) || n != 0 || p.Body() != nil || p.Message != (Message{}) {
			t.Errorf("%s: read %+v, %d bytes, %v; want %v and nothing read", c.name, p.Message, n, err, c.want)
		}
	}
}

// takesBody reports whether a message of that kind may have no body, a frame, data, as the comment of Message says.
func takesBody(kind MessageKind) (none, frame, data bool) {
	switch kind {
	case MessageAppend:
		return true, true, false
	case MessageSnapshot, MessageForward:
		return false, false, true
	case MessageForwardReply:
		return true, false, true
	}
	return true, false, false
}

// TestBodyByKind: which kind may be followed by what, for the writer and for the reader alike.
func TestBodyByKind(t *testing.T) {
	for kind := MessageVote; kind < MessageKindEnd; kind++ {
		none, frame, data := takesBody(kind)
		for size := range FrameHeaderSize + 2 {
			want := size == 0 && none || size >= FrameHeaderSize && frame || size > DataHeaderSize && data
			m := Message{Kind: kind, Status: firstStatus(kind)}
			var b []byte
			if want {
				b = AppendMessage(nil, &m, size)
			} else {
				mustPanic(t, fmt.Sprintf("%v with a body of %d bytes", kind, size), func() { AppendMessage(nil, &m, size) })
				b = binary.LittleEndian.AppendUint32(nil, uint32(MessageHeaderSize+size))
				b = append(b, MessageVersion, byte(kind))
			}
			if got, err := MessageSize(b, 1<<20); (err == nil) != want || want && got != MessageHeaderSize+size || !want && !errors.Is(err, ErrCorrupt) {
				t.Errorf("%v with a body of %d bytes: size %d, %v; want accepted: %v", kind, size, got, err, want)
			}
		}
		mustPanic(t, fmt.Sprintf("%v with a body of -1 bytes", kind), func() { AppendMessage(nil, &Message{Kind: kind, Status: firstStatus(kind)}, -1) })
	}
}

// statusesByKind says which verdicts may stand in which kind.
var statusesByKind = map[MessageKind]string{
	MessageVote:           "none",
	MessageVoteReply:      "ok refused",
	MessageAppend:         "none",
	MessageAppendReply:    "ok conflict refused",
	MessageHeartbeat:      "none",
	MessageHeartbeatReply: "ok conflict refused",
	MessageTransfer:       "none",
	MessageTransferReply:  "refused",
	MessageSnapshot:       "none",
	MessageSnapshotReply:  "ok refused",
	MessageRead:           "none",
	MessageReadReply:      "ok refused",
	MessageForward:        "none",
	MessageForwardReply:   "ok refused",
}

// firstStatus returns a verdict that may stand in the kind.
func firstStatus(kind MessageKind) Status {
	for status := StatusNone; status <= StatusRefused; status++ {
		if strings.Contains(statusesByKind[kind], status.String()) {
			return status
		}
	}
	return StatusNone
}

// sampleOf returns the smallest message of a kind, with the data that the kind can't be without.
func sampleOf(m Message) Packet {
	p := Packet{Message: m}
	if none, _, _ := takesBody(m.Kind); !none {
		p.Data = sampleData("x")
	}
	return p
}

// TestStatusByKind: which verdict may stand in which kind, for the writer and for the reader alike.
func TestStatusByKind(t *testing.T) {
	for kind := range MessageKindEnd + 1 {
		for status := range StatusRefused + 2 {
			want := strings.Contains(statusesByKind[kind], status.String())
			p := sampleOf(Message{Kind: kind, Status: status})
			body := p.Body()
			b := append(AppendMessage(nil, &Message{Kind: MessageVote}, 0), body...)
			binary.LittleEndian.PutUint32(b, uint32(len(b)))
			b[5], b[6] = byte(kind), byte(status)
			_, _, err := ReadMessage(remessage(b), len(b))
			if (err == nil) != want {
				t.Errorf("%v with status %v: read with %v, want accepted: %v", kind, status, err, want)
			}
			if want {
				AppendMessage(nil, &p.Message, len(body))
			} else {
				mustPanic(t, kind.String()+" with status "+status.String(), func() { AppendMessage(nil, &p.Message, len(body)) })
			}
		}
	}
}

// flagsByKind says which of the flags that only some kinds know may stand in which. Pre-vote belongs to vote requests and
// their answers, transfer to requests alone and not to one that only asks.
var flagsByKind = map[MessageKind]byte{
	MessageVote:           flagPreVote | flagTransfer,
	MessageVoteReply:      flagPreVote,
	MessageHeartbeatReply: flagWantSnapshot,
}

// TestFlagsByKind: the same for the flags.
func TestFlagsByKind(t *testing.T) {
	for kind := MessageVote; kind < MessageKindEnd; kind++ {
		plain := sampleOf(Message{Kind: kind, Status: firstStatus(kind)})
		for flags := range 256 {
			p := plain
			m := &p.Message
			m.Vote.Committed, m.PreVote, m.Transfer = flags&flagVoteCommitted != 0, flags&flagPreVote != 0, flags&flagTransfer != 0
			m.Mode, m.WantSnapshot = VoteMode(flags>>flagModeShift&modeMask), flags&flagWantSnapshot != 0
			special := byte(flags) & (flagPreVote | flagTransfer | flagWantSnapshot)
			want := flags <= flagsKnown && m.Mode <= OneLeaderPerTerm && special&^flagsByKind[kind] == 0 && !(m.PreVote && m.Transfer)
			b := wire(&plain)
			b[7] = byte(flags)
			got, _, err := ReadMessage(remessage(b), len(b))
			if (err == nil) != want || want && got.Message != *m {
				t.Errorf("%v with flags %02x: read %+v, %v; want accepted: %v", kind, flags, got.Message, err, want)
			}
			switch {
			case want && !bytes.Equal(wire(&p), b):
				t.Errorf("%v: written as %x, want %x", kind, wire(&p), b)
			case !want && flags <= flagsKnown:
				mustPanic(t, fmt.Sprintf("%v with flags %02x", kind, flags), func() { wire(&p) })
			}
		}
	}
	mustPanic(t, "vote mode 4", func() { AppendMessage(nil, &Message{Kind: MessageVote, Mode: 4}, 0) })
}

// TestLaneByKind: a request and its answer travel on the same lane, and nothing large on that of the heartbeats.
func TestLaneByKind(t *testing.T) {
	want := map[MessageKind]Lane{
		MessageVote: LaneControl, MessageVoteReply: LaneControl, MessageHeartbeat: LaneControl, MessageHeartbeatReply: LaneControl,
		MessageTransfer: LaneControl, MessageTransferReply: LaneControl, MessageRead: LaneControl, MessageReadReply: LaneControl,
		MessageAppend: LaneAppend, MessageAppendReply: LaneAppend, MessageForward: LaneAppend, MessageForwardReply: LaneAppend,
		MessageSnapshot: LaneSnapshot, MessageSnapshotReply: LaneSnapshot,
	}
	for kind := MessageVote; kind < MessageKindEnd; kind++ {
		if kind.Lane() != want[kind] {
			t.Errorf("%v travels on the %v lane, want %v", kind, kind.Lane(), want[kind])
		}
		if _, frame, data := takesBody(kind); kind.Lane() == LaneControl && (frame || data) {
			t.Errorf("%v has a body and travels on the %v lane", kind, LaneControl)
		}
	}
}

func TestMessageNames(t *testing.T) {
	for kind, want := range map[MessageKind]string{
		0: "MessageKind(0)", MessageVote: "vote", MessageVoteReply: "vote-reply", MessageAppend: "append",
		MessageAppendReply: "append-reply", MessageHeartbeat: "heartbeat", MessageHeartbeatReply: "heartbeat-reply",
		MessageTransfer: "transfer", MessageTransferReply: "transfer-reply", MessageSnapshot: "snapshot",
		MessageSnapshotReply: "snapshot-reply", MessageRead: "read", MessageReadReply: "read-reply",
		MessageForward: "forward", MessageForwardReply: "forward-reply", MessageKindEnd: "MessageKind(15)",
	} {
		if kind.String() != want {
			t.Errorf("kind %d prints as %q, want %q", uint8(kind), kind, want)
		}
	}
	for status, want := range map[Status]string{
		StatusNone: "none", StatusOK: "ok", StatusConflict: "conflict", StatusRefused: "refused", 4: "Status(4)",
	} {
		if status.String() != want {
			t.Errorf("status %d prints as %q, want %q", uint8(status), status, want)
		}
	}
}
