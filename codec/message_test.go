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
	for _, s := range sampleMessages() {
		b := AppendMessage([]byte("before"), &s.value, 0)[len("before"):]
		p, n, err := ReadMessage(append(b, "after"...), MessageHeaderSize)
		if err != nil || n != MessageHeaderSize || p.Body() != nil || p.Message != s.value {
			t.Errorf("%s: read %+v, %d bytes, %v; want %+v", s.name, p.Message, n, err, s.value)
		}
	}
}

func TestMessageWithFrame(t *testing.T) {
	want, frame, b := sampleAppend(t)
	p, n, err := ReadMessage(append(bytes.Clone(b), "after"...), len(b))
	if err != nil || n != len(b) || p.Message != want || !bytes.Equal(p.Frame.Bytes(), frame.Bytes()) {
		t.Fatalf("read %+v, %d bytes, %v; want %+v, %d bytes", p.Message, n, err, want, len(b))
	}
	if size, err := MessageSize(b, len(b)); err != nil || size != len(b) {
		t.Errorf("MessageSize: %d, %v; want %d", size, err, len(b))
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

func TestReadMessageShort(t *testing.T) {
	_, _, b := sampleAppend(t)
	for n := range b {
		if _, _, err := ReadMessage(b[:n], 1<<20); err != ErrShort {
			t.Fatalf("first %d of %d bytes: %v, want ErrShort", n, len(b), err)
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
		{"unknown flag", limit, func(b []byte) []byte { b[7] |= 1 << 5; return remessage(b) }, ErrCorrupt},
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

// TestStatusByKind: which verdict may stand in which kind, for the writer and for the reader alike.
func TestStatusByKind(t *testing.T) {
	allowed := map[MessageKind]string{
		MessageVote:           "none",
		MessageVoteReply:      "ok refused",
		MessageAppend:         "none",
		MessageAppendReply:    "ok conflict refused",
		MessageHeartbeat:      "none",
		MessageHeartbeatReply: "ok conflict refused",
		MessageTransfer:       "none",
		MessageTransferReply:  "refused",
	}
	for kind := range MessageKindEnd + 1 {
		for status := range StatusRefused + 2 {
			want := bytes.Contains([]byte(allowed[kind]), []byte(status.String()))
			m := Message{Kind: kind, Status: status}
			b := AppendMessage(nil, &Message{Kind: MessageVote}, 0)
			b[5], b[6] = byte(kind), byte(status)
			_, _, err := ReadMessage(remessage(b), MessageHeaderSize)
			if (err == nil) != want {
				t.Errorf("%v with status %v: read with %v, want accepted: %v", kind, status, err, want)
			}
			if want {
				AppendMessage(nil, &m, 0)
			} else {
				mustPanic(t, kind.String()+" with status "+status.String(), func() { AppendMessage(nil, &m, 0) })
			}
		}
	}
	mustPanic(t, "frame in a heartbeat", func() { AppendMessage(nil, &Message{Kind: MessageHeartbeat}, FrameHeaderSize+1) })
	mustPanic(t, "frame below its header", func() { AppendMessage(nil, &Message{Kind: MessageAppend}, FrameHeaderSize-1) })
}

// TestFlagsByKind: which flags may stand in which kind, for the writer and for the reader alike. Pre-vote belongs to vote
// requests and their answers, transfer to requests alone and not to one that only asks.
func TestFlagsByKind(t *testing.T) {
	status := map[MessageKind]Status{
		MessageVoteReply: StatusOK, MessageAppendReply: StatusOK, MessageHeartbeatReply: StatusOK, MessageTransferReply: StatusRefused,
	}
	allowed := map[MessageKind]string{MessageVote: "pre-vote transfer", MessageVoteReply: "pre-vote"}
	for kind := MessageVote; kind < MessageKindEnd; kind++ {
		for flags := range 256 {
			m := Message{
				Kind: kind, Status: status[kind], Vote: Vote{Committed: flags&1 != 0},
				PreVote: flags&2 != 0, Transfer: flags&4 != 0, Mode: VoteMode(flags >> 3 & 3),
			}
			want := flags < 32 && m.Mode <= OneLeaderPerTerm && !(m.PreVote && m.Transfer) &&
				(!m.PreVote || strings.Contains(allowed[kind], "pre-vote")) && (!m.Transfer || strings.Contains(allowed[kind], "transfer"))
			b := AppendMessage(nil, &Message{Kind: kind, Status: status[kind]}, 0)
			b[7] = byte(flags)
			got, _, err := ReadMessage(remessage(b), MessageHeaderSize)
			if (err == nil) != want || want && got.Message != m {
				t.Errorf("%v with flags %02x: read %+v, %v; want accepted: %v", kind, flags, got.Message, err, want)
			}
			switch {
			case want && !bytes.Equal(AppendMessage(nil, &m, 0), b):
				t.Errorf("%v: written as %x, want %x", kind, AppendMessage(nil, &m, 0), b)
			case !want && flags < 32:
				mustPanic(t, fmt.Sprintf("%v with flags %02x", kind, flags), func() { AppendMessage(nil, &m, 0) })
			}
		}
	}
	mustPanic(t, "vote mode 4", func() { AppendMessage(nil, &Message{Kind: MessageVote, Mode: 4}, 0) })
}

func TestMessageNames(t *testing.T) {
	for kind, want := range map[MessageKind]string{
		0: "MessageKind(0)", MessageVote: "vote", MessageVoteReply: "vote-reply", MessageAppend: "append",
		MessageAppendReply: "append-reply", MessageHeartbeat: "heartbeat", MessageHeartbeatReply: "heartbeat-reply",
		MessageTransfer: "transfer", MessageTransferReply: "transfer-reply", MessageKindEnd: "MessageKind(9)",
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
