package crash

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"

	"github.com/millrace/millrace/codec"
)

// identity tells one put from all others, over all lives of a cluster.
type identity struct{ client, serial uint64 }

func (id identity) String() string { return fmt.Sprintf("client %d serial %d", id.client, id.serial) }

// A put is its identity (16 bytes, little endian), a filling, and the CRC32C of both.
const (
	identityBytes = 16
	putBytesMin   = identityBytes + 4
)

func appendIdentity(dst []byte, id identity) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, id.client)
	return binary.LittleEndian.AppendUint64(dst, id.serial)
}

// sealPut writes the checksum into the last four bytes of a put.
func sealPut(put []byte) []byte {
	end := len(put) - 4
	binary.LittleEndian.PutUint32(put[end:], codec.Checksum(put[:end]))
	return put
}

// appendPut makes a put with a filling of random length: mostly small, now and then over several blocks of a disk.
func appendPut(dst []byte, id identity, r *rand.Rand) []byte {
	start := len(dst)
	dst = appendIdentity(dst, id)
	filling := r.IntN(120)
	if r.IntN(200) == 0 {
		filling = r.IntN(8 << 10)
	}
	for range filling {
		dst = append(dst, byte(id.serial))
	}
	dst = append(dst, 0, 0, 0, 0)
	sealPut(dst[start:])
	return dst
}

func readPut(b []byte) (identity, error) {
	if len(b) < putBytesMin {
		return identity{}, fmt.Errorf("a put of %d bytes, want %d or more", len(b), putBytesMin)
	}
	end := len(b) - 4
	if got, want := codec.Checksum(b[:end]), binary.LittleEndian.Uint32(b[end:]); got != want {
		return identity{}, fmt.Errorf("a put with checksum %08x, stored %08x", got, want)
	}
	return identity{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])}, nil
}
