package result

import (
	"encoding/json"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Reads is what was read beside the puts. Each read was linearizable, however it was made.
type Reads struct {
	// Ops counts reads answered within the measured time.
	Ops        uint64  `json:"ops"`
	PerS       float64 `json:"per_s"`
	Errors     uint64  `json:"errors"`
	FirstError string  `json:"first_error,omitempty"`
	// Stale counts those that missed a put which was acknowledged before they began: a violation of safety.
	Stale   uint64  `json:"stale,omitempty"`
	Latency Latency `json:"latency_us"`
	// Histogram is the latency in nanoseconds, in the line "histogram".
	Histogram *hdrhistogram.Histogram `json:"-"`
}

// readFields is Reads without its methods.
type readFields Reads

// MarshalJSON returns the object with its histogram.
func (r Reads) MarshalJSON() ([]byte, error) {
	text, err := encodeHistogram(r.Histogram)
	if err != nil {
		return nil, err
	}
	return json.Marshal(struct {
		readFields
		Histogram string `json:"histogram,omitempty"`
	}{readFields(r), text})
}

// UnmarshalJSON reads an object and its histogram.
func (r *Reads) UnmarshalJSON(data []byte) error {
	line := struct {
		*readFields
		Histogram string `json:"histogram"`
	}{readFields: (*readFields)(r)}
	if err := json.Unmarshal(data, &line); err != nil {
		return err
	}
	var err error
	r.Histogram, err = decodeHistogram(line.Histogram)
	return err
}
