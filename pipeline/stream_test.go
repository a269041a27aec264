package pipeline

import (
	"fmt"
	"testing"

	"github.com/millrace/millrace/codec"
)

// recorder is a transport that notes what it is given.
type recorder struct {
	Transport
	sent []string
}

func (r *recorder) Send(lane codec.Lane, packets []codec.Packet) {
	for _, p := range packets {
		what := "empty"
		if !p.Frame.IsZero() {
			what = fmt.Sprint(p.Frame.Meta().First)
		}
		r.sent = append(r.sent, fmt.Sprintf("%v>%d:%s", lane, p.Node, what))
	}
}

type streamHarness struct {
	log   *fakeLog
	net   *recorder
	stage *StreamStage
	cold  []ColdFrame
	err   error // of Loaded
}

func newStreamHarness(t *testing.T) *streamHarness {
	h := &streamHarness{net: &recorder{}, log: &fakeLog{hot: map[codec.Index]codec.Frame{}, cold: map[codec.Index]codec.Frame{}}}
	h.stage = NewStreamStage(h.log, h.net, func(c ColdFrame) { h.cold = append(h.cold, c) })
	for i := codec.Index(1); i <= 6; i++ {
		f := testFrame(t, 1, i, "entry")
		h.log.cold[i] = f
		if i > 3 {
			h.log.hot[i] = f
		}
	}
	return h
}

func (h *streamHarness) send(to codec.NodeID, index codec.Index) {
	h.stage.Send(codec.LaneAppend, codec.Packet{Node: to}, h.log.cold[index].Meta())
}

// finishReads answers every pending read and passes the answers on.
func (h *streamHarness) finishReads() {
	reads := h.log.reads
	h.log.reads = nil
	for _, read := range reads {
		read()
	}
	cold := h.cold
	h.cold = nil
	for _, c := range cold {
		if err := h.stage.Loaded(c); err != nil {
			h.err = err
		}
	}
}

func (h *streamHarness) flushed() string {
	h.net.sent = nil
	h.stage.Flush()
	return fmt.Sprint(h.net.sent)
}

func TestLaneKeepsItsOrderBehindColdFrames(t *testing.T) {
	h := newStreamHarness(t)
	h.send(2, 4)
	h.send(2, 2)
	h.send(2, 5)
	h.send(2, 3)
	h.stage.Send(codec.LaneAppend, codec.Packet{Node: 2}, codec.FrameMeta{})
	h.send(3, 6)
	h.stage.Send(codec.LaneControl, codec.Packet{Node: 2}, codec.FrameMeta{})
	if got := h.flushed(); got != "[control>2:empty append>2:4 append>3:6]" {
		t.Fatalf("before the read: %s", got)
	}
	h.finishReads()
	if got := h.flushed(); got != "[append>2:2 append>2:5]" {
		t.Fatalf("after the first read: %s", got)
	}
	h.finishReads()
	if got := h.flushed(); got != "[append>2:3 append>2:empty]" {
		t.Fatalf("after the second read: %s", got)
	}
	h.send(2, 6)
	if got := h.flushed(); got != "[append>2:6]" {
		t.Fatalf("the lane did not become free again: %s", got)
	}
	if n := h.stage.ColdReads(); n != 2 {
		t.Fatalf("%d cold reads, want 2", n)
	}
}

func TestOverwrittenFrameEndsTheStream(t *testing.T) {
	h := newStreamHarness(t)
	meta := h.log.cold[5].Meta()
	h.log.hot[5] = testFrame(t, 2, 5, "another leader's")
	h.stage.Send(codec.LaneAppend, codec.Packet{Node: 2}, meta)
	if lost := h.stage.Lost(nil); len(lost) != 1 || lost[0] != 2 {
		t.Fatalf("lost %v, want peer 2", lost)
	}

	h.send(3, 1)
	h.send(3, 4)
	h.log.cold[1] = testFrame(t, 2, 1, "another leader's")
	h.finishReads()
	if lost := h.stage.Lost(nil); len(lost) != 1 || lost[0] != 3 {
		t.Fatalf("lost %v, want peer 3", lost)
	}
	if got := h.flushed(); got != "[]" {
		t.Fatalf("%s was sent of an ended stream", got)
	}
	h.send(3, 4)
	if got := h.flushed(); got != "[append>3:4]" {
		t.Fatalf("the next stream: %s", got)
	}
}

