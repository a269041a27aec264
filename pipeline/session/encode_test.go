package session

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/millrace/millrace/codec"
)

func sampleEntries() map[string]Entry {
	return map[string]Entry{
		"010180208080 04":        {Op: OpRegister, Capacity: 4096, BytesMax: 64 << 10},
		"010211":                 {Op: OpClose, Session: 17},
		"0103 ac02 05 03 707574": {Op: OpCommand, Session: 300, Serial: 5, Answered: 3, Data: []byte("put")},
		"0103 11 01 00":          {Op: OpCommand, Session: 17, Serial: 1, Data: []byte{}},
	}
}

func TestEntryGolden(t *testing.T) {
	for want, e := range sampleEntries() {
		want = strings.ReplaceAll(want, " ", "")
		src := AppendEntry(nil, &e)
		if got := hex.EncodeToString(src); got != want {
			t.Errorf("%v entry is %s, want %s", e.Op, got, want)
		}
		if len(src) > HeaderBytesMax+len(e.Data) {
			t.Errorf("%v entry has %d bytes beside its data", e.Op, len(src)-len(e.Data))
		}
		got, err := ReadEntry(src)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(e) {
			t.Errorf("read back as %+v, %v, want %+v", got, err, e)
		}
	}
}

func TestBadEntries(t *testing.T) {
	for name, src := range map[string]string{
		"nothing":                     "",
		"no operation":                "01",
		"unknown operation":           "0104",
		"registration without room":   "01010005",
		"bytes behind a registration": "0101010500",
		"bytes behind a close":        "01021100",
		"long form of a number":       "0102 9100",
		"cut number":                  "0102 91",
		"command without its serial":  "0103 11",
	} {
		b, err := hex.DecodeString(strings.ReplaceAll(src, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		if e, err := ReadEntry(b); !errors.Is(err, codec.ErrCorrupt) {
			t.Errorf("%s: %+v, %v, want ErrCorrupt", name, e, err)
		}
	}
	if _, err := ReadEntry([]byte{2, 1, 1, 1}); !errors.Is(err, codec.ErrVersion) {
		t.Errorf("another version: %v", err)
	}
	for _, e := range []Entry{{}, {Op: OpRegister}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%+v is encoded", e)
				}
			}()
			AppendEntry(nil, &e)
		}()
	}
}

// sampleTable holds an empty session, and one with an answer, without one, with an empty one, and with a gap.
func sampleTable(t *testing.T) *Table {
	table := NewTable()
	at := func(index codec.Index) codec.LogID {
		return codec.LogID{Leader: codec.LeaderID{Term: 2, Node: 3}, Index: index}
	}
	table.Begin(at(16), &Entry{Op: OpRegister, Capacity: 9, BytesMax: 1000})
	table.Begin(at(17), &Entry{Op: OpRegister, Capacity: 9, BytesMax: 50})
	do := func(index codec.Index, serial uint64) {
		if v := table.Begin(at(index), &Entry{Op: OpCommand, Session: 17, Serial: serial, Answered: 1}); !v.Do {
			t.Fatalf("%+v", v)
		}
	}
	do(18, 2)
	table.Finish(17, 2, []byte("ok"))
	do(19, 3)
	table.Lose(17, 3)
	do(300, 6)
	table.Finish(17, 6, nil)
	return table
}

func TestTableGolden(t *testing.T) {
	want := "01 02" + // version, sessions
		"10 e807 00 00" + // session 16: 1000 bytes, nothing acknowledged, no command
		"11 32 01 03" + // session 17: 50 bytes, acknowledged up to 1, 3 commands
		"02 02 03 12 02 02 6f6b" + // serial 2 at T2-N3-18, answered "ok"
		"03 02 03 13 01" + // serial 3, answer lost
		"06 02 03 ac02 02 00" // serial 6, answered with nothing
	table := sampleTable(t)
	src := table.AppendTo(nil)
	if got := hex.EncodeToString(src); got != strings.ReplaceAll(want, " ", "") {
		t.Fatalf("encoded as %s, want %s", got, want)
	}
	again, err := ReadTable(src)
	if err != nil || !bytes.Equal(again.AppendTo(nil), src) {
		t.Fatalf("read back: %v", err)
	}
	if got := NewTable().AppendTo(nil); !bytes.Equal(got, []byte{1, 0}) {
		t.Fatalf("an empty table is %x", got)
	}
}

