package result

import (
	"encoding/json"
	"reflect"
	"testing"
)

// TestEventsInTheLine: they are read as they were written, and tell scenarios apart.
func TestEventsInTheLine(t *testing.T) {
	r := sample()
	r.Event = "leader-kill"
	r.Events = []Event{{Kind: "leader-kill", At: 5, Node: 2, Took: 1700, Recovery: 1500, Rejoined: 300, Bytes: 1, Held: 2, Behind: 3}}
	line, err := json.Marshal(&r)
	var again Result
	if err != nil || json.Unmarshal(line, &again) != nil || again.Key != r.Key || !reflect.DeepEqual(again.Events, r.Events) {
		t.Errorf("%v, %s", err, line)
	}
	if len(Groups([]Result{r, sample()})) != 2 {
		t.Error("runs with and without an event are of one group")
	}
}

// TestBeside: an interval counts as one with the event as soon as they touch.
func TestBeside(t *testing.T) {
	r := sample()
	r.Series = []Interval{{End: 1, Ops: 100, P99: 10}, {End: 2, Ops: 50, P99: 30}, {End: 3, Ops: 30, P99: 50}, {End: 4, Ops: 80, P99: 20}, {End: 4.5, Ops: 0}}
	r.Events = []Event{{At: 1.5, Took: 700}}
	during, other, ok := r.Beside()
	if want := (Stretch{40, 40}); !ok || during != want {
		t.Errorf("during the event %+v, want %+v", during, want)
	}
	if want := (Stretch{72, 15}); other != want {
		t.Errorf("otherwise %+v, want %+v", other, want)
	}
	r.Events = []Event{{At: 0, Took: 4500}}
	if _, _, ok := r.Beside(); ok {
		t.Error("there is nothing beside an event that lasts all the time")
	}
	r.Events = nil
	if _, _, ok := r.Beside(); ok {
		t.Error("there is no event")
	}
}
