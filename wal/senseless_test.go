package wal

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/millrace/millrace/codec"
)

// reseal puts a checksum behind bytes that end in one, so that only what they say is wrong.
func reseal(b []byte) []byte {
	end := len(b) - 4
	binary.LittleEndian.PutUint32(b[end:], codec.Checksum(b[:end]))
	return b
}

// refusedAs checks that an error is of the kind that is wanted and says what it found.
func refusedAs(t *testing.T, err, want error, says string) {
	t.Helper()
	if !errors.Is(err, want) || !strings.Contains(err.Error(), says) {
		t.Errorf("%v, want %v that says %q", err, want, says)
	}
}

// TestMarkThatCanNotBe: a mark whose checksum is right and which no build of this version writes is refused, whatever a
// replay would make of it.
func TestMarkThatCanNotBe(t *testing.T) {
	group := func(f *front, i int) *frontGroup { return &f.groups[i] }
	for name, c := range map[string]struct {
		say  func(f *front)
		harm func(b []byte)
		want error
		says string
	}{
		"nothing is gone":             {say: func(f *front) { f.last = 0 }, want: codec.ErrCorrupt, says: "up to record 0"},
		"not durable":                 {say: func(f *front) { f.durable = f.last }, want: codec.ErrCorrupt, says: "when 70 was durable"},
		"a log that ends before base": {say: func(f *front) { group(f, 1).last = 6 }, want: codec.ErrCorrupt, says: "group 3 of the mark holds 8 to 6"},
		"groups out of order":         {say: func(f *front) { group(f, 1).id = 0 }, want: codec.ErrCorrupt, says: "group 0 of the mark"},
		"a flag that is no flag":      {harm: func(b []byte) { b[frontFixedSize+24] = 2 }, want: codec.ErrCorrupt, says: "vote flag 2"},
		"more groups than there are":  {harm: func(b []byte) { b[32]++ }, want: codec.ErrCorrupt, says: "mark of 3 groups"},
		"reserved bytes":              {harm: func(b []byte) { b[7] = 1 }, want: codec.ErrCorrupt, says: "reserved 0 and 1"},
		"a later version":             {harm: func(b []byte) { b[4] = 9 }, want: codec.ErrVersion, says: "version 9, want 1"},
	} {
		t.Run(name, func(t *testing.T) {
			f := front{last: 70, crc: 1, durable: 99, groups: []frontGroup{{id: 0, bounds: bounds{0, 12}}, {id: 3, bounds: bounds{7, 7}}}}
			if c.say != nil {
				c.say(&f)
			}
			b := f.append(nil, 5)
			if c.harm != nil {
				c.harm(b)
			}
			_, err := parseFront(reseal(b), 5)
			refusedAs(t, err, c.want, c.says)
		})
	}
}

// TestIdentityThatCanNotBe: the same of a directory's identity.
func TestIdentityThatCanNotBe(t *testing.T) {
	id := identity{cluster: "test", node: 3, incarnation: codec.Incarnation{1}}
	if got, err := parseIdentity(id.append(nil)); err != nil || got != id {
		t.Fatalf("%+v, %v", got, err)
	}
	for name, c := range map[string]struct {
		harm func(b []byte) []byte
		want error
		says string
	}{
		"a longer cluster id than is there": {func(b []byte) []byte { b[6]++; return b }, codec.ErrCorrupt, "cluster id of 5 bytes"},
		"bytes behind it":                   {func(b []byte) []byte { return append(b, 0) }, codec.ErrCorrupt, "cluster id of 4 bytes"},
		"a reserved byte":                   {func(b []byte) []byte { b[7] = 1; return b }, codec.ErrCorrupt, "cluster id of 4 bytes"},
		"a later version":                   {func(b []byte) []byte { b[4] = 9; return b }, codec.ErrVersion, "format version 9"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseIdentity(reseal(c.harm(id.append(nil))))
			refusedAs(t, err, c.want, c.says)
		})
	}
}

// TestRecordThatCanNotBe: a record that is whole, with an envelope whose CRC is right, and that no build of this version
// writes. What only a later build can have written is told apart from what nobody has.
func TestRecordThatCanNotBe(t *testing.T) {
	frameBytes := makeFrame(t, 6, codec.LeaderID{Term: 4, Node: 5}, 1, codec.EntryNormal, []byte("put")).Bytes()
	for name, c := range map[string]struct {
		kind    kind
		payload []byte
		version byte
		want    error
		says    string
	}{
		"a vote of too few bytes": {kindVote, make([]byte, 3), recordVersion, codec.ErrCorrupt, "has 3 bytes, want"},
		"bytes behind a frame":    {kindFrame, append(frameBytes[:len(frameBytes):len(frameBytes)], 0), recordVersion, codec.ErrCorrupt, "in a record of"},
		"an unknown kind":         {kindEnd, nil, recordVersion, codec.ErrVersion, "unknown kind"},
		"a later version":         {kindVote, appendVote(nil, 1, codec.Vote{}), recordVersion + 1, codec.ErrVersion, "has version"},
	} {
		t.Run(name, func(t *testing.T) {
			crc := codec.Checksum(c.payload)
			if c.kind.framed() {
				crc = binary.LittleEndian.Uint32(c.payload[frameCRCOffset:])
			}
			data := make([]byte, headerSize)
			h := header{kind: c.kind, payload: len(c.payload), log: 5, previous: 5, seq: 1}
			h.put(data, crc)
			data[0] = c.version
			binary.LittleEndian.PutUint32(data[32:], headerCRC(data, crc))
			b := binary.AppendUvarint(nil, uint64(len(data)+len(c.payload)))
			_, err := readRecord(append(append(b, data...), c.payload...), 5)
			refusedAs(t, err, c.want, c.says)
		})
	}
}

// TestClosedMemoryGivesNoGroup: a log in memory begins no group after its end, as one on disk does not.
func TestClosedMemoryGivesNoGroup(t *testing.T) {
	m := NewMemory()
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := m.Group(1, func(uint64, error) {}); !errors.Is(err, ErrClosed) {
		t.Errorf("%v, want %v", err, ErrClosed)
	}
}

// TestFrameThatIsAnother: a record may be whole, and hold another frame than the one that the index means.
func TestFrameThatIsAnother(t *testing.T) {
	leader := codec.LeaderID{Term: 4, Node: 5}
	f := makeFrame(t, 6, leader, 7, codec.EntryNormal, []byte("a"), []byte("b"))
	ref := frameRef{meta: f.Meta()}
	ref.meta.Count = 1
	if got, err := ref.part(f); err != nil || got.Meta().Last() != 7 {
		t.Fatalf("the first entry of two: %+v, %v", got.Meta(), err)
	}
	for name, other := range map[string]codec.Frame{
		"of another group":  makeFrame(t, 5, leader, 7, codec.EntryNormal, []byte("a")),
		"of another leader": makeFrame(t, 6, codec.LeaderID{Term: 4, Node: 4}, 7, codec.EntryNormal, []byte("a")),
		"at another index":  makeFrame(t, 6, leader, 8, codec.EntryNormal, []byte("a")),
		"of another kind":   makeFrame(t, 6, leader, 7, codec.EntryBlank, nil),
	} {
		if _, err := ref.part(other); !errors.Is(err, codec.ErrCorrupt) {
			t.Errorf("a frame %s: %v, want ErrCorrupt", name, err)
		}
	}
	ref.meta.Count = 3
	if _, err := ref.part(f); !errors.Is(err, codec.ErrCorrupt) {
		t.Errorf("a frame of fewer entries: %v, want ErrCorrupt", err)
	}
}