func TestFailedReadIsAnErrorUnlessTruncated(t *testing.T) {
	h := newStreamHarness(t)
	h.send(2, 1)
	delete(h.log.cold, 1)
	h.finishReads()
	if lost := h.stage.Lost(nil); h.err == nil || len(lost) != 0 || h.flushed() != "[]" {
		t.Fatalf("error %v, lost %v: the log can't give back what it holds, want that error alone", h.err, lost)
	}

	h = newStreamHarness(t)
	h.send(2, 1)
	delete(h.log.cold, 1)
	h.stage.Truncated()
	h.finishReads()
	if lost := h.stage.Lost(nil); h.err != nil || len(lost) != 1 || h.flushed() != "[]" {
		t.Fatalf("error %v, lost %v: a truncation explains it, want peer 2 to begin anew", h.err, lost)
	}
}

func TestAnswersAfterResetAreDropped(t *testing.T) {
	h := newStreamHarness(t)
	h.send(2, 1)
	h.stage.Reset(2)
	h.send(2, 2)
	h.finishReads()
	if got := h.flushed(); got != "[append>2:2]" {
		t.Fatalf("%s was sent, want the new stream alone", got)
	}
}

// TestFrameForWitnessIsItsHeader: a frame for a witness is made from its description, also where the log would have to
// read it, and keeps its place behind a frame that must be read.
func TestFrameForWitnessIsItsHeader(t *testing.T) {
	h := newStreamHarness(t)
	header := h.log.cold[2].Meta()
	header.HeaderOnly, header.Size = true, codec.FrameHeaderSize
	h.stage.Send(codec.LaneAppend, codec.Packet{Node: 2}, header)
	if got := h.flushed(); got != "[append>2:2]" || len(h.log.reads) != 0 {
		t.Fatalf("sent %s after %d reads, want the header of frame 2 at once", got, len(h.log.reads))
	}
	h.send(3, 1)
	h.stage.Send(codec.LaneAppend, codec.Packet{Node: 3}, header)
	if got := h.flushed(); got != "[]" {
		t.Fatalf("sent %s before the frame in front was read", got)
	}
	h.finishReads()
	if got := h.flushed(); got != "[append>3:1 append>3:2]" {
		t.Fatalf("sent %s", got)
	}
	f := codec.HeaderFrame(header)
	if m := f.Meta(); m != header || len(f.Bytes()) != codec.FrameHeaderSize {
		t.Errorf("header frame %+v of %d bytes, want %+v", m, len(f.Bytes()), header)
	}
}

// TestFramePurgedWhileItWaits: what waits behind a frame that is being read may be gone when its turn comes; that ends the
// stream, and is no damage.
func TestFramePurgedWhileItWaits(t *testing.T) {
	h := newStreamHarness(t)
	h.send(2, 1)
	h.send(2, 2)
	delete(h.log.cold, 2)
	h.stage.Truncated()
	h.finishReads()
	h.finishReads()
	if lost := h.stage.Lost(nil); h.err != nil || len(lost) != 1 || lost[0] != 2 {
		t.Errorf("lost %v, error %v; want the stream of node 2, and no error", lost, h.err)
	}
}

func TestDataBehindAColdFrameIsCounted(t *testing.T) {
	h := newStreamHarness(t)
	data := codec.SealData(make([]byte, codec.DataHeaderSize+10))
	send := func(to codec.NodeID) {
		h.stage.Send(codec.LaneAppend, codec.Packet{Node: to, Data: data}, codec.FrameMeta{})
	}
	send(2) // nothing is before it
	h.send(2, 1)
	send(2)
	h.send(2, 2)
	send(2)
	send(3)
	size := len(data.Bytes())
	for _, want := range []int{2 * size, size, 0} {
		if held := h.stage.HeldData(2); held != want || h.stage.HeldData(3) != 0 {
			t.Fatalf("%d bytes wait, want %d", held, want)
		}
		h.finishReads()
	}
	h.send(2, 1)
	send(2)
	h.stage.Reset(2)
	if held := h.stage.HeldData(2); held != 0 {
		t.Errorf("%d bytes wait on a lane that broke", held)
	}
}
