package snapshot

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/millrace/millrace/codec"
)

// Names in a store's directory. Each is built from numbers and a hash alone, with leading zeros, so that a sorted listing is
// in order for a human; the store itself sorts what it has read in the files.
const (
	snapshotSuffix = ".snapshot" // complete and durable
	partSuffix     = ".part"     // a transfer that may go on
	tempSuffix     = ".TEMP"     // unfinished, swept
	brokenSuffix   = ".broken"   // does not verify, kept for a human

	filePerm   = 0o600
	folderPerm = 0o700
)

// snapshotName returns the name of a complete file. Two of one log id differ in their hashes.
func snapshotName(id codec.SnapshotID) string {
	return fmt.Sprintf("%020d-%020d-%020d-%x%s", id.Log.Index, id.Log.Leader.Term, id.Log.Leader.Node, id.Hash[:8],
		snapshotSuffix)
}

// partName returns the name of an unfinished transfer. It states the whole identity, so that bytes of two snapshots never
// meet in one file.
func partName(id codec.SnapshotID) string {
	return fmt.Sprintf("%020d-%020d-%020d-%020d-%v%s", id.Log.Index, id.Log.Leader.Term, id.Log.Leader.Node, id.Size,
		id.Hash, partSuffix)
}

// parsePartName returns the identity that a name was made from.
func parsePartName(name string) (codec.SnapshotID, bool) {
	fields := strings.Split(strings.TrimSuffix(name, partSuffix), "-")
	if len(fields) != 5 {
		return codec.SnapshotID{}, false
	}
	var numbers [4]uint64
	for i := range numbers {
		n, err := strconv.ParseUint(fields[i], 10, 64)
		if err != nil {
			return codec.SnapshotID{}, false
		}
		numbers[i] = n
	}
	sum, err := hex.DecodeString(fields[4])
	if err != nil || len(sum) != len(codec.SnapshotHash{}) {
		return codec.SnapshotID{}, false
	}
	id := codec.SnapshotID{
		Log: codec.LogID{
			Leader: codec.LeaderID{Term: codec.Term(numbers[1]), Node: codec.NodeID(numbers[2])},
			Index:  codec.Index(numbers[0]),
		},
		Size: int64(numbers[3]),
		Hash: codec.SnapshotHash(sum),
	}
	return id, partName(id) == name
}
