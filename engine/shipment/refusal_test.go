package shipment

import (
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/wal/vfs"
)

func TestWitnessTakesTheBaseAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLink(t)
		r := NewReceiver(ReceiverConfig{
			QueueBytesMax: 1 << 20, Send: l.up, Logger: slog.New(slog.DiscardHandler), Complete: func(a Arrival) { l.done <- a },
		})
		l.receiver = r
		cfg := senderConfig(l, codec.SnapshotID{Log: atStep})
		cfg.Base = &codec.LogBase{ID: atStep}
		s := l.start(cfg)
		if a := <-l.done; a.Base.ID != atStep || a.Peer != leader {
			t.Fatalf("arrived: %+v", a)
		}
		s.end()
		from := openSide(t, vfs.NewMem())
		info, _ := from.take(t, atStep, 100, 1)
		s = l.send(from, info, nil) // a state
		if err := <-l.ended; !errors.Is(err, ErrRefused) {
			t.Fatalf("a witness was sent a state: ended with %v, want %v", err, ErrRefused)
		}
		s.Wait()
		r.Close()

		r = l.receive(openSide(t, vfs.NewMem()), 1<<20) // no witness
		s = l.start(cfg)
		if err := <-l.ended; !errors.Is(err, ErrRefused) {
			t.Fatalf("an ordinary node was sent a base: ended with %v, want %v", err, ErrRefused)
		}
		s.Wait()
		r.Close()
	})
}

func TestRefuseAnswersAPiece(t *testing.T) {
	p := codec.Packet{Node: leader, Message: codec.Message{
		Kind: codec.MessageSnapshot, Group: 7, Vote: vote, Log: atStep, Mode: codec.OneLeaderPerTerm, Stream: 5, Stamp: 6,
	}}
	own := codec.Vote{Leader: codec.LeaderID{Term: 9, Node: 3}, Committed: true}
	r := Refuse(&p, own)
	want := codec.Message{
		Kind: codec.MessageSnapshotReply, Status: codec.StatusRefused, Group: 7, Vote: own, Log: atStep, Mode: codec.OneLeaderPerTerm, Stream: 5, Stamp: 6,
	}
	if r.Node != leader || r.Message != want {
		t.Fatalf("refused with %+v to node %d, want %+v", r.Message, r.Node, want)
	}
}
