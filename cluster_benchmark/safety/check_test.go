package safety

import (
	"slices"
	"strings"
	"testing"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/pipeline"
)

// history is what happened in a run, before it is told to books and machines: tests break it in between.
type history struct {
	payload int
	books   []*Book
	// logs are the entries given to each replica.
	logs [3][]pipeline.Entry
	next codec.Index
	// unfinished says why not every replica could apply everything.
	unfinished []string
}

const clients = 2

func newHistory(payload int) *history {
	h := &history{payload: payload, next: 2} // 1 is the membership
	for i := range clients {
		book := NewBook(i, payload)
		h.books = append(h.books, &book)
	}
	return h
}

// fate is what a client is told of a put, and whether it is in the log.
type fate struct {
	acknowledged, unknown, applied bool
}

var (
	done        = fate{acknowledged: true, applied: true}
	unknownDone = fate{unknown: true, applied: true}
	unknownGone = fate{unknown: true}
	refused     = fate{}
)

func (h *history) put(client int, f fate) {
	data := make([]byte, h.payload)
	for i := range data {
		data[i] = byte(i*7 + client)
	}
	book := h.books[client]
	serial := book.Issue(data)
	id := codec.LogID{Leader: codec.LeaderID{Term: 3, Node: 2}, Index: h.next}
	if f.applied {
		h.next++
		for i := range h.logs {
			h.logs[i] = append(h.logs[i], pipeline.Entry{ID: id, Kind: codec.EntryNormal, Data: slices.Clone(data)})
		}
	}
	switch {
	case f.acknowledged:
		book.Acknowledge(serial, id)
	case f.unknown:
		book.Unknown(serial)
	default:
		book.Refuse(serial)
	}
}

func (h *history) check() Verdict {
	var machines []*Machine
	for _, log := range h.logs {
		m := NewMachine(clients, h.payload)
		for len(log) > 0 { // in batches of up to 3
			n := min(3, len(log))
			if err := m.Apply(log[:n], make([]pipeline.Result, n)); err != nil {
				panic(err)
			}
			log = log[n:]
		}
		machines = append(machines, m)
	}
	return Check(h.books, machines, h.unfinished)
}

// standard returns a history of 20 acknowledged puts.
func standard(payload int) *history {
	h := newHistory(payload)
	for i := range 20 {
		h.put(i%clients, done)
	}
	return h
}

func TestGoodHistories(t *testing.T) {
	for _, payload := range []int{0, 8, 15, 16, 128} {
		v := standard(payload).check()
		if !v.OK || v.Acknowledged != 20 || !slices.Equal(v.Applied, []uint64{20, 20, 20}) || len(v.Hashes) != 3 || v.Hashes[0] != v.Hashes[2] {
			t.Errorf("payload %d: %+v, want ok", payload, v)
		}
		h := standard(payload)
		h.put(0, refused)
		h.put(1, unknownGone)
		h.put(0, done)
		if v := h.check(); !v.OK || v.Acknowledged != 21 || v.Unknown != 1 {
			t.Errorf("payload %d, with errors: %+v, want ok", payload, v)
		}
	}
	h := standard(16)
	h.put(0, unknownDone)
	h.put(0, done)
	if v := h.check(); !v.OK || v.Unknown != 1 || v.Applied[1] != 22 {
		t.Errorf("an unknown put that happened: %+v, want ok", v)
	}
}

// breaking is one way to break the log of one replica, or of all.
type breaking struct {
	name  string
	apply func(log []pipeline.Entry) []pipeline.Entry
	// everywhere: what is found when all replicas are broken the same way; empty where that can't be told.
	everywhere string
	// small: the same with payloads too small for an identity.
	small string
	// one: what is found when a single replica is broken.
	one string
}

