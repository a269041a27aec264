package codec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"testing"
)

func sampleChunks() []named[SnapshotChunk] {
	log := LogID{Leader: LeaderID{Term: 5, Node: 2}, Index: 900}
	id := SnapshotID{Log: log, Size: 0x0102030405060708, Hash: SnapshotHash{0xA0, 0xA1, 31: 0xAF}}
	bases := sampleBases()
	return []named[SnapshotChunk]{
		{"bytes", SnapshotChunk{ID: id, Offset: 0x0102030405060708 - 5, Bytes: []byte("state")}},
		{"question", SnapshotChunk{ID: id}},
		{"base", SnapshotChunk{ID: SnapshotID{Log: bases[3].value.ID}, Base: &bases[3].value}},
	}
}

func TestSnapshotChunkGolden(t *testing.T) {
	var got []named[[]byte]
	for _, s := range sampleChunks() {
		got = append(got, named[[]byte]{s.name, AppendSnapshotChunk(nil, &s.value)})
	}
	want := golden(t, "chunk", got)
	for i, s := range sampleChunks() {
		checkGolden(t, s.name, want[s.name], got[i].value)
		c, err := ReadSnapshotChunk(want[s.name], s.value.ID.Log)
		if err != nil || !reflect.DeepEqual(c, s.value) {
			t.Errorf("%s: read %+v, %v; want %+v", s.name, c, err, s.value)
		}
	}
}

func TestSnapshotChunkRefused(t *testing.T) {
	samples := sampleChunks()
	log := samples[0].value.ID.Log
	encoded := func(i int, change func(b []byte) []byte) []byte {
		return change(AppendSnapshotChunk(nil, &samples[i].value))
	}
	le := binary.LittleEndian
	for name, c := range map[string]struct {
		src  []byte
		log  LogID
		want error
	}{
		"nothing":               {nil, log, ErrCorrupt},
		"a later version":       {encoded(0, func(b []byte) []byte { b[0]++; return b }), log, ErrVersion},
		"an unknown flag":       {encoded(0, func(b []byte) []byte { b[1] = 2; return b }), log, ErrCorrupt},
		"cut in its header":     {encoded(0, func(b []byte) []byte { return b[:SnapshotChunkHeaderSize-1] }), log, ErrCorrupt},
		"no size":               {encoded(1, func(b []byte) []byte { le.PutUint64(b[2:], 0); return b }), log, ErrCorrupt},
		"a size below zero":     {encoded(1, func(b []byte) []byte { le.PutUint64(b[2:], 1<<63); return b }), log, ErrCorrupt},
		"an offset below zero":  {encoded(1, func(b []byte) []byte { le.PutUint64(b[42:], 1<<64-1); return b }), log, ErrCorrupt},
		"an offset too far":     {encoded(1, func(b []byte) []byte { le.PutUint64(b[42:], 1<<62); return b }), log, ErrCorrupt},
		"bytes behind the end":  {encoded(0, func(b []byte) []byte { return append(b, 1) }), log, ErrCorrupt},
		"too many bytes":        {encoded(1, func(b []byte) []byte { return append(b, make([]byte, SnapshotChunkBytesMax+1)...) }), log, ErrTooLarge},
		"a base beside a size":  {encoded(2, func(b []byte) []byte { b[2] = 1; return b }), samples[2].value.ID.Log, ErrCorrupt},
		"a base of another log": {encoded(2, func(b []byte) []byte { return b }), log, ErrCorrupt},
		"a base and a byte":     {encoded(2, func(b []byte) []byte { return append(b, 0) }), samples[2].value.ID.Log, ErrCorrupt},
		"a base cut short":      {encoded(2, func(b []byte) []byte { return b[:len(b)-1] }), samples[2].value.ID.Log, ErrCorrupt},
	} {
		if got, err := ReadSnapshotChunk(c.src, c.log); !errors.Is(err, c.want) || !reflect.DeepEqual(got, SnapshotChunk{}) {
			t.Errorf("%s: read %+v, %v; want %v", name, got, err, c.want)
		}
	}
	for name, change := range map[string]func(c *SnapshotChunk){
		"no size":           func(c *SnapshotChunk) { c.ID.Size = 0 },
		"beyond the end":    func(c *SnapshotChunk) { c.Offset++ },
		"before the start":  func(c *SnapshotChunk) { c.Offset = -1 },
		"too many bytes":    func(c *SnapshotChunk) { c.Offset, c.Bytes = 0, make([]byte, SnapshotChunkBytesMax+1) },
		"a base and bytes":  func(c *SnapshotChunk) { c.Base = samples[2].value.Base },
		"a base of another": func(c *SnapshotChunk) { *c = SnapshotChunk{ID: SnapshotID{Log: log}, Base: samples[2].value.Base} },
	} {
		bad := samples[0].value
		change(&bad)
		panicked := func() (p bool) {
			defer func() { p = recover() != nil }()
			AppendSnapshotChunk(nil, &bad)
			return false
		}()
		if !panicked {
			t.Errorf("a chunk with %s was encoded", name)
		}
	}
}

func FuzzReadSnapshotChunk(f *testing.F) {
	for _, s := range sampleChunks() {
		f.Add(AppendSnapshotChunk(nil, &s.value), uint64(s.value.ID.Log.Index))
	}
	f.Fuzz(func(t *testing.T, src []byte, index uint64) {
		log := LogID{Leader: LeaderID{Term: 0x0102030405060708, Node: 3}, Index: Index(index)}
		c, err := ReadSnapshotChunk(src, log)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) && !errors.Is(err, ErrTooLarge) {
				t.Fatal(err)
			}
			return
		}
		if again := AppendSnapshotChunk(nil, &c); !bytes.Equal(again, src) {
			t.Fatalf("encoded again as %x, was %x", again, src)
		}
	})
}
