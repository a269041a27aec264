package codec

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"
)

func rehandshake(b []byte) []byte {
	binary.LittleEndian.PutUint32(b[len(b)-4:], Checksum(b[:len(b)-4]))
	return b
}

func TestHandshakeRoundTrip(t *testing.T) {
	for _, s := range sampleHandshakes() {
		b := AppendHandshake([]byte("before"), &s.value)[len("before"):]
		if len(b) > HandshakeSizeMax {
			t.Errorf("%s: %d bytes, limit %d", s.name, len(b), HandshakeSizeMax)
		}
		for n := range b {
			if _, _, err := ReadHandshake(b[:n]); err != ErrShort {
				t.Fatalf("%s: first %d of %d bytes: %v, want ErrShort", s.name, n, len(b), err)
			}
		}
		h, n, err := ReadHandshake(append(b, "after"...))
		if err != nil || n != len(b) || h != s.value {
			t.Errorf("%s: read %+v, %d bytes, %v; want %+v", s.name, h, n, err, s.value)
		}
	}
}

func TestReadHandshakeRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(b []byte) []byte
		want   error
	}{
		{"another protocol", func([]byte) []byte { return []byte("GET / HTTP/1.1\r\n") }, ErrCorrupt},
		{"one wrong byte", func([]byte) []byte { return []byte("X") }, ErrCorrupt},
		{"last byte of the magic", func([]byte) []byte { return []byte("MLRX") }, ErrCorrupt},
		{"newer protocol", func(b []byte) []byte { b[4] = 2; return b }, ErrVersion},
		{"much newer protocol", func(b []byte) []byte { b[5] = 1; return b }, ErrVersion},
		{"no cluster id", func(b []byte) []byte { b[9] = 0; return b }, ErrCorrupt},
		{"cluster id above the limit", func(b []byte) []byte { b[9] = ClusterIDBytesMax + 1; return b }, ErrCorrupt},
		{"checksum", func(b []byte) []byte { b[20]++; return b }, ErrCorrupt},
		{"unknown status", func(b []byte) []byte { b[6] = byte(handshakeStatusEnd); return rehandshake(b) }, ErrCorrupt},
		{"role zero", func(b []byte) []byte { b[7] = 0; return rehandshake(b) }, ErrCorrupt},
		{"unknown role", func(b []byte) []byte { b[7] = 2; return rehandshake(b) }, ErrCorrupt},
		{"lane zero", func(b []byte) []byte { b[8] = 0; return rehandshake(b) }, ErrCorrupt},
		{"unknown lane", func(b []byte) []byte { b[8] = byte(LaneEnd); return rehandshake(b) }, ErrCorrupt},
		{"from node 0", func(b []byte) []byte { b[11] = 0; return rehandshake(b) }, ErrCorrupt},
		{"to node 0", func(b []byte) []byte { b[19] = 0; return rehandshake(b) }, ErrCorrupt},
	} {
		b := c.change(AppendHandshake(nil, &sampleHandshakes()[0].value))
		if _, n, err := ReadHandshake(b); !errors.Is(err, c.want) || n != 0 {
			t.Errorf("%s: %d bytes, %v; want %v", c.name, n, err, c.want)
		}
	}
}

func TestAppendHandshakeBugs(t *testing.T) {
	for name, edit := range map[string]func(*Handshake){
		"no cluster id":       func(h *Handshake) { h.ClusterID = "" },
		"cluster id too long": func(h *Handshake) { h.ClusterID = strings.Repeat("c", ClusterIDBytesMax+1) },
		"address too long":    func(h *Handshake) { h.Address = strings.Repeat("a", AddressBytesMax+1) },
		"no sender":           func(h *Handshake) { h.From = 0 },
		"no lane":             func(h *Handshake) { h.Lane = 0 },
	} {
		h := sampleHandshakes()[0].value
		edit(&h)
		mustPanic(t, name, func() { AppendHandshake(nil, &h) })
	}
}

func TestHandshakeNames(t *testing.T) {
	for status, want := range map[HandshakeStatus]string{
		HandshakeHello: "hello", HandshakeAccepted: "accepted", HandshakeWrongCluster: "wrong cluster",
		HandshakeWrongNode: "wrong node", HandshakeWrongIncarnation: "wrong incarnation",
		HandshakeUnknownPeer: "unknown peer", handshakeStatusEnd: "HandshakeStatus(6)",
	} {
		if status.String() != want {
			t.Errorf("status %d prints as %q, want %q", uint8(status), status, want)
		}
	}
	for lane, want := range map[Lane]string{LaneControl: "control", LaneAppend: "append", LaneSnapshot: "snapshot", LaneEnd: "Lane(4)"} {
		if lane.String() != want {
			t.Errorf("lane %d prints as %q, want %q", uint8(lane), lane, want)
		}
	}
}