var breakings = []breaking{
	{
		"an entry is lost",
		func(log []pipeline.Entry) []pipeline.Entry { return slices.Delete(log, 7, 8) },
		"was acknowledged and is not applied", "but 20 acknowledged", "but 20 acknowledged",
	}, {
		"the last entry is lost",
		func(log []pipeline.Entry) []pipeline.Entry { return log[:19] },
		"was acknowledged and is not applied", "but 20 acknowledged", "up to index",
	}, {
		"an entry is applied twice",
		func(log []pipeline.Entry) []pipeline.Entry { return slices.Insert(log, 7, log[6]) },
		"applied after index", "applied after index", "applied after index",
	}, {
		"a put stands in the log twice, another is lost",
		func(log []pipeline.Entry) []pipeline.Entry { log[8].Data = log[6].Data; return log },
		"applied again", "", "applied again",
	}, {
		"two puts change places",
		func(log []pipeline.Entry) []pipeline.Entry {
			log[3].Data, log[4].Data = log[4].Data, log[3].Data
			return log
		},
		"the log ids of the 20 answers are not those", "", "has hash",
	}, {
		"an entry is of another term",
		func(log []pipeline.Entry) []pipeline.Entry { log[5].ID.Leader.Term++; return log },
		"the log ids of the 20 answers are not those", "the log ids of the 20 answers are not those", "has hash",
	}, {
		"an entry is of another node's leadership",
		func(log []pipeline.Entry) []pipeline.Entry { log[5].ID.Leader.Node++; return log },
		"the log ids of the 20 answers are not those", "the log ids of the 20 answers are not those", "has hash",
	}, {
		"entries are out of order",
		func(log []pipeline.Entry) []pipeline.Entry { log[3], log[4] = log[4], log[3]; return log },
		"applied after index", "applied after index", "applied after index",
	}, {
		"a byte behind the identity is altered",
		func(log []pipeline.Entry) []pipeline.Entry {
			if n := len(log[5].Data); n > 0 {
				log[5].Data[n-1] ^= 1
			}
			return log
		},
		"", "", "has hash",
	}, {
		"an entry nobody put",
		func(log []pipeline.Entry) []pipeline.Entry {
			extra := log[len(log)-1]
			extra.ID.Index++
			extra.Data = slices.Clone(extra.Data)
			if len(extra.Data) >= IdentityBytes {
				PutIdentity(extra.Data, 1, 10)
			}
			return append(log, extra)
		},
		"was never issued", "but only 20 acknowledged and 0 unknown", "but only 20 acknowledged and 0 unknown",
	}, {
		"an entry of a client that does not exist",
		func(log []pipeline.Entry) []pipeline.Entry {
			if len(log[5].Data) >= IdentityBytes {
				PutIdentity(log[5].Data, 99, 0)
			}
			return log
		},
		"is of client 99, want below 2", "", "is of client 99, want below 2",
	}, {
		"a payload is cut short",
		func(log []pipeline.Entry) []pipeline.Entry {
			log[5].Data = log[5].Data[:min(len(log[5].Data), 3)]
			return log
		},
		"has 3 bytes, want at least the 16", "", "has 3 bytes, want at least the 16",
	},
}

func (b *breaking) expect(t *testing.T, what string, h *history, want string) {
	t.Helper()
	v := h.check()
	if v.OK != (len(v.Reasons) == 0) || len(v.Unproven) > 0 {
		t.Errorf("%s, %s: ok is %v with reasons %q and %q", b.name, what, v.OK, v.Reasons, v.Unproven)
	}
	if want == "" {
		return
	}
	if v.OK || !strings.Contains(strings.Join(v.Reasons, "\n"), want) {
		t.Errorf("%s, %s: ok %v, reasons %q, want one with %q", b.name, what, v.OK, v.Reasons, want)
	}
}

func TestBrokenHistories(t *testing.T) {
	for i := range breakings {
		b := &breakings[i]
		for node := range 3 {
			h := standard(32)
			h.logs[node] = b.apply(h.logs[node])
			b.expect(t, "on one node", h, b.one)
		}
		everywhere, small := standard(32), standard(8)
		for node := range 3 {
			everywhere.logs[node] = b.apply(everywhere.logs[node])
			small.logs[node] = b.apply(small.logs[node])
		}
		b.expect(t, "everywhere", everywhere, b.everywhere)
		b.expect(t, "everywhere, small payload", small, b.small)
	}
}

func TestRefusedPutThatHappened(t *testing.T) {
	h := standard(16)
	h.put(1, fate{applied: true})
	v := h.check()
	if v.OK || !strings.Contains(strings.Join(v.Reasons, "\n"), "put 10 of client 1 was refused and is applied") {
		t.Errorf("%+v, want a reason", v)
	}
}

func TestAcknowledgedPutThatDidNotHappen(t *testing.T) {
	for _, payload := range []int{0, 16} {
		h := standard(payload)
		h.put(1, fate{acknowledged: true})
		if v := h.check(); v.OK || v.Acknowledged != 21 {
			t.Errorf("payload %d: %+v, want not ok", payload, v)
		}
	}
}

// TestLossHiddenByAnUnknownPut: the counts agree, only the identity tells.
func TestLossHiddenByAnUnknownPut(t *testing.T) {
	h := standard(16)
	h.put(0, fate{acknowledged: true})
	h.put(0, unknownDone)
	v := h.check()
	if v.OK || !strings.Contains(strings.Join(v.Reasons, "\n"), "put 10 of client 0 was acknowledged and is not applied") {
		t.Errorf("%+v, want the lost put named", v)
	}
}

