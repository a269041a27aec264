package wal

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/millrace/millrace/codec"
)

// sampleRecords returns one record of each kind, chained, as they stand in a file.
func sampleRecords(t testing.TB) (log uint32, b batch) {
	t.Helper()
	id := identity{cluster: "golden", node: 5, incarnation: codec.Incarnation{1, 2, 3}}
	log = id.fingerprint()
	leader := codec.LeaderID{Term: 4, Node: 5}
	f := makeFrame(t, 6, leader, 1, codec.EntryNormal, []byte("put"), nil, []byte("get"))
	previous, seq := log, uint64(1)
	add := func(k kind, payload []byte, crc uint32) {
		h := header{kind: k, log: log, previous: previous, seq: seq, durable: seq / 2}
		b.add(&h, payload, crc)
		previous = h.crc
		seq++
	}
	small := func(k kind, payload []byte) { add(k, payload, codec.Checksum(payload)) }
	small(kindOpen, nil)
	small(kindVote, appendVote(nil, 6, codec.Vote{Leader: leader, Committed: true}))
	add(kindFrame, f.Bytes(), f.Checksum())
	small(kindTruncate, appendIndex(nil, 6, 2))
	small(kindCommit, appendIndex(nil, 6, 2))
	small(kindPeer, appendPeer(nil, 9, codec.Incarnation{7: 7}))
	small(kindSeal, nil)
	cut, err := codec.CutFrame(f, 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	add(kindMovedFrame, cut.Bytes(), cut.Checksum())
	small(kindMovedVote, appendMovedVote(nil, 6, codec.Vote{Leader: leader, Committed: true}, true))
	base := codec.LogBase{ID: codec.LogID{Leader: leader, Index: 2}}
	small(kindPurge, appendBase(nil, 6, &base))
	small(kindMovedBase, appendBase(nil, 6, &base))
	m := codec.NewMembership(codec.OneLeaderPerTerm, codec.Node{ID: 5, Address: "a:1"})
	small(kindJump, appendBase(nil, 6, &codec.LogBase{ID: codec.LogID{Leader: leader, Index: 9},
		Membership: codec.MembershipRecord{ID: codec.LogID{Leader: leader, Index: 4}, Membership: m}}))
	return log, b
}

// The bytes of each record are fixed: a log is read by later builds.
func TestRecordGolden(t *testing.T) {
	_, b := sampleRecords(t)
	var got strings.Builder
	id := identity{cluster: "golden", node: 5, incarnation: codec.Incarnation{1, 2, 3}}
	got.WriteString("identity " + hex.EncodeToString(id.append(nil)) + "\n")
	for _, r := range b.records {
		got.WriteString(kind(b.bytes[r.data+1]).String() + " " + hex.EncodeToString(b.bytes[r.start:r.end]) + "\n")
	}
	name := filepath.Join("testdata", "records.golden")
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Fatalf("the format changed: raise formatVersion and keep reading the old one\n%s", got.String())
	}
}

func TestRecordRoundTrip(t *testing.T) {
	log, b := sampleRecords(t)
	rest, previous := b.bytes, log
	bk := newBook()
	bk.begin(segment{first: 1})
	for n := 1; len(rest) > 0; n++ {
		if s := bk.group(6).state(bk.sealed); n == 8 && (s.Vote.String() != "T4-N5+" || s.Commit != 2 || len(s.Frames) != 1 ||
			s.Frames[0].Last() != 2 || !s.CleanClose || !s.Base.ID.IsZero()) {
			t.Fatalf("%+v", s)
		}
		r, err := readRecord(rest, log)
		if err != nil || r.seq != uint64(n) || r.previous != previous || r.durable != uint64(n)/2 {
			t.Fatalf("record %d: %+v, %v", n, r.header, err)
		}
		if err := bk.replay(&r); err != nil {
			t.Fatal(err)
		}
		rest, previous = rest[r.size:], r.crc
		if s := bk.group(6).state(true); n == 9 && (s.CleanClose || len(s.Frames) != 1 || s.Frames[0].Last() != 2) {
			t.Fatalf("after what was moved: %+v", s)
		}
	}
	s := bk.group(6).state(bk.sealed)
	if s.Base.ID.String() != "T4-N5-9" || s.Base.Membership.ID.Index != 4 || s.Base.Membership.Membership.Nodes[0].Address != "a:1" ||
		len(s.Frames) != 0 || s.CleanClose || bk.peers[9].incarnation != (codec.Incarnation{7: 7}) {
		t.Fatalf("%+v", s)
	}
	if _, err := readRecord(b.bytes, log+1); !errors.Is(err, errForeign) || !errors.Is(err, codec.ErrCorrupt) {
		t.Fatalf("record of another log: %v", err)
	}
}

// No flipped bit and no cut leaves a record valid, and zeros are never one.
func TestRecordDamageIsNoticed(t *testing.T) {
	log, b := sampleRecords(t)
	for _, r := range b.records {
		rec := bytes.Clone(b.bytes[r.start:r.end])
		for bit := range 8 * len(rec) {
			rec[bit/8] ^= 1 << (bit % 8)
			if got, err := readRecord(rec, log); err == nil {
				t.Errorf("%v record with bit %d flipped: valid", got.kind, bit)
			}
			rec[bit/8] ^= 1 << (bit % 8)
		}
		for cut := range rec {
			if _, err := readRecord(rec[:cut], log); !errors.Is(err, codec.ErrCorrupt) {
				t.Errorf("cut at %d: %v", cut, err)
			}
		}
	}
	if _, err := readRecord(make([]byte, 1000), log); !errors.Is(err, codec.ErrCorrupt) {
		t.Errorf("zeros: %v", err)
	}
	if _, ok := authentic(make([]byte, 1000)); ok {
		t.Error("zeros are a header")
	}
}
