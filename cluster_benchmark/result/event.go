package result

import "slices"

// Event is something that was done to a cluster in the measured time. Times that are 0 did not come to pass in it.
type Event struct {
	Kind string `json:"kind"`
	// At is when it began, in seconds since the measured time did.
	At float64 `json:"at_s"`
	// Node is whom it was done to; 0: all.
	Node uint64 `json:"node,omitempty"`
	// Took is how many milliseconds it lasted: until the last snapshot was written, until the follower's disk was as before,
	// until a new leader was seen to answer.
	Took float64 `json:"took_ms,omitempty"`
	// Recovery is how many milliseconds passed until all was well again: from the leader's kill to the next acknowledged put,
	// from the end of a follower's slowness until it had all that the leader had then.
	Recovery float64 `json:"recovery_ms,omitempty"`
	// Rejoined is how many milliseconds after its restart a node that was killed had applied all that was committed then.
	Rejoined float64 `json:"rejoined_ms,omitempty"`
	// Bytes is what was written for snapshots, on all nodes together.
	Bytes int64 `json:"bytes,omitempty"`
	// Held is how many syncs of a slow disk were answered late, Behind how many entries its node lacked at most.
	Held   uint64 `json:"held,omitempty"`
	Behind uint64 `json:"behind,omitempty"`
}

// Stretch is what was answered in some of the intervals of a series.
type Stretch struct {
	PutPerS float64
	P99     float64 // the median of the intervals'
}

// Beside splits the measured time into the intervals in which some event lasted and the others. ok is false where either is
// without an interval that has answers.
func (r *Result) Beside() (during, other Stretch, ok bool) {
	var seconds, ops [2]float64
	var p99 [2][]float64
	begin := 0.0
	for _, p := range r.Series {
		kind := 1
		if slices.ContainsFunc(r.Events, func(e Event) bool { return e.At < p.End && e.At+e.Took/1e3 > begin }) {
			kind = 0
		}
		seconds[kind] += p.End - begin
		ops[kind] += float64(p.Ops)
		if p.Ops > 0 {
			p99[kind] = append(p99[kind], p.P99)
		}
		begin = p.End
	}
	if len(p99[0]) == 0 || len(p99[1]) == 0 {
		return during, other, false
	}
	return Stretch{ops[0] / seconds[0], Median(p99[0])}, Stretch{ops[1] / seconds[1], Median(p99[1])}, true
}
