package snapshot

import (
	"encoding/binary"
	"fmt"

	"github.com/millrace/millrace/codec"
)

// formatVersion is the version of a snapshot file. A build that changes what a byte means raises it.
const formatVersion = 1

const (
	headerMagic = "MLRS"
	footerMagic = "MLRE"

	headerFixedSize = 40
	headerSizeMax   = headerFixedSize + codec.ClusterIDBytesMax + codec.LogBaseBytesMax + 4
	chunkHeaderSize = 16
	footerSize      = 68
	footerHashed    = 32 // bytes of the footer that its hash covers, as it covers everything before

	// fileSizeMin is that of a file without sessions and state, for a cluster of one letter and a base without membership.
	fileSizeMin = headerFixedSize + 1 + 26 + 4 + footerSize

	flagStateless = 1 << 0

	// SessionsBytesMax bounds the sessions of a snapshot, which unlike its state are held in memory.
	SessionsBytesMax = 1 << 30
)

// header opens a file. Layout, little endian: magic "MLRS", version (2), flags (2), group (8), bytes of the sessions (8),
// chunk bytes (4), bytes of the base (4), bytes of the cluster id (1), reserved zero (7), cluster id, base, CRC32C of all
// before.
type header struct {
	cluster       string
	group         codec.GroupID
	base          codec.LogBase
	stateless     bool
	sessionsBytes int64
	chunkBytes    int
}

func (h *header) append(dst []byte) []byte {
	le := binary.LittleEndian
	start, flags := len(dst), uint16(0)
	if h.stateless {
		flags = flagStateless
	}
	base := codec.AppendLogBase(nil, &h.base)
	dst = append(dst, headerMagic...)
	dst = le.AppendUint16(dst, formatVersion)
	dst = le.AppendUint16(dst, flags)
	dst = le.AppendUint64(dst, uint64(h.group))
	dst = le.AppendUint64(dst, uint64(h.sessionsBytes))
	dst = le.AppendUint32(dst, uint32(h.chunkBytes))
	dst = le.AppendUint32(dst, uint32(len(base)))
	dst = append(dst, byte(len(h.cluster)), 0, 0, 0, 0, 0, 0, 0)
	dst = append(dst, h.cluster...)
	dst = append(dst, base...)
	return le.AppendUint32(dst, codec.Checksum(dst[start:]))
}

// headerSize returns the size of the header that starts src, [codec.ErrShort] below its fixed part. Only the limits vouch
// for it yet.
func headerSize(src []byte) (int, error) {
	if len(src) < headerFixedSize {
		return 0, codec.ErrShort
	}
	le := binary.LittleEndian
	if string(src[:4]) != headerMagic {
		return 0, fmt.Errorf("snapshot starts with %x, want %q: %w", src[:4], headerMagic, codec.ErrCorrupt)
	}
	if v := le.Uint16(src[4:]); v != formatVersion {
		return 0, fmt.Errorf("snapshot format version %d, want %d: %w", v, formatVersion, codec.ErrVersion)
	}
	base, cluster := le.Uint32(src[28:]), int(src[32])
	if base > codec.LogBaseBytesMax || cluster == 0 || cluster > codec.ClusterIDBytesMax {
		return 0, fmt.Errorf("snapshot header with a base of %d bytes and a cluster id of %d, limits %d and 1 to %d: %w",
			base, cluster, codec.LogBaseBytesMax, codec.ClusterIDBytesMax, codec.ErrCorrupt)
	}
	return headerFixedSize + cluster + int(base) + 4, nil
}

// parseHeader reads the header that is src, all of it.
func parseHeader(src []byte) (header, error) {
	size, err := headerSize(src)
	switch {
	case err == codec.ErrShort || err == nil && size != len(src):
		return header{}, fmt.Errorf("snapshot header of %d bytes, want %d: %w", len(src), size, codec.ErrCorrupt)
	case err != nil:
		return header{}, err
	}
	le := binary.LittleEndian
	end := len(src) - 4
	if got, want := codec.Checksum(src[:end]), le.Uint32(src[end:]); got != want {
		return header{}, fmt.Errorf("snapshot header checksum %08x, stored %08x: %w", got, want, codec.ErrCorrupt)
	}
	flags, sessions, chunk := le.Uint16(src[6:]), le.Uint64(src[16:]), le.Uint32(src[24:])
	if flags&^flagStateless != 0 || string(src[33:40]) != "\x00\x00\x00\x00\x00\x00\x00" {
		return header{}, fmt.Errorf("snapshot header with flags %04x and reserved bytes %x, want at most bit 0 set: %w",
			flags, src[33:40], codec.ErrCorrupt)
	}
	if sessions > SessionsBytesMax || chunk < ChunkBytesMin || chunk > ChunkBytesMax {
		return header{}, fmt.Errorf("snapshot header with sessions of %d bytes and chunks of %d, want at most %d, and %d to %d: %w",
			sessions, chunk, SessionsBytesMax, ChunkBytesMin, ChunkBytesMax, codec.ErrCorrupt)
	}
	cluster := headerFixedSize + int(src[32])
	base, n, err := codec.ReadLogBase(src[cluster:end])
	if err != nil {
		return header{}, fmt.Errorf("snapshot header: %w", err)
	}
	if n != end-cluster || base.ID.IsZero() {
		return header{}, fmt.Errorf("snapshot header with a base %v of %d bytes, want %d and an entry: %w", base.ID, n,
			end-cluster, codec.ErrCorrupt)
	}
	return header{
		cluster:       string(src[headerFixedSize:cluster]),
		group:         codec.GroupID(le.Uint64(src[8:])),
		base:          base,
		stateless:     flags&flagStateless != 0,
		sessionsBytes: int64(sessions),
		chunkBytes:    int(chunk),
	}, nil
}

