package codec

import (
	"encoding/binary"
	"fmt"
)

// DataHeaderSize is the number of bytes before the payload of a [Data]. A buffer that is to become one starts with that
// much room (see [SealData]).
const DataHeaderSize = 4

// Data is the body of a message that carries no frame: what it means is its kind of message's business. It is immutable and
// shared until it is sent, as a [Frame] is. Layout, little endian:
//
//	0  4  CRC32C of the payload
//	4     payload, at least one byte
//
// It has no version and no size of its own: both are the message's. The zero Data holds nothing.
type Data struct{ b []byte }

// SealData makes data of buf: [DataHeaderSize] bytes of room, then the payload. The checksum is written into that room; buf
// belongs to the data from then on. An empty payload is a bug of the caller.
func SealData(buf []byte) Data {
	if len(buf) <= DataHeaderSize {
		panic(fmt.Sprintf("BUG: data in a buffer of %d bytes, want more than %d", len(buf), DataHeaderSize))
	}
	binary.LittleEndian.PutUint32(buf, Checksum(buf[DataHeaderSize:]))
	return Data{buf}
}

// ReadData takes src, the whole of it, for data that aliases it. Errors: [ErrCorrupt] for a wrong checksum or no payload.
func ReadData(src []byte) (Data, error) {
	if len(src) <= DataHeaderSize {
		return Data{}, fmt.Errorf("data of %d bytes, want more than %d: %w", len(src), DataHeaderSize, ErrCorrupt)
	}
	if got, want := Checksum(src[DataHeaderSize:]), binary.LittleEndian.Uint32(src); got != want {
		return Data{}, fmt.Errorf("data checksum %08x, stored %08x: %w", got, want, ErrCorrupt)
	}
	return Data{src}, nil
}

// Bytes returns checksum and payload, nil for the zero Data. The caller must not change them.
func (d Data) Bytes() []byte { return d.b }

// IsZero reports whether d holds nothing.
func (d Data) IsZero() bool { return len(d.b) == 0 }

// Payload returns what stood behind the room that [SealData] was given, nil for the zero Data. The caller must not change
// it.
func (d Data) Payload() []byte {
	if d.IsZero() {
		return nil
	}
	return d.b[DataHeaderSize:]
}
