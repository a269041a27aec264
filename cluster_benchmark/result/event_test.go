package result

import (
	"encoding/json"
	"reflect"
	"slices"
	"testing"
)

// TestEventsInTheLine: they are read as they were written, and tell scenarios apart.
func TestEventsInTheLine(t *testing.T) {
	r := sample()
	r.Event = "leader-kill"
	r.Events = []Event{{Kind: "leader-kill", At: 5, Node: 2, Took: 1700, Recovery: 1500, Rejoined: 300, Installed: 9, Bytes: 1, Held: 2, Behind: 3, Before: &Stretch{2, 3}, During: &Stretch{}, After: &Stretch{4, 5}}}
	line, err := json.Marshal(&r)
	var again Result
	if err != nil || json.Unmarshal(line, &again) != nil || again.Key != r.Key || !reflect.DeepEqual(again.Events, r.Events) {
		t.Errorf("%v, %s", err, line)
	}
	if len(Groups([]Result{r, sample()})) != 2 {
		t.Error("runs with and without an event are of one group")
	}
}

// TestStretches: intervals count where they lie wholly in a stretch, for a short event those that it touches; what is between
// two events belongs to both.
func TestStretches(t *testing.T) {
	r := sample()
	r.Duration = 8
	r.Series = nil
	for i, ops := range []uint64{100, 80, 0, 20, 60, 80, 30, 50} {
		r.Series = append(r.Series, Interval{End: float64(i + 1), Ops: ops, P99: float64(ops + 1)})
	}
	r.Events = []Event{{At: 2.5, Took: 700}, {At: 6, Took: 1000}}
	r.SetStretches()
	want := [][3]*Stretch{{{90, 91}, {10, 21}, {70, 71}}, {{70, 71}, {30, 31}, {50, 51}}}
	for i, e := range r.Events {
		if got := [3]*Stretch{e.Before, e.During, e.After}; !reflect.DeepEqual(got, want[i]) {
			t.Errorf("event %d: before %+v, during %+v, after %+v", i, e.Before, e.During, e.After)
		}
	}
	r.Events = []Event{{At: 1.5, Took: 2000}}
	if r.SetStretches(); *r.Events[0].During != (Stretch{}) || *r.Events[0].After != (Stretch{55, 56}) {
		t.Errorf("during %+v, after %+v, want what lies wholly there", r.Events[0].During, r.Events[0].After)
	}
	r.Events = []Event{{At: 2, Took: 1000}}
	if r.SetStretches(); *r.Events[0].During != (Stretch{}) {
		t.Errorf("during %+v, want nothing answered", r.Events[0].During)
	}
	r.Events = []Event{{At: 0, Took: 8000}}
	if r.SetStretches(); r.Events[0].Before != nil || r.Events[0].After != nil || r.Events[0].During.PutPerS != 52.5 {
		t.Errorf("%+v, want nothing beside an event that lasts all the time", r.Events[0])
	}
}

func TestRecovery(t *testing.T) {
	r := sample()
	if got := r.Recovery(); got != 0 {
		t.Errorf("recovery without an event: %g", got)
	}
	r.Events = []Event{{Kind: "a", Recovery: 7}, {Kind: "b"}, {Kind: "a", Recovery: 9}}
	if got := r.Recovery(); got != 8 {
		t.Errorf("recovery %g, want the median of those there are, 8", got)
	}
	if got := Kinds([]Result{sample(), r}); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("kinds %q", got)
	}
}
