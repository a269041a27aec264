package peer

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"time"

	"github.com/millrace/millrace/cluster_benchmark/setting"
)

// RequestSchema is the version of [Request]. Fields are added, never renamed, while it is 1.
const RequestSchema = 1

// Request says what to measure.
type Request struct {
	Schema   int              `json:"schema"`
	Profile  string           `json:"profile"`
	Target   string           `json:"target"`
	Round    int              `json:"round"`
	Scenario setting.Scenario `json:"scenario"`
	Warmup   float64          `json:"warmup_s"`
	Duration float64          `json:"duration_s"`
	Dir      string           `json:"dir"` // an empty directory that the target may use; who asks removes it
	GOGC     int              `json:"gogc"`
	// Intervals asks for the histogram of each interval of the series.
	Intervals bool `json:"interval_histograms,omitempty"`
}

// seconds returns a time of a request.
func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// timeMax bounds the times of a request, as the settings do.
const timeMax = 24 * time.Hour

// readRequest reads one request. Every error is a [requestError].
func readRequest(r io.Reader) (Request, error) {
	var q Request
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	if err := d.Decode(&q); err != nil {
		if errors.Is(err, io.EOF) {
			return q, requestf("nothing on standard input, want one JSON object")
		}
		return q, requestf("%v", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return q, requestf("something behind its end, want one JSON object")
	}
	return q, q.check()
}

func (q *Request) check() error {
	if q.Schema != RequestSchema {
		return requestf("schema %d, want %d", q.Schema, RequestSchema)
	}
	if err := q.Scenario.Check(); err != nil {
		return requestf("%v", err)
	}
	for _, t := range []struct {
		name  string
		value float64
		least time.Duration
	}{{"warmup_s", q.Warmup, 0}, {"duration_s", q.Duration, 100 * time.Millisecond}} {
		// Compared as numbers: what is not finite or too large has no duration.
		if !(t.value >= t.least.Seconds() && t.value <= timeMax.Seconds()) {
			return requestf("%s %v, want %v to %v", t.name, t.value, t.least.Seconds(), timeMax.Seconds())
		}
	}
	if q.Round < 1 {
		return requestf("round %d, want 1 or more", q.Round)
	}
	if q.GOGC < 1 {
		return requestf("gogc %d, want 1 or more", q.GOGC)
	}
	left, err := os.ReadDir(q.Dir)
	switch {
	case err != nil:
		return requestf("dir: %v, want an empty directory", err)
	case len(left) > 0:
		return requestf("dir %s: holds %s, want an empty directory", q.Dir, left[0].Name())
	}
	return nil
}

// oneLine joins the lines of a text.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
