package safety

import "fmt"

// Verdict is the outcome of a check.
type Verdict struct {
	Acknowledged uint64   // puts answered without an error
	Unknown      uint64   // puts whose fate nobody knows
	Applied      []uint64 // entries applied, per replica
	Hashes       []string // over (log id, payload) of all of them, per replica
	OK           bool
	Reasons      []string // why not; empty when OK
}

// reasonsMax bounds the reasons of one verdict: the first few say what the rest repeat.
const reasonsMax = 8

// Check compares what the clients know with what the replicas were given. The clients must have ended and the nodes
// must be closed, after every replica had the chance to apply everything committed. Replicas are numbered from 1.
func Check(books []*Book, replicas []*Machine) Verdict {
	v := Verdict{}
	sum := uint64(0)
	for _, b := range books {
		v.Acknowledged += b.Acknowledged()
		v.Unknown += b.unknown.Len()
		sum += b.sum
	}
	if len(replicas) == 0 {
		v.fail("no replica to look at")
	}
	for i, m := range replicas {
		v.Applied = append(v.Applied, m.applied)
		v.Hashes = append(v.Hashes, fmt.Sprintf("%016x", m.hash))
		v.checkReplica(i+1, m, books, sum)
	}
	v.compare(replicas)
	v.OK = len(v.Reasons) == 0
	return v
}

func (v *Verdict) fail(format string, args ...any) {
	if len(v.Reasons) < reasonsMax {
		v.Reasons = append(v.Reasons, fmt.Sprintf(format, args...))
	}
}

func (v *Verdict) checkReplica(node int, m *Machine, books []*Book, sum uint64) {
	if m.violation != "" {
		v.fail("node %d: %s", node, m.violation)
	}
	if m.applied < v.Acknowledged {
		v.fail("node %d: %d entries applied, but %d acknowledged", node, m.applied, v.Acknowledged)
	}
	if m.applied > v.Acknowledged+v.Unknown {
		v.fail("node %d: %d entries applied, but only %d acknowledged and %d unknown", node, m.applied, v.Acknowledged, v.Unknown)
	}
	if m.identified {
		for i := range m.clients {
			if i < len(books) {
				v.checkClient(node, books[i], &m.clients[i])
			}
		}
	}
	switch {
	case m.applied == v.Acknowledged && m.sum != sum:
		v.fail("node %d: the log ids of the %d answers are not those of the %d entries applied", node, v.Acknowledged, m.applied)
	case m.applied > v.Acknowledged && !m.identified:
		v.fail("node %d: %d puts of unknown fate were applied and can't be told from acknowledged ones in payloads below %d bytes",
			node, m.applied-v.Acknowledged, IdentityBytes)
	}
}

// checkClient looks for each put of one client: the acknowledged ones must be there, the refused ones and those never
// issued must not.
func (v *Verdict) checkClient(node int, b *Book, applied *Serials) {
	missing, beyond := applied.gaps(b.issued)
	for _, gap := range missing {
		for serial := gap.from; serial < gap.to; serial++ {
			if !b.unknown.Has(serial) && !b.refused.Has(serial) {
				v.fail("node %d: put %d of client %d was acknowledged and is not applied", node, serial, b.client)
				break
			}
		}
	}
	for _, s := range beyond {
		v.fail("node %d: put %d of client %d is applied and was never issued", node, s.from, b.client)
	}
	for _, s := range b.refused.spans {
		for serial := s.from; serial < s.to; serial++ {
			if applied.Has(serial) {
				v.fail("node %d: put %d of client %d was refused and is applied", node, serial, b.client)
				break
			}
		}
	}
}

func (v *Verdict) compare(replicas []*Machine) {
	for i, m := range replicas {
		first := replicas[0]
		switch {
		case m.last != first.last:
			v.fail("node %d applied up to index %d, node 1 up to %d", i+1, m.last, first.last)
		case m.hash != first.hash:
			v.fail("node %d has hash %016x at index %d, node 1 %016x", i+1, m.hash, m.last, first.hash)
		}
	}
}
