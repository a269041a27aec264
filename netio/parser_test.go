package netio

import (
	"encoding/binary"
	"errors"
	"runtime"
	"testing"

	"github.com/millrace/millrace/codec"
)

func newParser(lane codec.Lane) *parser {
	return &parser{from: 3, lane: lane, limit: messageBytesLimit}
}

// feedAll feeds the stream in the given pieces and returns what was delivered. Each piece is scribbled over after its
// call, as the event loop's buffer is by the next read.
func feedAll(p *parser, stream []byte, cut func(left int) int) ([]codec.Packet, error) {
	var got []codec.Packet
	for len(stream) > 0 {
		n := cut(len(stream))
		chunk := append([]byte(nil), stream[:n]...)
		stream = stream[n:]
		err := p.feed(chunk, func(b []codec.Packet) { got = append(got, b...) })
		scribble(chunk)
		if err != nil {
			return got, err
		}
	}
	return got, nil
}

func scribble(b []byte) {
	for i := range b {
		b[i] = 0xdb
	}
}

// mixed returns n messages of the append lane: with a frame, with data, without either.
func mixed(t testing.TB, n int) []codec.Packet {
	var packets []codec.Packet
	for i := range n {
		p := appendOf(t, 0, i, (i*37)%300)
		switch i % 4 {
		case 0:
			p = codec.Packet{Message: codec.Message{Kind: codec.MessageAppendReply, Status: codec.StatusOK, Stamp: int64(i)}}
		case 2:
			p = forwardOf(0, i, 1+(i*37)%300)
		}
		packets = append(packets, p)
	}
	return packets
}

// pieces returns n messages of the snapshot lane: pieces, and answers to pieces that went the other way.
func pieces(n int) []codec.Packet {
	var packets []codec.Packet
	for i := range n {
		p := pieceOf(0, i, 1+(i*53)%300)
		if i%3 == 1 {
			p = codec.Packet{Message: codec.Message{Kind: codec.MessageSnapshotReply, Status: codec.StatusOK, Commit: codec.Index(i), Stamp: int64(i)}}
		}
		packets = append(packets, p)
	}
	return packets
}

// N4: cut in two at every byte, one byte at a time, and all glued together.
func TestMessagesSurviveEverySplit(t *testing.T) {
	for lane, many := range map[codec.Lane][]codec.Packet{codec.LaneAppend: mixed(t, 100), codec.LaneSnapshot: pieces(100)} {
		few := many[:5]
		stream := wire(few...)
		for at := 1; at < len(stream); at++ {
			first := true
			got, err := feedAll(newParser(lane), stream, func(left int) int {
				if first {
					first = false
					return at
				}
				return left
			})
			if err != nil {
				t.Fatalf("%v lane cut at %d: %v", lane, at, err)
			}
			same(t, got, few, 3)
		}
		for size := 1; size < 200; size++ {
			got, err := feedAll(newParser(lane), stream, func(left int) int { return min(size, left) })
			if err != nil {
				t.Fatalf("%v lane in pieces of %d: %v", lane, size, err)
			}
			same(t, got, few, 3)
		}
		got, err := feedAll(newParser(lane), wire(many...), func(left int) int { return left })
		if err != nil {
			t.Fatal(err)
		}
		same(t, got, many, 3)
	}
}

func TestLargeMessageIsAssembledFromPieces(t *testing.T) {
	for lane, want := range map[codec.Lane][]codec.Packet{
		codec.LaneAppend:   {appendOf(t, 0, 1, 5<<20), appendOf(t, 0, 2, 10)},
		codec.LaneSnapshot: {pieceOf(0, 1, 5<<20), pieceOf(0, 2, 10)},
	} {
		got, err := feedAll(newParser(lane), wire(want...), func(left int) int { return min(64<<10, left) })
		if err != nil {
			t.Fatal(err)
		}
		same(t, got, want, 3)
		if size, room := len(want[0].Body()), cap(got[0].Body()); room != size {
			t.Errorf("%v lane: a body of %d bytes holds on to %d", lane, size, room)
		}
	}
}

// Z1: a length allocates nothing; what has arrived does, at most twice.
func TestHugeLengthAllocatesNothing(t *testing.T) {
	m := codec.Message{Kind: codec.MessageAppend, Group: 1}
	header := codec.AppendMessage(nil, &m, codec.FrameHeaderSize+codec.FrameBodyMax)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	p := newParser(codec.LaneAppend)
	if err := p.feed(header, nil); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 256<<10 {
		t.Errorf("a header of %d bytes allocated %d", len(header), grown)
	}
	for received := len(header); received < 4<<20; received += 1000 {
		if err := p.feed(make([]byte, 1000), nil); err != nil {
			t.Fatal(err)
		}
		if room, most := cap(p.pending), max(pendingChunk, 2*(received+1000)); room > most {
			t.Fatalf("%d bytes of room for %d received", room, received+1000)
		}
	}
}

