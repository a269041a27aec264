package snapshot

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/wal/vfs"
)

func testConfig(fsys vfs.FS) Config {
	return Config{FS: fsys, Dir: "node/snapshot/7", Cluster: "demo", Group: 7, ChunkBytes: ChunkBytesMin}
}

func baseAt(term codec.Term, index codec.Index) codec.LogBase {
	m := codec.NewMembership(codec.SeveralLeadersPerTerm, codec.Node{ID: 1, Address: "a"}, codec.Node{ID: 2, Address: "b"}, codec.Node{ID: 3})
	return codec.LogBase{
		ID:         codec.LogID{Leader: codec.LeaderID{Term: term, Node: 2}, Index: index},
		Membership: codec.MembershipRecord{ID: codec.LogID{Index: 1}, Membership: m},
	}
}

// stateOf returns n bytes that differ from seed to seed, half of them compressible.
func stateOf(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 5))
	b := make([]byte, n)
	for i := range b {
		if i/300%2 == 0 {
			b[i] = byte(r.Uint32())
		}
	}
	return b
}

func open(t testing.TB, cfg Config) *Store {
	t.Helper()
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// take writes a snapshot in pieces of odd sizes.
func take(s *Store, meta Meta, state []byte) (Info, error) {
	w, err := s.Create(meta)
	if err != nil {
		return Info{}, err
	}
	defer w.Abort()
	for rest, n := state, 1; len(rest) > 0; n = n*3%1001 + 1 {
		k := min(n, len(rest))
		if _, err := w.Write(rest[:k]); err != nil {
			return Info{}, err
		}
		rest = rest[k:]
	}
	return w.Commit()
}

func mustTake(t testing.TB, s *Store, meta Meta, state []byte) Info {
	t.Helper()
	info, err := take(s, meta, state)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// content is what a snapshot gives back.
func content(s *Store, info Info) (sessions, state []byte, err error) {
	r, err := s.Open(info)
	if err != nil {
		return nil, nil, err
	}
	state, err = io.ReadAll(r)
	return r.Sessions(), state, errors.Join(err, r.Close())
}

func checkContent(t testing.TB, s *Store, info Info, sessions, state []byte) {
	t.Helper()
	gotSessions, gotState, err := content(s, info)
	if err != nil || !bytes.Equal(gotSessions, sessions) || !bytes.Equal(gotState, state) {
		t.Fatalf("%v: %d bytes of sessions and %d of state, %v; want %d and %d", info.Base.ID, len(gotSessions), len(gotState), err, len(sessions), len(state))
	}
}

// files returns the names in the store's directory that end so.
func files(t testing.TB, cfg Config, suffix string) []string {
	t.Helper()
	names, err := cfg.FS.ReadDir(cfg.Dir)
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(names, func(n string) bool { return !strings.HasSuffix(n, suffix) })
}

func TestRoundTrip(t *testing.T) {
	for _, c := range []codec.Compression{codec.CompressionNone, codec.CompressionS2, codec.CompressionZstd} {
		for _, n := range []int{0, 1, ChunkBytesMin - 1, ChunkBytesMin, ChunkBytesMin + 1, 3 * ChunkBytesMin, 40_001} {
			t.Run(fmt.Sprintf("%v, %d bytes", c, n), func(t *testing.T) {
				cfg := testConfig(vfs.NewMem())
				cfg.Compression = c
				s := open(t, cfg)
				sessions, state := stateOf(1, n/7), stateOf(2, n)
				info := mustTake(t, s, Meta{Base: baseAt(3, 900), Sessions: sessions}, state)
				if info.StateBytes != int64(n) || info.SessionsBytes != int64(n/7) || info.Stateless || info.Base.ID.Index != 900 {
					t.Errorf("info %+v", info)
				}
				checkContent(t, s, info, sessions, state)
				again := open(t, cfg)
				newest, ok := again.Newest()
				if !ok || newest.ID() != info.ID() || again.Verify(newest) != nil {
					t.Fatalf("found %+v, %v after opening again; want %+v", newest, ok, info)
				}
				checkContent(t, again, newest, sessions, state)
			})
		}
	}
}

// transfer moves a snapshot from one store to another in pieces of n bytes.
func transfer(from, to *Store, info Info, n int) (Info, error) {
	raw, err := from.OpenRaw(info)
	if err != nil {
		return Info{}, err
	}
	defer raw.Close()
	r, err := to.Receive(info.ID())
	if err != nil {
		return Info{}, err
	}
	for at := r.Offset(); at < info.Size; at = r.Offset() {
		b := make([]byte, min(int64(n), info.Size-at))
		if err := readFull(raw.file, b, at); err != nil {
			return Info{}, err
		}
		if err := r.Write(at, b); err != nil {
			return Info{}, err
		}
	}
	return r.Finish()
}

func TestTransfer(t *testing.T) {
	for _, n := range []int{1, 100, ChunkBytesMin, 1 << 20} {
		from, to := open(t, testConfig(vfs.NewMem())), open(t, testConfig(vfs.NewMem()))
		state := stateOf(2, 5_000)
		info := mustTake(t, from, Meta{Base: baseAt(3, 900), Sessions: []byte("sessions")}, state)
		got, err := transfer(from, to, info, n)
		if err != nil || got.ID() != info.ID() {
			t.Fatalf("pieces of %d: %+v, %v", n, got, err)
		}
		checkContent(t, to, got, []byte("sessions"), state)
		if newest, ok := to.Newest(); !ok || newest.ID() != info.ID() {
			t.Fatalf("newest is %+v, %v", newest, ok)
		}
	}
}
