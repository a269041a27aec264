package codec

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func sampleForwards() []named[Forward] {
	return []named[Forward]{
		{"normal", Forward{Kind: EntryNormal, Data: []byte("put")}},
		{"empty", Forward{Kind: EntryNormal, Data: []byte{}}},
		{"session", Forward{Kind: EntrySession, IfLeader: LeaderID{Term: 0x0102030405060708, Node: 9}, Data: []byte{1, 3, 17, 1, 0}}},
	}
}

func sampleRefusals() []named[Refusal] {
	return []named[Refusal]{
		{"not-leader", Refusal{Reason: RefusalNotLeader, Numbers: [3]uint64{3}, Text: "10.0.0.3:7000"}},
		{"busy", Refusal{Reason: RefusalBusy, Numbers: [3]uint64{0x0102030405060708, 64 << 20}, Text: "intake"}},
		{"answered", Refusal{Reason: RefusalAnswered, Numbers: [3]uint64{17, 4, 5}}},
		{"other", Refusal{Reason: RefusalOther, Text: strings.Repeat("x", RefusalTextMax)}},
	}
}

func TestForwardGolden(t *testing.T) {
	var got []named[[]byte]
	for _, s := range sampleForwards() {
		got = append(got, named[[]byte]{s.name, AppendForward(nil, &s.value)})
	}
	want := golden(t, "forward", got)
	for i, s := range sampleForwards() {
		checkGolden(t, s.name, want[s.name], got[i].value)
		f, err := ReadForward(want[s.name])
		if err != nil || fmt.Sprint(f) != fmt.Sprint(s.value) {
			t.Errorf("%s: read %+v, %v; want %+v", s.name, f, err, s.value)
		}
	}
}

func TestRefusalGolden(t *testing.T) {
	var got []named[[]byte]
	for _, s := range sampleRefusals() {
		got = append(got, named[[]byte]{s.name, AppendRefusal(nil, &s.value)})
	}
	want := golden(t, "refusal", got)
	for i, s := range sampleRefusals() {
		checkGolden(t, s.name, want[s.name], got[i].value)
		r, err := ReadRefusal(want[s.name])
		if err != nil || r != s.value {
			t.Errorf("%s: read %+v, %v; want %+v", s.name, r, err, s.value)
		}
	}
}

func TestForwardRefused(t *testing.T) {
	forward := AppendForward(nil, &Forward{Kind: EntryNormal, Data: []byte("x")})
	refusal := AppendRefusal(nil, &Refusal{Reason: RefusalOther, Text: strings.Repeat("x", 2*RefusalTextMax)})
	if len(refusal) != refusalHeaderSize+RefusalTextMax {
		t.Errorf("a text that is too long is not cut: %d bytes", len(refusal))
	}
	with := func(src []byte, at int, b byte) []byte {
		src = bytes.Clone(src)
		src[at] = b
		return src
	}
	for name, c := range map[string]struct {
		src  []byte
		read func([]byte) error
		want error
	}{
		"forward: nothing":         {nil, readForward, ErrCorrupt},
		"forward: cut":             {forward[:ForwardHeaderSize-1], readForward, ErrCorrupt},
		"forward: version":         {with(forward, 0, 2), readForward, ErrVersion},
		"forward: blank entry":     {with(forward, 1, byte(EntryBlank)), readForward, ErrCorrupt},
		"forward: restore entry":   {with(forward, 1, byte(EntryRestore)), readForward, ErrCorrupt},
		"refusal: nothing":         {nil, readRefusal, ErrCorrupt},
		"refusal: cut":             {refusal[:refusalHeaderSize-1], readRefusal, ErrCorrupt},
		"refusal: version":         {with(refusal, 0, 2), readRefusal, ErrVersion},
		"refusal: no reason":       {with(refusal, 1, 0), readRefusal, ErrCorrupt},
		"refusal: unknown reason":  {with(refusal, 1, refusalReasonEnd), readRefusal, ErrCorrupt},
		"refusal: one byte beyond": {append(bytes.Clone(refusal), 'x'), readRefusal, ErrTooLarge},
	} {
		if err := c.read(c.src); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	for name, fn := range map[string]func(){
		"forward of a membership": func() { AppendForward(nil, &Forward{Kind: EntryMembership}) },
		"refusal without reason":  func() { AppendRefusal(nil, &Refusal{}) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			fn()
		}()
	}
}

func readForward(src []byte) error { _, err := ReadForward(src); return err }
func readRefusal(src []byte) error { _, err := ReadRefusal(src); return err }

func FuzzReadForward(f *testing.F) {
	for _, s := range sampleForwards() {
		f.Add(AppendForward(nil, &s.value))
	}
	for _, s := range sampleRefusals() {
		f.Add(AppendRefusal(nil, &s.value))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		if p, err := ReadForward(src); err == nil {
			if again := AppendForward(nil, &p); !bytes.Equal(again, src) {
				t.Fatalf("encoded again as %x, was %x", again, src)
			}
		}
		if r, err := ReadRefusal(src); err == nil {
			if again := AppendRefusal(nil, &r); !bytes.Equal(again, src) {
				t.Fatalf("encoded again as %x, was %x", again, src)
			}
		}
	})
}
