package codec

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func sampleBases() []named[LogBase] {
	id := LogID{Leader: LeaderID{Term: 0x0102030405060708, Node: 3}, Index: 0x1112131415161718}
	return []named[LogBase]{
		{"zero", LogBase{}},
		{"without a membership", LogBase{ID: id}},
		{"imported", LogBase{ID: LogID{Index: 1}, Membership: MembershipRecord{LogID{Index: 1}, sampleMemberships()[0].value}}},
		{"with a membership", LogBase{ID: id, Membership: MembershipRecord{
			LogID{Leader: LeaderID{Term: 2, Node: 1}, Index: 0x99}, sampleMemberships()[3].value}}},
	}
}

func TestLogBaseGolden(t *testing.T) {
	var got []named[[]byte]
	for _, s := range sampleBases() {
		got = append(got, named[[]byte]{s.name, AppendLogBase(nil, &s.value)})
	}
	want := golden(t, "base", got)
	for i, s := range sampleBases() {
		checkGolden(t, s.name, want[s.name], got[i].value)
		b, n, err := ReadLogBase(append(bytes.Clone(want[s.name]), 0xAA))
		if err != nil || n != len(want[s.name]) || !reflect.DeepEqual(b, s.value) {
			t.Errorf("%s: read %+v, %d bytes, %v; want %+v", s.name, b, n, err, s.value)
		}
		for cut := range want[s.name] {
			if _, n, err := ReadLogBase(want[s.name][:cut]); n != 0 || !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s cut to %d bytes: %d bytes, %v", s.name, cut, n, err)
			}
		}
	}
	if _, _, err := ReadLogBase([]byte{LogBaseVersion + 1}); !errors.Is(err, ErrVersion) {
		t.Errorf("a base of a later version: %v", err)
	}
}

func TestLogBaseInvalid(t *testing.T) {
	at := func(term Term, node NodeID, index Index) LogID { return LogID{LeaderID{term, node}, index} }
	m := sampleMemberships()[0].value
	for name, b := range map[string]LogBase{
		"a leader without an index":           {ID: at(1, 1, 0)},
		"a membership without a log id":       {ID: at(1, 1, 5), Membership: MembershipRecord{Membership: m}},
		"a membership at index 0":             {ID: at(2, 1, 5), Membership: MembershipRecord{at(1, 1, 0), m}},
		"a membership behind the base":        {ID: at(2, 1, 5), Membership: MembershipRecord{at(2, 1, 6), m}},
		"a membership of a later leader":      {ID: at(2, 1, 5), Membership: MembershipRecord{at(2, 2, 4), m}},
		"a membership at another id":          {ID: at(2, 1, 5), Membership: MembershipRecord{at(1, 1, 5), m}},
		"a membership of nobody":              {ID: at(2, 1, 5), Membership: MembershipRecord{at(1, 1, 4), Membership{Mode: OneLeaderPerTerm}}},
		"a membership before the first entry": {Membership: MembershipRecord{at(1, 1, 1), m}},
	} {
		if b.Validate() == nil {
			t.Errorf("%s: no error", name)
		}
		panicked := func() (p bool) {
			defer func() { p = recover() != nil }()
			AppendLogBase(nil, &b)
			return false
		}()
		if !panicked {
			t.Errorf("%s was encoded", name)
		}
	}
}

// TestReadLogBaseThatCanNotBe: bytes that read well and say what no log begins with, a leader without an entry.
func TestReadLogBaseThatCanNotBe(t *testing.T) {
	b := AppendLogBase(nil, &LogBase{ID: LogID{LeaderID{1, 1}, 5}})
	index := bytes.LastIndexByte(b, 5)
	b[index] = 0
	if got, _, err := ReadLogBase(b); !errors.Is(err, ErrCorrupt) || !got.ID.IsZero() {
		t.Errorf("%x: %v, %v; want ErrCorrupt", b, got.ID, err)
	}
}

// TestLogBaseBytesMax builds the largest membership there is: its base fits what readers allow for one.
func TestLogBaseBytesMax(t *testing.T) {
	largest := NodeID(1<<64 - 1)
	m := Membership{Mode: OneLeaderPerTerm, Transient: true}
	voters := make([]NodeID, MembershipNodesMax)
	weights := make([]uint32, MembershipNodesMax)
	groups := make([]QuorumGroup, MembershipNodesMax)
	for i := range voters {
		voters[i] = largest - NodeID(MembershipNodesMax-1-i)
		weights[i] = 1<<22 - 1
		groups[i] = QuorumGroup{Voters: voters[i : i+1], Election: 1, Write: 1}
		m.Nodes = append(m.Nodes, Node{ID: voters[i], Address: strings.Repeat("a", AddressBytesMax), Incarnation: Incarnation{1}})
	}
	for _, q := range []QuorumSystem{
		{Kind: QuorumWeighted, Election: 1 << 31, Write: 1<<31 + 1, Weights: weights},
		{Kind: QuorumHierarchical, Election: 600, Write: 600, Groups: groups},
	} {
		m.Configs = nil
		for range MembershipConfigsMax {
			m.Configs = append(m.Configs, VoterConfig{Voters: voters, Quorum: q})
		}
		id := LogID{LeaderID{1 << 63, largest}, 1 << 63}
		b := AppendLogBase(nil, &LogBase{ID: id, Membership: MembershipRecord{id, m}})
		if len(b) > LogBaseBytesMax {
			t.Errorf("%v: %d bytes, limit %d", q.Kind, len(b), LogBaseBytesMax)
		}
		if _, n, err := ReadLogBase(b); n != len(b) || err != nil {
			t.Errorf("%v: read %d of %d bytes, %v", q.Kind, n, len(b), err)
		}
	}
}

func FuzzReadLogBase(f *testing.F) {
	for _, s := range sampleBases() {
		f.Add(AppendLogBase(nil, &s.value))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		b, n, err := ReadLogBase(src)
		if err != nil {
			if n != 0 || !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
				t.Fatalf("%d bytes, %v", n, err)
			}
			return
		}
		if again := AppendLogBase(nil, &b); !bytes.Equal(again, src[:n]) {
			t.Fatalf("encoded again as %x, was %x", again, src[:n])
		}
	})
}
