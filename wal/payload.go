package wal

import (
	"encoding/binary"
	"fmt"

	"github.com/millrace/millrace/codec"
)

// The payloads that are not frames, little endian: vote is group, term, node, committed (1 byte); truncate and commit
// are group, index; peer is node, incarnation; purge, jump and moved base are group, base (see
// [codec.AppendLogBase]); moved vote is a vote and whether a life ended without a seal since it was given (1).

func appendVote(dst []byte, g codec.GroupID, v codec.Vote) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint64(dst, uint64(g))
	dst = le.AppendUint64(dst, uint64(v.Leader.Term))
	dst = le.AppendUint64(dst, uint64(v.Leader.Node))
	if v.Committed {
		return append(dst, 1)
	}
	return append(dst, 0)
}

func readVote(b []byte) (codec.GroupID, codec.Vote, error) {
	le := binary.LittleEndian
	v := codec.Vote{
		Leader:    codec.LeaderID{Term: codec.Term(le.Uint64(b[8:])), Node: codec.NodeID(le.Uint64(b[16:]))},
		Committed: b[24] == 1,
	}
	if b[24] > 1 {
		return 0, v, fmt.Errorf("vote flag %d, want 0 or 1: %w", b[24], codec.ErrCorrupt)
	}
	return codec.GroupID(le.Uint64(b)), v, nil
}

func appendMovedVote(dst []byte, g codec.GroupID, v codec.Vote, crashed bool) []byte {
	dst = appendVote(dst, g, v)
	if crashed {
		return append(dst, 1)
	}
	return append(dst, 0)
}

func readMovedVote(b []byte) (codec.GroupID, codec.Vote, bool, error) {
	g, v, err := readVote(b)
	if err == nil && b[25] > 1 {
		err = fmt.Errorf("crash flag %d of a moved vote, want 0 or 1: %w", b[25], codec.ErrCorrupt)
	}
	return g, v, b[25] == 1, err
}

func appendIndex(dst []byte, g codec.GroupID, i codec.Index) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, uint64(g))
	return binary.LittleEndian.AppendUint64(dst, uint64(i))
}

func readIndex(b []byte) (codec.GroupID, codec.Index) {
	return codec.GroupID(binary.LittleEndian.Uint64(b)), codec.Index(binary.LittleEndian.Uint64(b[8:]))
}

func appendPeer(dst []byte, id codec.NodeID, incarnation codec.Incarnation) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, uint64(id))
	return append(dst, incarnation[:]...)
}

func readPeer(b []byte) (codec.NodeID, codec.Incarnation) {
	return codec.NodeID(binary.LittleEndian.Uint64(b)), codec.Incarnation(b[8:24])
}

// appendBase appends where a group's log begins.
func appendBase(dst []byte, g codec.GroupID, base *codec.LogBase) []byte {
	return codec.AppendLogBase(binary.LittleEndian.AppendUint64(dst, uint64(g)), base)
}

// readBase reads what appendBase wrote, all of b. The result shares nothing with b. Errors wrap [codec.ErrVersion] or
// [codec.ErrCorrupt].
func readBase(b []byte) (codec.GroupID, codec.LogBase, error) {
	if len(b) < 8 {
		return 0, codec.LogBase{}, fmt.Errorf("base in %d bytes: %w", len(b), codec.ErrCorrupt)
	}
	g := codec.GroupID(binary.LittleEndian.Uint64(b))
	base, n, err := codec.ReadLogBase(b[8:])
	switch {
	case err != nil:
		return 0, base, fmt.Errorf("group %d: %w", g, err)
	case n != len(b)-8 || base.ID.Index == 0:
		return 0, codec.LogBase{}, fmt.Errorf("base %v of group %d in %d bytes, %d of them used: %w", base.ID, g, len(b)-8, n, codec.ErrCorrupt)
	}
	return g, base, nil
}