func TestSmallPayloadsWithUnknownPutsProveNothing(t *testing.T) {
	h := standard(8)
	h.put(0, unknownDone)
	v := h.check()
	if v.OK || len(v.Reasons) > 0 || !strings.Contains(v.Unproven[0], "1 puts of unknown fate were applied and can't be told") {
		t.Errorf("%+v, want not ok", v)
	}
}

func TestNothingAcknowledgedProvesNothing(t *testing.T) {
	for _, f := range []fate{refused, unknownGone, unknownDone} {
		h := newHistory(16)
		h.put(0, f)
		if v := h.check(); v.OK || len(v.Reasons) > 0 || !slices.Equal(v.Unproven, []string{"no put was acknowledged: nothing is proven"}) {
			t.Errorf("%+v: %+v, want nothing wrong and nothing proven", f, v)
		}
	}
}

// TestUnfinished: a replica that is behind because the run did not finish has lost nothing, but nothing is proven
// either. What no replica has is lost all the same, and what must not be there stays wrong.
func TestUnfinished(t *testing.T) {
	stuck := []string{"node 2 stopped"}
	behind := func(payload int, nodes ...int) *history {
		h := standard(payload)
		h.unfinished = stuck
		for _, n := range nodes {
			h.logs[n] = h.logs[n][:12]
		}
		return h
	}
	for _, payload := range []int{0, 32} {
		if v := behind(payload).check(); v.OK || len(v.Reasons) > 0 || !slices.Equal(v.Unproven, stuck) {
			t.Errorf("payload %d, all have everything: %+v", payload, v)
		}
		for _, nodes := range [][]int{{0}, {1}, {0, 2}} {
			v := behind(payload, nodes...).check()
			if v.OK || len(v.Reasons) > 0 || len(v.Unproven) != 1+len(nodes) || !strings.Contains(v.Unproven[1], "applied up to index 13, node") {
				t.Errorf("payload %d, nodes %v behind: %+v, want nothing wrong", payload, nodes, v)
			}
		}
		v := behind(payload, 0, 1, 2).check()
		if v.OK || !strings.Contains(strings.Join(v.Reasons, "\n"), "12 entries applied, but 20 acknowledged") {
			t.Errorf("payload %d, lost everywhere: %+v, want a reason", payload, v)
		}
	}
	h := behind(32, 1)
	h.logs[1] = slices.Insert(h.logs[1], 7, h.logs[1][6])
	if v := h.check(); !strings.Contains(strings.Join(v.Reasons, "\n"), "node 2: entry T3-N2-8 applied after index 8") {
		t.Errorf("applied twice on a node that is behind: %+v, want a reason", v)
	}
	h = behind(32, 1)
	h.logs[0][3].Data[20] ^= 1
	if v := h.check(); len(v.Reasons) == 0 || !strings.Contains(v.Reasons[0], "has hash") {
		t.Errorf("altered on a node that has everything: %+v, want a reason", v)
	}
}

func TestNoReplicas(t *testing.T) {
	if v := Check(nil, nil, nil); v.OK {
		t.Error("ok without a replica to look at")
	}
}

func TestReasonsAreBounded(t *testing.T) {
	h := standard(16)
	for range 100 {
		h.put(0, fate{acknowledged: true})
		h.put(0, done)
	}
	if v := h.check(); len(v.Reasons) != reasonsMax {
		t.Errorf("%d reasons, want %d", len(v.Reasons), reasonsMax)
	}
}

// TestMixTellsNeighboursApart: log ids that differ in one field by a little must not share a mix, nor sums of two.
func TestMixTellsNeighboursApart(t *testing.T) {
	seen := map[uint64]codec.LogID{}
	for term := range codec.Term(8) {
		for node := range codec.NodeID(8) {
			for index := range codec.Index(512) {
				id := codec.LogID{Leader: codec.LeaderID{Term: term, Node: node}, Index: index}
				if other, ok := seen[mixLogID(id)]; ok {
					t.Fatalf("%v and %v share a mix", id, other)
				}
				seen[mixLogID(id)] = id
			}
		}
	}
}

func BenchmarkApply(b *testing.B) {
	for _, payload := range []int{0, 128} {
		b.Run(map[int]string{0: "empty", 128: "128B"}[payload], func(b *testing.B) {
			m := NewMachine(1, payload)
			entries := make([]pipeline.Entry, 1000)
			for i := range entries {
				entries[i].Data = make([]byte, payload)
			}
			serial, index := uint64(0), codec.Index(0)
			b.ReportAllocs()
			for b.Loop() {
				for i := range entries {
					if payload > 0 {
						PutIdentity(entries[i].Data, 0, serial)
					}
					serial++
					index++
					entries[i].ID.Index = index
				}
				_ = m.Apply(entries, nil)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(serial), "ns/put")
		})
	}
}
