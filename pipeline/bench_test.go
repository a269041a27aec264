package pipeline

import (
	"fmt"
	"testing"
	"unsafe"

	"github.com/millrace/millrace/codec"
)

// BenchmarkBatch takes a batch of entries of 128 bytes through the intake and makes a frame of it, per entry.
func BenchmarkBatch(b *testing.B) {
	for _, entries := range []int{1, 64, 1024} {
		b.Run(fmt.Sprintf("entries=%d", entries), func(b *testing.B) {
			in := newTestIntake(b, IntakeConfig{})
			data, results := make([]byte, 128), make([]Result, entries)
			fn := func(Result, error) {}
			first := codec.Index(1)
			var batches []*Batch
			b.ReportAllocs()
			for n := 1; b.Loop(); n++ {
				if err := in.ProposeAsync(data, fn); err != nil {
					b.Fatal(err)
				}
				if n%entries > 0 {
					continue
				}
				batches = in.Take(batches[:0])
				if _, err := batches[0].Seal(1, codec.LeaderID{Term: 1, Node: 1}, first, codec.CompressionNone); err != nil {
					b.Fatal(err)
				}
				batches[0].Answer(results)
				first += codec.Index(entries)
			}
		})
	}
}

// counting is a state machine that does nothing else.
type counting struct{ entries int }

func (c *counting) Apply(entries []Entry, _ []Result) error {
	c.entries += len(entries)
	return nil
}

// BenchmarkApply hands frames of entries of 128 bytes to a state machine that does nothing, one by one.
func BenchmarkApply(b *testing.B) {
	for _, entries := range []int{1, 64, 1024} {
		b.Run(fmt.Sprintf("entries=%d", entries), func(b *testing.B) {
			sm := &counting{}
			a, err := NewApplier(sm, ApplierStart{Manual: true}, ApplierEvents{})
			if err != nil {
				b.Fatal(err)
			}
			text := make([]string, entries)
			for i := range text {
				text[i] = string(make([]byte, 128))
			}
			f := testFrame(b, 1, 1, text...)
			b.ReportAllocs()
			frames := 0
			for b.Loop() {
				a.Push(f, nil)
				for a.Pump() {
				}
				frames++
			}
			if sm.entries != frames*entries {
				b.Fatalf("%d entries applied of %d frames of %d", sm.entries, frames, entries)
			}
			a.Close()
		})
	}
}

// count is a transport that counts packets.
type count struct {
	Transport
	packets int
}

func (c *count) Send(_ codec.Lane, packets []codec.Packet) { c.packets += len(packets) }

// BenchmarkStream sends one frame, which is in memory, to two peers.
func BenchmarkStream(b *testing.B) {
	f := testFrame(b, 1, 1, "entry")
	net := &count{}
	s := NewStreamStage(&fakeLog{hot: map[codec.Index]codec.Frame{1: f}}, net, nil)
	b.ReportAllocs()
	frames := 0
	for b.Loop() {
		for peer := codec.NodeID(2); peer <= 3; peer++ {
			s.Send(codec.LaneAppend, codec.Packet{Node: peer}, f.Meta())
		}
		s.Flush()
		frames++
	}
	if net.packets != 2*frames {
		b.Fatalf("%d packets of %d frames to two peers", net.packets, frames)
	}
}

// BenchmarkCommitStage hands a write to the log and releases the acknowledgement that waits for it.
func BenchmarkCommitStage(b *testing.B) {
	log := &fakeLog{}
	s := NewCommitStage(log)
	f := testFrame(b, 1, 1, "entry")
	released := 0
	send := func(codec.Lane, codec.Packet) { released++ }
	b.ReportAllocs()
	seq := uint64(0)
	for b.Loop() {
		seq++
		log.writes = log.writes[:0]
		s.Submit(&codec.LogWrite{Seq: seq, Frame: f})
		s.Hold(codec.LaneAppend, ack(2, 1, 1))
		s.Flushed(seq)
		s.Release(send)
	}
	if released != int(seq) {
		b.Fatalf("%d of %d acknowledgements released", released, seq)
	}
}

// TestCallFillsTwoCacheLines: a third one costs each put a trip between the caller's core and the answering one's.
func TestCallFillsTwoCacheLines(t *testing.T) {
	if size := unsafe.Sizeof(call{}); size > 128 {
		t.Errorf("a call has %d bytes, want at most 128", size)
	}
}
