package pipeline

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/millrace/millrace/codec"
)

// fakeLog is a group's log in memory whose frames can be made cold.
type fakeLog struct {
	writes []codec.LogWrite
	hot    map[codec.Index]codec.Frame
	cold   map[codec.Index]codec.Frame
	reads  []func() // pending answers of ReadFrame
}

func (l *fakeLog) Submit(w *codec.LogWrite) { l.writes = append(l.writes, *w) }

func (l *fakeLog) Frame(i codec.Index) (codec.Frame, bool) {
	f, ok := l.hot[i]
	return f, ok
}

func (l *fakeLog) ReadFrame(i codec.Index, done func(codec.Frame, error)) {
	l.reads = append(l.reads, func() {
		if f, ok := l.cold[i]; ok {
			done(f, nil)
		} else {
			done(codec.Frame{}, errors.New("not in the log"))
		}
	})
}

func testFrame(t testing.TB, term codec.Term, first codec.Index, entries ...string) codec.Frame {
	t.Helper()
	buf := make([]byte, codec.FrameHeaderSize)
	for _, e := range entries {
		buf = codec.AppendEntry(buf, []byte(e))
	}
	f, err := codec.SealFrame(buf, codec.FrameMeta{
		Group: 1, Leader: codec.LeaderID{Term: term, Node: 1}, First: first, Count: uint32(len(entries)), Kind: codec.EntryNormal,
	}, codec.CompressionNone)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func ack(to codec.NodeID, stream uint64, index codec.Index) codec.Packet {
	return codec.Packet{Node: to, Message: codec.Message{
		Kind: codec.MessageAppendReply, Status: codec.StatusOK, Stream: stream, Log: codec.LogID{Index: index},
	}}
}

func TestPromisesWaitForTheirFlush(t *testing.T) {
	log := &fakeLog{}
	s := NewCommitStage(log)
	var sent []string
	release := func() string {
		sent = sent[:0]
		s.Release(func(_ codec.Lane, p codec.Packet) {
			sent = append(sent, fmt.Sprintf("%v to %d at %d", p.Message.Kind, p.Node, p.Message.Log.Index))
		})
		return fmt.Sprint(sent)
	}
	grant := codec.Packet{Node: 3, Message: codec.Message{Kind: codec.MessageVoteReply, Status: codec.StatusOK}}

	s.Hold(codec.LaneAppend, ack(2, 1, 4))
	if got := release(); got != "[append-reply to 2 at 4]" {
		t.Fatalf("with nothing submitted %s was sent", got)
	}
	s.Submit(&codec.LogWrite{Seq: 1})
	s.Hold(codec.LaneAppend, ack(2, 1, 5))
	s.Submit(&codec.LogWrite{Seq: 2})
	s.Hold(codec.LaneAppend, ack(2, 1, 6))
	s.Hold(codec.LaneControl, grant)
	s.Submit(&codec.LogWrite{Seq: 3})
	s.Hold(codec.LaneAppend, ack(2, 1, 7))
	if got := release(); got != "[]" {
		t.Fatalf("before any flush %s was sent", got)
	}
	s.Flushed(2)
	if got := release(); got != "[append-reply to 2 at 6 vote-reply to 3 at 0]" {
		t.Fatalf("after the flush of 2 %s was sent, want the newest ack and the grant", got)
	}
	s.Flushed(1) // a late report changes nothing
	if got := release(); got != "[]" {
		t.Fatalf("after a late report %s was sent", got)
	}
	s.Flushed(3)
	if got := release(); got != "[append-reply to 2 at 7]" {
		t.Fatalf("at last %s was sent", got)
	}
	if len(log.writes) != 3 {
		t.Fatalf("the log got %d writes", len(log.writes))
	}
}

func TestOnlyAnswersOfOneStreamCoalesce(t *testing.T) {
	s := NewCommitStage(&fakeLog{})
	conflict := ack(2, 1, 9)
	conflict.Message.Status = codec.StatusConflict
	otherVote := ack(2, 1, 12)
	otherVote.Message.Vote.Leader.Term = 7
	for _, p := range []codec.Packet{ack(2, 1, 5), ack(3, 1, 5), ack(2, 2, 6), ack(2, 2, 7), conflict, ack(2, 1, 11), otherVote} {
		s.Hold(codec.LaneAppend, p)
	}
	var got []string
	s.Release(func(_ codec.Lane, p codec.Packet) {
		got = append(got, fmt.Sprintf("%d:%d:%d", p.Node, p.Message.Stream, p.Message.Log.Index))
	})
	want := []string{"2:1:5", "3:1:5", "2:2:7", "2:1:9", "2:1:11", "2:1:12"}
	if !slices.Equal(got, want) {
		t.Fatalf("sent %v, want %v", got, want)
	}
}