func TestBadStreamsAreRefused(t *testing.T) {
	valid := wire(appendOf(t, 0, 1, 50))
	change := func(f func([]byte)) []byte {
		b := append([]byte(nil), valid...)
		f(b)
		return b
	}
	small := newParser(codec.LaneAppend)
	small.limit = 100
	piece := wire(pieceOf(0, 1, 50))
	cut := append([]byte(nil), piece...)
	cut[len(cut)-1] ^= 1
	for _, c := range []struct {
		name   string
		parser *parser
		stream []byte
		want   error
	}{
		{"garbage", nil, []byte("GET / HTTP/1.1\r\n\r\n"), codec.ErrVersion},
		{"length 4 GiB", nil, change(func(b []byte) { binary.LittleEndian.PutUint32(b, 0xffffffff) }), codec.ErrTooLarge},
		{"length below the header", nil, change(func(b []byte) { binary.LittleEndian.PutUint32(b, 7) }), codec.ErrCorrupt},
		{"beyond the limit", small, valid, codec.ErrTooLarge},
		{"unknown version", nil, change(func(b []byte) { b[4] = 9 }), codec.ErrVersion},
		{"unknown kind", nil, change(func(b []byte) { b[5] = 99 }), codec.ErrCorrupt},
		{"damaged header", nil, change(func(b []byte) { b[20] ^= 1 }), codec.ErrCorrupt},
		{"damaged frame", nil, change(func(b []byte) { b[len(b)-1] ^= 1 }), codec.ErrCorrupt},
		{"unknown frame version", nil, change(func(b []byte) { b[codec.MessageHeaderSize] = 9 }), codec.ErrVersion},
		{"heartbeat on append", nil, wire(heartbeat(0, 1)), errWrongLane},
		{"append on control", newParser(codec.LaneControl), valid, errWrongLane},
		{"piece on append", nil, piece, errWrongLane},
		{"piece on control", newParser(codec.LaneControl), piece, errWrongLane},
		{"append on snapshot", newParser(codec.LaneSnapshot), valid, errWrongLane},
		{"heartbeat on snapshot", newParser(codec.LaneSnapshot), wire(heartbeat(0, 1)), errWrongLane},
		{"forward on snapshot", newParser(codec.LaneSnapshot), wire(forwardOf(0, 1, 50)), errWrongLane},
		{"damaged data", newParser(codec.LaneSnapshot), cut, codec.ErrCorrupt},
	} {
		fresh := func() *parser {
			if c.parser == nil {
				return newParser(codec.LaneAppend)
			}
			p := *c.parser
			return &p
		}
		good := wire(appendOf(t, 0, 8, 10))
		if c.parser != nil {
			good = nil
		}
		for _, piece := range []int{1, 7, 1 << 20} {
			stream := append(append([]byte(nil), good...), c.stream...)
			got, err := feedAll(fresh(), stream, func(left int) int { return min(piece, left) })
			if !errors.Is(err, c.want) {
				t.Errorf("%s in pieces of %d: error %v, want %v", c.name, piece, err, c.want)
			}
			if len(got) != min(1, len(good)) {
				t.Errorf("%s in pieces of %d: %d messages delivered, want those before the bad one", c.name, piece, len(got))
			}
		}
	}
}

// TestDamagedSizeIsNoticedWithTheHeader: a size that is plausible and wrong must not swallow the messages behind it.
func TestDamagedSizeIsNoticedWithTheHeader(t *testing.T) {
	stream := wire(appendOf(t, 1, 1, 100), appendOf(t, 1, 2, 100))
	stream[2] ^= 0x10 // a megabyte more
	for _, cut := range []int{len(stream), 1, 6, 50, codec.MessageHeaderSize} {
		p := parser{from: 2, lane: codec.LaneAppend, limit: 16 << 20}
		var err error
		for rest := stream[:codec.MessageHeaderSize+1]; len(rest) > 0 && err == nil; {
			n := min(cut, len(rest))
			err = p.feed(rest[:n], func([]codec.Packet) { t.Error("something was delivered") })
			rest = rest[n:]
		}
		if !errors.Is(err, codec.ErrCorrupt) {
			t.Errorf("in pieces of %d bytes: %v, want an error that wraps ErrCorrupt", cut, err)
		}
	}
}
