package safety

import (
	"slices"
)

// span is the serials from..to-1.
type span struct{ from, to uint64 }

// Serials is a set of serials, kept as ranges: small as long as most serials are there or most are not.
type Serials struct {
	// Invariant: ascending, none empty, a gap between each two.
	spans []span
}

// Add puts a serial in and reports whether it was new. In ascending order it costs a comparison.
func (s *Serials) Add(serial uint64) bool {
	if n := len(s.spans); n > 0 && s.spans[n-1].to == serial {
		s.spans[n-1].to++
		return true
	}
	return s.insert(serial)
}

func (s *Serials) insert(serial uint64) bool {
	i := s.search(serial)
	if i < len(s.spans) && s.spans[i].from <= serial {
		return false
	}
	joinsLeft := i > 0 && s.spans[i-1].to == serial
	joinsRight := i < len(s.spans) && s.spans[i].from == serial+1
	switch {
	case joinsLeft && joinsRight:
		s.spans[i-1].to = s.spans[i].to
		s.spans = slices.Delete(s.spans, i, i+1)
	case joinsLeft:
		s.spans[i-1].to++
	case joinsRight:
		s.spans[i].from--
	default:
		s.spans = slices.Insert(s.spans, i, span{serial, serial + 1})
	}
	return true
}

// search returns the first span that ends above serial.
func (s *Serials) search(serial uint64) int {
	i, _ := slices.BinarySearchFunc(s.spans, serial, func(v span, serial uint64) int {
		if v.to <= serial {
			return -1
		}
		return 1
	})
	return i
}

// Has reports whether a serial is in.
func (s *Serials) Has(serial uint64) bool {
	i := s.search(serial)
	return i < len(s.spans) && s.spans[i].from <= serial
}

// Len returns the number of serials.
func (s *Serials) Len() uint64 {
	n := uint64(0)
	for _, v := range s.spans {
		n += v.to - v.from
	}
	return n
}

// gaps returns the serials below end that are not in, as ranges, followed by what is in from end on.
func (s *Serials) gaps(end uint64) (missing, beyond []span) {
	next := uint64(0)
	for _, v := range s.spans {
		if v.from > next && next < end {
			missing = append(missing, span{next, min(v.from, end)})
		}
		if v.to > end {
			beyond = append(beyond, span{max(v.from, end), v.to})
		}
		next = v.to
	}
	if next < end {
		missing = append(missing, span{next, end})
	}
	return missing, beyond
}
