package netio

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/millrace/millrace/codec"
)

// One way from one node to another over loopback TCP, batch packets a Send as an engine's turn of its loop gives them,
// with at most window bytes and 2048 packets in flight. Each run ends with a check that every packet came.
func BenchmarkOneWay(b *testing.B) {
	for _, c := range []struct {
		name        string
		size, batch int
	}{
		{"heartbeat/batch1", -1, 1},
		{"heartbeat/batch64", -1, 64},
		{"200B/batch1", 200 - codec.FrameHeaderSize, 1},
		{"200B/batch64", 200 - codec.FrameHeaderSize, 64},
		{"4KiB/batch1", 4 << 10, 1},
		{"4KiB/batch16", 4 << 10, 16},
		{"64KiB/batch1", 64 << 10, 1},
		{"1MiB/batch1", 1 << 20, 1},
	} {
		for _, loops := range []int{1, 2} {
			b.Run(fmt.Sprintf("%s/loops%d", c.name, loops), func(b *testing.B) { benchmarkOneWay(b, c.size, c.batch, loops) })
		}
	}
}

func benchmarkOneWay(b *testing.B, size, batch, loops int) {
	const window = 4 << 20
	lane, packet := codec.LaneAppend, heartbeat(2, 1)
	if size < 0 {
		lane = codec.LaneControl
	} else {
		packet = appendOf(b, 2, 1, size)
	}
	var got atomic.Int64
	wake := make(chan struct{}, 1)
	s := newSink()
	s.deliver = func(p []codec.Packet) {
		got.Add(int64(len(p)))
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	from, to := testConfig(1), testConfig(2)
	from.EventLoops, to.EventLoops = loops, loops
	t1, t2 := start(b, from, newSink()), start(b, to, s)
	connect(b, t1, 2, t2.Addr())
	packets := make([]codec.Packet, batch)
	for i := range packets {
		packets[i] = packet
	}
	inFlight := int64(max(min(window/wireSize(&packet), 2048), 2*batch))
	b.SetBytes(int64(wireSize(&packet)))
	b.ReportAllocs()
	b.ResetTimer()
	sent := int64(0)
	for sent < int64(b.N) {
		for sent-got.Load() > inFlight {
			<-wake
		}
		t1.Send(lane, packets)
		sent += int64(batch)
	}
	for got.Load() < sent {
		<-wake
	}
	b.StopTimer()
	if stats := t1.Stats(); got.Load() != sent || stats.By[DropFull] != 0 {
		b.Fatalf("sent %d, got %d, stats %+v", sent, got.Load(), stats)
	}
}

// There and back, one packet at a time: from the sender's goroutine through both event loops and back.
func BenchmarkPingPong(b *testing.B) {
	pong, done := newSink(), make(chan struct{}, 1)
	var t2 *TCP
	reply := []codec.Packet{heartbeat(1, 1)}
	ping := newSink()
	ping.deliver = func([]codec.Packet) { t2.Send(codec.LaneControl, reply) }
	pong.deliver = func([]codec.Packet) { done <- struct{}{} }
	t1 := start(b, testConfig(1), pong)
	t2 = start(b, testConfig(2), ping)
	connect(b, t1, 2, t2.Addr())
	connect(b, t2, 1, t1.Addr())
	packets := []codec.Packet{heartbeat(2, 1)}
	for b.Loop() {
		t1.Send(codec.LaneControl, packets)
		<-done
	}
}

func BenchmarkParser(b *testing.B) {
	for _, size := range []int{-1, 144, 4096} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			packet, lane := heartbeat(0, 1), codec.LaneControl
			if size >= 0 {
				packet, lane = appendOf(b, 0, 1, size), codec.LaneAppend
			}
			var stream []byte
			for len(stream) < 64<<10 {
				stream = append(stream, wire(packet)...)
			}
			p := newParser(lane)
			b.SetBytes(int64(len(stream)))
			b.ReportAllocs()
			for b.Loop() {
				if err := p.feed(stream, func([]codec.Packet) {}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkInproc(b *testing.B) {
	n := NewNetwork()
	got := newSink()
	got.deliver = func([]codec.Packet) {}
	t1 := join(b, n, 1, newSink())
	join(b, n, 2, got)
	packets := []codec.Packet{heartbeat(2, 1)}
	b.ReportAllocs()
	for b.Loop() {
		t1.Send(codec.LaneControl, packets)
	}
}
