package netio

import (
	"bytes"
	"testing"

	"github.com/millrace/millrace/codec"
)

// However a stream is cut, the same messages come out and it fails at the same place or not at all.
func FuzzParser(f *testing.F) {
	f.Add(wire(mixed(f, 4)...), []byte{1, 200, 3}, byte(codec.LaneAppend))
	f.Add(wire(heartbeat(0, 1), heartbeat(0, 2)), []byte{88}, byte(codec.LaneControl))
	f.Add(append(wire(appendOf(f, 0, 1, 40)), 0xff, 0xff, 0xff, 0xff, 1, 3), []byte{5}, byte(codec.LaneAppend))
	f.Add(wire(pieces(4)...), []byte{90, 2}, byte(codec.LaneSnapshot))
	f.Fuzz(func(t *testing.T, stream, cuts []byte, lane byte) {
		fresh := func() *parser { return &parser{from: 3, lane: codec.Lane(lane), limit: 1 << 20} }
		whole, wholeErr := feedAll(fresh(), stream, func(left int) int { return left })
		i := 0
		pieces, piecesErr := feedAll(fresh(), stream, func(left int) int {
			n := 1
			if len(cuts) > 0 {
				n = int(cuts[i%len(cuts)]) + 1
				i++
			}
			return min(n, left)
		})
		if (wholeErr == nil) != (piecesErr == nil) {
			t.Fatalf("whole: %v, in pieces: %v", wholeErr, piecesErr)
		}
		same(t, pieces, whole, 3)
		if read := wire(whole...); !bytes.HasPrefix(stream, read) {
			t.Fatal("what was read is not what was sent")
		}
	})
}

// No first bytes make the handshake's reader panic or read beyond its bound; FuzzHandshake of codec covers the rest.
func FuzzHello(f *testing.F) {
	h := helloFrom(1, 2, codec.LaneControl)
	f.Add(codec.AppendHandshake(nil, &h))
	f.Add([]byte("MLRC"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := &oneWay{in: bytes.NewReader(b)}
		h, err := readHandshake(c)
		if read := len(b) - c.in.Len(); read > codec.HandshakeSizeMax+1 {
			t.Fatalf("read %d bytes of a handshake", read)
		}
		if err == nil && !bytes.Equal(codec.AppendHandshake(nil, &h), b[:len(b)-c.in.Len()]) {
			t.Fatal("accepted bytes that are not the handshake's own")
		}
	})
}