func TestBadTables(t *testing.T) {
	good := sampleTable(t).AppendTo(nil)
	for n := range good {
		if _, err := ReadTable(good[:n]); !errors.Is(err, codec.ErrCorrupt) {
			t.Fatalf("cut to %d of %d bytes: %v", n, len(good), err)
		}
	}
	for name, src := range map[string]string{
		"bytes behind it":                  "010000",
		"session 0":                        "0101 00 00 00 00",
		"a session twice":                  "0102 10 00 00 00 10 00 00 00",
		"serials out of order":             "0101 10 00 00 02 02 01010101 01 01010101",
		"a serial that was acknowledged":   "0101 10 00 05 01 05 01010101",
		"a serial beyond the window":       "0101 10 00 00 01 8108 010101 01",
		"a pending answer":                 "0101 10 00 00 01 01 010101 00",
		"an unknown kind of answer":        "0101 10 00 00 01 01 010101 03",
		"more bytes of answers than bound": "0101 10 01 00 01 01 010101 02 02 6f6b",
		"more sessions than bytes":         "01ffffffff0f",
		"more commands than the window":    "0101 10 00 00 8108",
	} {
		b, err := hex.DecodeString(strings.ReplaceAll(src, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ReadTable(b); !errors.Is(err, codec.ErrCorrupt) {
			t.Errorf("%s: %v, want ErrCorrupt", name, err)
		}
	}
	if _, err := ReadTable([]byte{9}); !errors.Is(err, codec.ErrVersion) {
		t.Errorf("another version: %v", err)
	}
}

func FuzzReadTable(f *testing.F) {
	f.Add([]byte{1, 0})
	f.Add([]byte{1, 1, 16, 232, 7, 0, 1, 2, 2, 3, 18, 2, 2, 'o', 'k'})
	f.Fuzz(func(t *testing.T, src []byte) {
		table, err := ReadTable(src)
		if err != nil {
			if !errors.Is(err, codec.ErrCorrupt) && !errors.Is(err, codec.ErrVersion) {
				t.Fatalf("an error of no kind: %v", err)
			}
			return
		}
		if again := table.AppendTo(nil); !bytes.Equal(again, src) {
			t.Fatalf("encoded again as %x, was %x", again, src)
		}
	})
}

func FuzzReadEntry(f *testing.F) {
	for _, e := range sampleEntries() {
		f.Add(AppendEntry(nil, &e))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		e, err := ReadEntry(src)
		if err != nil {
			if !errors.Is(err, codec.ErrCorrupt) && !errors.Is(err, codec.ErrVersion) {
				t.Fatalf("an error of no kind: %v", err)
			}
			return
		}
		if again := AppendEntry(nil, &e); !bytes.Equal(again, src) {
			t.Fatalf("encoded again as %x, was %x", again, src)
		}
	})
}

// FuzzSplits lets the fuzzer choose entries and where batches end: the table must not depend on the latter.
func FuzzSplits(f *testing.F) {
	f.Add([]byte{0, 4, 0, 10, 20, 30, 31, 11, 0, 10, 200, 10})
	f.Fuzz(func(t *testing.T, choices []byte) {
		one, many := &driver{table: NewTable()}, &driver{table: NewTable()}
		for i, c := range choices {
			at := codec.LogID{Index: codec.Index(i + 1)}
			e := Entry{Op: OpCommand, Session: ID(c % 8), Serial: uint64(c/8) % 8, Answered: uint64(c/64) * 2}
			switch {
			case c%8 == 0:
				e = Entry{Op: OpRegister, Capacity: 1 + uint64(c/8)%4, BytesMax: uint64(c)}
			case c == 255:
				e = Entry{Op: OpClose, Session: ID(i % 8)}
			}
			a := one.take(at, &e)
			one.flush()
			if b := many.take(at, &e); a != b {
				t.Fatalf("entry %d, %+v: %q one by one, %q in batches", i+1, e, a, b)
			}
			if c%3 == 0 {
				many.flush()
			}
		}
		many.flush()
		if a, b := one.table.AppendTo(nil), many.table.AppendTo(nil); !bytes.Equal(a, b) {
			t.Fatalf("%x one by one, %x in batches", a, b)
		}
	})
}
