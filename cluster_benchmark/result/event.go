package result

import "slices"

// Learner is the kind of event in which a node joined under load.
const Learner = "learner"

// Event is something that was done to a cluster in the measured time. Times that are 0 did not come to pass in it.
type Event struct {
	// Kind is that of the scenario's event; beside snapshots also [Learner], who was sent one.
	Kind string `json:"kind"`
	// At is when it began, in seconds since the measured time did.
	At float64 `json:"at_s"`
	// Node is whom it was done to; 0: all.
	Node uint64 `json:"node,omitempty"`
	// Took is how many milliseconds it lasted: until the last snapshot was written, until the follower's disk was as before,
	// until a new leader was seen to answer, until a learner had caught up.
	Took float64 `json:"took_ms,omitempty"`
	// Recovery is how many milliseconds passed until all was well again: from the leader's kill to the next acknowledged put,
	// from the end of a follower's slowness until it had all that the leader had then, from a learner's start until it had
	// caught up.
	Recovery float64 `json:"recovery_ms,omitempty"`
	// Rejoined is how many milliseconds after its restart a node that was killed had applied all that was committed then.
	Rejoined float64 `json:"rejoined_ms,omitempty"`
	// Installed is how many milliseconds after its start a learner had the snapshot that it was sent.
	Installed float64 `json:"installed_ms,omitempty"`
	// Bytes is what was written for snapshots, on all nodes together, or the size of the one that a learner was sent.
	Bytes int64 `json:"bytes,omitempty"`
	// Held is how many syncs of a slow disk were answered late, Behind how many entries its node lacked at most.
	Held   uint64 `json:"held,omitempty"`
	Behind uint64 `json:"behind,omitempty"`
	// Before, During and After are what was answered meanwhile, and up to the events before and behind this one; see
	// [Result.SetStretches]. Nil where the series has no interval there.
	Before *Stretch `json:"before,omitempty"`
	During *Stretch `json:"during,omitempty"`
	After  *Stretch `json:"after,omitempty"`
}

// End returns when it ended, in seconds since the measured time began.
func (e *Event) End() float64 { return e.At + e.Took/1e3 }

// Stretch is what was answered in some intervals of the series, one after the other.
type Stretch struct {
	PutPerS float64 `json:"put_per_s"`
	// P99 is the median of the intervals', in microseconds, 0 where nothing was answered.
	P99 float64 `json:"p99_us"`
}

// SetStretches reads off the series what was answered before, during and after each event, in intervals that lie wholly there:
// the one in which a leader is back holds all that waited for it. An event shorter than that has those that it touches.
func (r *Result) SetStretches() {
	for i := range r.Events {
		e := &r.Events[i]
		from, to := 0.0, r.Duration
		if i > 0 {
			from = r.Events[i-1].End()
		}
		if i+1 < len(r.Events) {
			to = r.Events[i+1].At
		}
		e.Before = r.stretch(func(begin, end float64) bool { return begin >= from && end <= e.At })
		e.During = r.stretch(func(begin, end float64) bool { return begin >= e.At && end <= e.End() })
		if e.During == nil {
			e.During = r.stretch(func(begin, end float64) bool { return begin < e.End() && end > e.At })
		}
		e.After = r.stretch(func(begin, end float64) bool { return begin >= e.End() && end <= to })
	}
}

// stretch adds up some of the intervals, nil when there are none.
func (r *Result) stretch(within func(begin, end float64) bool) *Stretch {
	var seconds, ops, begin float64
	var p99 []float64
	for _, p := range r.Series {
		if within(begin, p.End) {
			seconds += p.End - begin
			ops += float64(p.Ops)
			if p.Ops > 0 {
				p99 = append(p99, p.P99)
			}
		}
		begin = p.End
	}
	if seconds == 0 {
		return nil
	}
	s := &Stretch{PutPerS: ops / seconds}
	if len(p99) > 0 {
		s.P99 = Median(p99)
	}
	return s
}

// Recovery returns the median of the events' recovery in milliseconds, 0 where nothing had to recover, or did.
func (r *Result) Recovery() float64 {
	var values []float64
	for i := range r.Events {
		if v := r.Events[i].Recovery; v > 0 {
			values = append(values, v)
		}
	}
	if len(values) == 0 {
		return 0
	}
	return Median(values)
}

// Kinds lists the kinds of the events of some rounds, each once.
func Kinds(rounds []Result) []string {
	var kinds []string
	for i := range rounds {
		for _, e := range rounds[i].Events {
			if !slices.Contains(kinds, e.Kind) {
				kinds = append(kinds, e.Kind)
			}
		}
	}
	return kinds
}
