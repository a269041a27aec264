package engine

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"github.com/millrace/millrace/codec"
)

// TestRestoreEntryBytes: each step reads back as it was written, and any other length of it is refused; so is what only a
// later build writes, as that.
func TestRestoreEntryBytes(t *testing.T) {
	for _, e := range []restoreEntry{
		{step: restoreBegin, token: restoreToken{1}},
		{step: restorePart, token: restoreToken{2}, part: 3, bytes: []byte("state")},
		{step: restoreEnd, token: restoreToken{3}, part: 4, size: 500, hash: codec.SnapshotHash{7}},
		{step: restoreDrop, token: restoreToken{4}},
	} {
		b := e.append(nil)
		if got, err := readRestoreEntry(b); err != nil || !reflect.DeepEqual(got, e) {
			t.Errorf("step %d reads back as %+v, %v", e.step, got, err)
		}
		for n := range len(b) {
			if e.step == restorePart && n > restorePartOverhead {
				break // a part may have any length
			}
			if _, err := readRestoreEntry(b[:n]); !errors.Is(err, codec.ErrCorrupt) {
				t.Errorf("step %d cut to %d of %d bytes: %v, want ErrCorrupt", e.step, n, len(b), err)
			}
		}
		if _, err := readRestoreEntry(append(bytes.Clone(b), 0)); e.step != restorePart && !errors.Is(err, codec.ErrCorrupt) {
			t.Errorf("step %d with a byte behind it: %v, want ErrCorrupt", e.step, err)
		}
		b[1] = 9
		if _, err := readRestoreEntry(b); !errors.Is(err, codec.ErrCorrupt) {
			t.Errorf("a step that there is none of: %v, want ErrCorrupt", err)
		}
		b[0] = restoreVersion + 1
		if _, err := readRestoreEntry(b); !errors.Is(err, codec.ErrVersion) || errors.Is(err, codec.ErrCorrupt) {
			t.Errorf("a later version: %v, want ErrVersion alone", err)
		}
	}
}
