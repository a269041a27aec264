package node

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/pipeline"
)

func TestGreeting(t *testing.T) {
	if v, err := readGreeting(bytes.NewReader(appendGreeting(nil, 7))); v != 7 || err != nil {
		t.Errorf("version %d, %v, want 7", v, err)
	}
	if _, err := readGreeting(bytes.NewReader([]byte("GET / HTTP/1.1\r\n"))); !errors.Is(err, codec.ErrCorrupt) {
		t.Errorf("a browser: %v, want corrupt", err)
	}
	if _, err := readGreeting(bytes.NewReader([]byte(magic))); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("half a greeting: %v", err)
	}
}

// TestMessages: what was written is read, one after the other; every altered byte is noticed, wherever it stands.
func TestMessages(t *testing.T) {
	var all []byte
	bodies := []string{"first", "", string(make([]byte, bufferKeptMax+1)), "last"}
	for i, body := range bodies {
		all = appendMessage(all, kindAnswer, uint64(i), []byte(body))
	}
	r := &reader{from: bytes.NewReader(all), max: 1 << 30}
	for i, body := range bodies {
		if m, err := r.read(); err != nil || m.kind != kindAnswer || m.number != uint64(i) || string(m.body) != body {
			t.Fatalf("message %d: %v %d of %d bytes, %v", i, m.kind, m.number, len(m.body), err)
		}
	}
	if cap(r.buffer) > bufferKeptMax {
		t.Errorf("a buffer of %d bytes is kept", cap(r.buffer))
	}
	if _, err := r.read(); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
	one := appendMessage(nil, kindPut, 5, []byte("body"))
	for i := range one {
		for bit := range 8 {
			bad := bytes.Clone(one)
			bad[i] ^= 1 << bit
			_, err := (&reader{from: bytes.NewReader(bad), max: 100}).read()
			if !errors.Is(err, codec.ErrCorrupt) && !errors.Is(err, codec.ErrTooLarge) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("bit %d of byte %d: %v", bit, i, err)
			}
		}
	}
	for n := 1; n < len(one); n++ {
		if _, err := (&reader{from: bytes.NewReader(one[:n]), max: 100}).read(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut at %d: %v", n, err)
		}
	}
	if _, err := (&reader{from: bytes.NewReader(appendMessage(nil, kindEnd, 1, nil)), max: 100}).read(); !errors.Is(err, codec.ErrCorrupt) {
		t.Errorf("an unknown kind: %v", err)
	}
}

// TestOversized: a length beyond the limit is refused before anything of that size is allocated.
func TestOversized(t *testing.T) {
	header := appendHeader(nil, kindPut, 1, nil)
	binary.LittleEndian.PutUint32(header, 0xffff_ffff)
	r := &reader{from: bytes.NewReader(header), max: askBytesMax}
	if _, err := r.read(); !errors.Is(err, codec.ErrTooLarge) || cap(r.buffer) > 0 {
		t.Errorf("%v, %d bytes allocated", err, cap(r.buffer))
	}
}

func slotsAt(ids ...codec.LogID) []slot {
	var all []slot
	for _, id := range ids {
		all = append(all, slot{id: id})
	}
	return all
}

func TestAnswers(t *testing.T) {
	leader, other := codec.LeaderID{Term: 3, Node: 2}, codec.LeaderID{Term: 4, Node: 1}
	ids := []codec.LogID{{Leader: leader, Index: 7}, {Leader: leader, Index: 8}, {Leader: leader, Index: 10}, {Leader: other, Index: 11}}
	done := appendDone(nil, slotsAt(ids...))
	a, err := readAnswer(done, len(ids), nil)
	if err != nil || a.fate != fateDone || len(a.results) != len(ids) {
		t.Fatalf("%+v, %v", a, err)
	}
	for i, r := range a.results {
		if r.LogID != ids[i] {
			t.Errorf("put %d at %v, want %v", i, r.LogID, ids[i])
		}
	}
	if a, err := readAnswer(appendFailed(nil, fateUnknown, io.ErrClosedPipe), 4, nil); err != nil || a.fate != fateUnknown || a.leader != 0 || a.text != io.ErrClosedPipe.Error() {
		t.Errorf("unknown: %+v, %v", a, err)
	}
	for _, n := range []int{3, 5} {
		if _, err := readAnswer(done, n, nil); !errors.Is(err, codec.ErrCorrupt) {
			t.Errorf("answer to 4 puts taken for one to %d: %v", n, err)
		}
	}
	for n := range done {
		if _, err := readAnswer(done[:n], len(ids), nil); !errors.Is(err, codec.ErrCorrupt) {
			t.Errorf("cut at %d: %v", n, err)
		}
	}
	huge := append([]byte{byte(fateDone), 1, 1, 1, 1}, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f)
	for _, bad := range [][]byte{append(done, 0), {9}, huge} {
		if _, err := readAnswer(bad, len(ids), nil); !errors.Is(err, codec.ErrCorrupt) {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

// TestFateOfAFrame: puts of one frame are answered together, with what is known of all of them.
func TestFateOfAFrame(t *testing.T) {
	id := codec.LogID{Index: 1}
	for _, c := range []struct {
		errs []error
		want fate
	}{
		{[]error{nil, nil}, fateDone},
		{[]error{io.EOF, io.EOF}, fateRefused},
		{[]error{nil, io.EOF}, fateUnknown},
		{[]error{io.EOF, &pipeline.UnknownError{}}, fateUnknown},
		{[]error{&pipeline.UnknownError{}, nil}, fateUnknown},
	} {
		p := &pending{}
		for _, err := range c.errs {
			p.slots = append(p.slots, slot{id: id, err: err})
		}
		if got := fate(p.appendAnswer(nil)[0]); got != c.want {
			t.Errorf("%v: %d, want %d", c.errs, got, c.want)
		}
	}
}