// chunkKind says what a chunk is a part of.
type chunkKind uint8

const (
	chunkSessions chunkKind = 1
	chunkState    chunkKind = 2
)

// chunkHeader stands before the stored bytes of a chunk. Layout: kind (1), compression (1), reserved zero (2), stored bytes
// (4), raw bytes (4), CRC32C (4). The checksum goes on from that of the chunk before, the header's for the first, over
// the 12 bytes and the stored ones: a chunk is good only where it was written.
type chunkHeader struct {
	kind        chunkKind
	compression codec.Compression
	stored, raw int
	crc         uint32
}

// put writes the header into the room before the stored bytes, and returns the checksum.
func (h chunkHeader) put(room, stored []byte, chain uint32) uint32 {
	le := binary.LittleEndian
	room[0], room[1], room[2], room[3] = byte(h.kind), byte(h.compression), 0, 0
	le.PutUint32(room[4:], uint32(h.stored))
	le.PutUint32(room[8:], uint32(h.raw))
	crc := chainCRC(chain, room[:12], stored)
	le.PutUint32(room[12:], crc)
	return crc
}

func chainCRC(chain uint32, head, stored []byte) uint32 {
	return codec.UpdateChecksum(codec.UpdateChecksum(chain, head), stored)
}

// parseChunkHeader reads the header that starts src, of at least its size, in a file whose chunks have chunkBytes.
func parseChunkHeader(src []byte, chunkBytes int) (chunkHeader, error) {
	le := binary.LittleEndian
	stored, raw := le.Uint32(src[4:]), le.Uint32(src[8:])
	h := chunkHeader{
		kind: chunkKind(src[0]), compression: codec.Compression(src[1]),
		stored: int(stored), raw: int(raw), crc: le.Uint32(src[12:]),
	}
	smaller := stored < raw
	if h.compression == codec.CompressionNone {
		smaller = stored == raw
	}
	if h.kind != chunkSessions && h.kind != chunkState || h.compression > codec.CompressionZstd || le.Uint16(src[2:]) != 0 ||
		raw == 0 || raw > uint32(chunkBytes) || stored == 0 || !smaller {
		return chunkHeader{}, fmt.Errorf("chunk header %x, want a known kind and compression, 1 to %d bytes, and fewer where compressed: %w",
			src[:chunkHeaderSize], chunkBytes, codec.ErrCorrupt)
	}
	return h, nil
}

// footer ends a file. Layout: magic "MLRE", reserved zero (4), state bytes (8), chunks (8), size of the file (8), SHA-256 of
// all before it (32), CRC32C of the footer (4).
type footer struct {
	stateBytes int64
	chunks     int64
	size       int64
	hash       codec.SnapshotHash
}

// append appends the footer; hash is given the part that it covers, and then summed.
func (f *footer) append(dst []byte, hash func(part []byte) codec.SnapshotHash) []byte {
	le := binary.LittleEndian
	start := len(dst)
	dst = append(dst, footerMagic...)
	dst = le.AppendUint32(dst, 0)
	dst = le.AppendUint64(dst, uint64(f.stateBytes))
	dst = le.AppendUint64(dst, uint64(f.chunks))
	dst = le.AppendUint64(dst, uint64(f.size))
	f.hash = hash(dst[start:])
	dst = append(dst, f.hash[:]...)
	return le.AppendUint32(dst, codec.Checksum(dst[start:]))
}

// parseFooter reads the footer that is src, all of it.
func parseFooter(src []byte) (footer, error) {
	if len(src) != footerSize || string(src[:4]) != footerMagic {
		return footer{}, fmt.Errorf("snapshot ends in %d bytes that are no footer: %w", len(src), codec.ErrCorrupt)
	}
	le := binary.LittleEndian
	if got, want := codec.Checksum(src[:footerSize-4]), le.Uint32(src[footerSize-4:]); got != want {
		return footer{}, fmt.Errorf("snapshot footer checksum %08x, stored %08x: %w", got, want, codec.ErrCorrupt)
	}
	f := footer{
		stateBytes: int64(le.Uint64(src[8:])),
		chunks:     int64(le.Uint64(src[16:])),
		size:       int64(le.Uint64(src[24:])),
	}
	copy(f.hash[:], src[footerHashed:])
	if le.Uint32(src[4:]) != 0 || f.stateBytes < 0 || f.chunks < 0 || f.size < fileSizeMin {
		return footer{}, fmt.Errorf("snapshot footer %x, want sizes from 0 and at least %d bytes: %w", src[:footerHashed],
			fileSizeMin, codec.ErrCorrupt)
	}
	return f, nil
}
