package safety

import "fmt"

// Verdict is the outcome of a check.
type Verdict struct {
	Acknowledged uint64   // puts answered without an error
	Unknown      uint64   // puts whose fate nobody knows
	Applied      []uint64 // entries applied, per replica
	Hashes       []string // over (log id, payload) of all of them, per replica
	OK           bool     // everything was looked at and nothing is wrong
	Reasons      []string // what is wrong: lost, repeated, altered
	Unproven     []string // why something could not be looked at
}

// reasonsMax bounds the reasons of one verdict: the first few say what the rest repeat.
const reasonsMax = 8

// Check compares what the clients know with what the replicas were given. The clients must have ended and the nodes
// must be closed, after every replica had the chance to apply everything committed. Replicas are numbered from 1.
//
// unfinished says why some of them had not that chance, and is empty when all had. What a replica lacks is then no loss
// as long as another one went further: whatever was acknowledged was applied by the node that did so. A replica that could
// not be looked at is nil.
func Check(books []*Book, replicas []*Machine, unfinished []string) Verdict {
	v := Verdict{}
	sum := uint64(0)
	for _, b := range books {
		v.Acknowledged += b.Acknowledged()
		v.Unknown += b.unknown.Len()
		sum += b.sum
	}
	for _, why := range unfinished {
		v.unproven("%s", why)
	}
	if len(replicas) == 0 {
		v.fail("no replica to look at")
	}
	furthest := furthest(replicas)
	for i, m := range replicas {
		if m == nil {
			v.Applied, v.Hashes = append(v.Applied, 0), append(v.Hashes, "")
			v.unproven("node %d could not be looked at", i+1)
			continue
		}
		v.Applied = append(v.Applied, m.applied)
		v.Hashes = append(v.Hashes, fmt.Sprintf("%016x", m.hash))
		v.checkReplica(i+1, m, books)
		if len(unfinished) > 0 && m.last < replicas[furthest].last {
			v.unproven("node %d applied up to index %d, node %d up to %d", i+1, m.last, furthest+1, replicas[furthest].last)
			continue
		}
		v.checkAcknowledged(i+1, m, books, sum)
		v.compare(i+1, m, furthest+1, replicas[furthest])
	}
	if v.Acknowledged == 0 {
		v.unproven("no put was acknowledged: nothing is proven")
	}
	v.OK = len(v.Reasons) == 0 && len(v.Unproven) == 0
	return v
}

// furthest returns the first replica that got to the highest index, of those that there are.
func furthest(replicas []*Machine) int {
	best := 0
	for i, m := range replicas {
		if m != nil && (replicas[best] == nil || m.last > replicas[best].last) {
			best = i
		}
	}
	return best
}

func (v *Verdict) fail(format string, args ...any) {
	if len(v.Reasons) < reasonsMax {
		v.Reasons = append(v.Reasons, fmt.Sprintf(format, args...))
	}
}

func (v *Verdict) unproven(format string, args ...any) {
	if len(v.Unproven) < reasonsMax {
		v.Unproven = append(v.Unproven, fmt.Sprintf(format, args...))
	}
}

// checkReplica looks for what a replica must not have, however far it got.
func (v *Verdict) checkReplica(node int, m *Machine, books []*Book) {
	if m.violation != "" {
		v.fail("node %d: %s", node, m.violation)
	}
	if m.applied > v.Acknowledged+v.Unknown {
		v.fail("node %d: %d entries applied, but only %d acknowledged and %d unknown", node, m.applied, v.Acknowledged, v.Unknown)
	}
	for i := range min(len(m.clients), len(books)) {
		b, applied := books[i], &m.clients[i]
		_, beyond := applied.gaps(b.issued)
		for _, s := range beyond {
			v.fail("node %d: put %d of client %d is applied and was never issued", node, s.from, b.client)
		}
		for _, s := range b.refused.spans {
			if serial, ok := first(s, applied.Has); ok {
				v.fail("node %d: put %d of client %d was refused and is applied", node, serial, b.client)
			}
		}
	}
}

// checkAcknowledged looks for each acknowledged put, on a replica that must have all of them.
func (v *Verdict) checkAcknowledged(node int, m *Machine, books []*Book, sum uint64) {
	if m.applied < v.Acknowledged {
		v.fail("node %d: %d entries applied, but %d acknowledged", node, m.applied, v.Acknowledged)
	}
	for i := range min(len(m.clients), len(books)) {
		b := books[i]
		missing, _ := m.clients[i].gaps(b.issued)
		for _, gap := range missing {
			acknowledged := func(serial uint64) bool { return !b.unknown.Has(serial) && !b.refused.Has(serial) }
			if serial, ok := first(gap, acknowledged); ok {
				v.fail("node %d: put %d of client %d was acknowledged and is not applied", node, serial, b.client)
			}
		}
	}
	switch {
	case m.applied == v.Acknowledged && m.sum != sum:
		v.fail("node %d: the log ids of the %d answers are not those of the %d entries applied", node, v.Acknowledged, m.applied)
	case m.applied > v.Acknowledged && m.applied <= v.Acknowledged+v.Unknown && !m.identified:
		v.unproven("node %d: %d puts of unknown fate were applied and can't be told from acknowledged ones in payloads below %d bytes",
			node, m.applied-v.Acknowledged, IdentityBytes)
	}
}

// first returns the first serial of a span that fits.
func first(s span, fits func(uint64) bool) (uint64, bool) {
	for serial := s.from; serial < s.to; serial++ {
		if fits(serial) {
			return serial, true
		}
	}
	return 0, false
}

// compare compares a replica with one that got furthest.
func (v *Verdict) compare(node int, m *Machine, other int, furthest *Machine) {
	switch {
	case m.last != furthest.last:
		v.fail("node %d applied up to index %d, node %d up to %d", node, m.last, other, furthest.last)
	case m.hash != furthest.hash:
		v.fail("node %d has hash %016x at index %d, node %d %016x", node, m.hash, m.last, other, furthest.hash)
	}
}
