package codec

import (
	"bytes"
	"errors"
	"testing"
)

func TestData(t *testing.T) {
	buf := append(make([]byte, DataHeaderSize), "payload"...)
	d := SealData(buf)
	if d.IsZero() || &d.Bytes()[0] != &buf[0] || string(d.Payload()) != "payload" || len(d.Bytes()) != DataHeaderSize+7 {
		t.Fatalf("sealed %x, payload %q", d.Bytes(), d.Payload())
	}
	// CRC-32C of "123456789" is e3069283, as catalogues of CRC parameters give it.
	if got := sampleData("123456789").Bytes(); !bytes.Equal(got, []byte("\x83\x92\x06\xe3123456789")) {
		t.Errorf("written as %x", got)
	}
	src := bytes.Clone(d.Bytes())
	got, err := ReadData(src)
	if err != nil || &got.Bytes()[0] != &src[0] || !bytes.Equal(got.Payload(), d.Payload()) {
		t.Errorf("read %x, %v; want %x in the same place", got.Bytes(), err, d.Bytes())
	}
	for size := range DataHeaderSize + 1 {
		mustPanic(t, "no payload", func() { SealData(make([]byte, size)) })
		if got, err := ReadData(make([]byte, size)); !errors.Is(err, ErrCorrupt) || !got.IsZero() {
			t.Errorf("%d bytes read as %x, %v; want ErrCorrupt", size, got.Bytes(), err)
		}
	}
}

func TestZeroData(t *testing.T) {
	var d Data
	if !d.IsZero() || d.Bytes() != nil || d.Payload() != nil {
		t.Errorf("zero data: IsZero %v, %d bytes, payload %q", d.IsZero(), len(d.Bytes()), d.Payload())
	}
	if p := (Packet{}); p.Body() != nil {
		t.Errorf("a packet without frame and data has a body of %d bytes", len(p.Body()))
	}
}

func TestPacketBody(t *testing.T) {
	_, frame, _ := sampleAppend(t)
	data := sampleData("x")
	if p := (Packet{Frame: frame}); !bytes.Equal(p.Body(), frame.Bytes()) {
		t.Errorf("body of a packet with a frame: %x", p.Body())
	}
	if p := (Packet{Data: data}); !bytes.Equal(p.Body(), data.Bytes()) {
		t.Errorf("body of a packet with data: %x", p.Body())
	}
}
