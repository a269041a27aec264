package codec

import (
	"encoding/binary"
	"fmt"
)

// DataHeaderSize is the number of bytes before the payload of a [Data]. A buffer that is to become one starts with that
// much room.
const DataHeaderSize = 4

// Data is the body of a message that carries no frame: CRC32C of the payload (4 bytes, little endian), then the payload, at
// least one byte. What it means is its kind of message's business. It is immutable and shared until sent, as a [Frame] is.
// The zero Data holds nothing.
type Data struct{ b []byte }

// SealData turns buf, [DataHeaderSize] bytes of room and the payload, into a Data that owns it. An empty payload is a bug
// of the caller.
func SealData(buf []byte) Data {
	if len(buf) <= DataHeaderSize {
		panic(fmt.Sprintf("BUG: data in a buffer of %d bytes", len(buf)))
	}
	binary.LittleEndian.PutUint32(buf, Checksum(buf[DataHeaderSize:]))
	return Data{buf}
}

// ReadData takes src, all of it, for a Data that aliases it. Errors: [ErrCorrupt] for a wrong checksum or no payload.
func ReadData(src []byte) (Data, error) {
	if len(src) <= DataHeaderSize {
		return Data{}, fmt.Errorf("data of %d bytes, want more than %d: %w", len(src), DataHeaderSize, ErrCorrupt)
	}
	if got, want := Checksum(src[DataHeaderSize:]), binary.LittleEndian.Uint32(src); got != want {
		return Data{}, fmt.Errorf("data checksum %08x, stored %08x: %w", got, want, ErrCorrupt)
	}
	return Data{src}, nil
}

// Bytes returns the whole, nil for the zero Data. The caller must not change it.
func (d Data) Bytes() []byte { return d.b }

// IsZero reports whether d holds nothing.
func (d Data) IsZero() bool { return len(d.b) == 0 }

// Payload returns what [SealData] was given. The caller must not change it.
func (d Data) Payload() []byte {
	if d.IsZero() {
		return nil
	}
	return d.b[DataHeaderSize:]
}
