package safety

import (
	"encoding/binary"
	"math/bits"

	"github.com/millrace/millrace/codec"
)

// IdentityBytes is the room that a put's identity takes at the start of its payload.
const IdentityBytes = 16

// PutIdentity writes (client, serial) into the first [IdentityBytes] of a payload, little endian.
func PutIdentity(payload []byte, client, serial uint64) {
	binary.LittleEndian.PutUint64(payload, client)
	binary.LittleEndian.PutUint64(payload[8:], serial)
}

func identity(payload []byte) (client, serial uint64) {
	return binary.LittleEndian.Uint64(payload), binary.LittleEndian.Uint64(payload[8:])
}

// Odd constants without a pattern, so that different fields of a log id don't cancel.
const (
	oddTerm   = 0x9fb21c651e98df25
	oddNode   = 0xd6e8feb86659fd93
	oddSerial = 0xe7037ed1a0b428db
	oddClient = 0xa0761d6478bd642f
)

// mix is the finalizer of splitmix64 (Steele, Lea, Flood 2014): a bijection in which each input bit flips half of the
// output bits.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// flat joins the fields of a log id. Neighbours stay neighbours: a mix must follow.
func flat(id codec.LogID) uint64 {
	return uint64(id.Index) + uint64(id.Leader.Term)*oddTerm + uint64(id.Leader.Node)*oddNode
}

func mixLogID(id codec.LogID) uint64 { return mix(flat(id)) }

// mixPut binds a log id to the put that stands there.
func mixPut(id codec.LogID, client, serial uint64) uint64 {
	return mix(flat(id) + serial*oddSerial + client*oddClient)
}

// chain adds one value to a hash that depends on the order.
func chain(hash, value uint64) uint64 { return mix(bits.RotateLeft64(hash, 23) + value) }
