package measure

import (
	"fmt"

	"github.com/millrace/millrace/cluster_benchmark/load"
	"github.com/millrace/millrace/cluster_benchmark/result"
	"github.com/millrace/millrace/cluster_benchmark/setting"
	"github.com/millrace/millrace/cluster_benchmark/target"
)

// supports returns an error that wraps [target.ErrUnsupported] where the target can't do what the scenario wants beside puts.
func supports(t target.Target, s setting.Scenario) error {
	if _, ok := t.(load.ReadSource); s.ReadRatio > 0 && !ok {
		return fmt.Errorf("%g %% %s reads: %w", 100*s.ReadRatio, s.Read, target.ErrUnsupported)
	}
	if _, ok := t.(target.Eventful); s.Event != "" && !ok {
		return fmt.Errorf("event %s: %w", s.Event, target.ErrUnsupported)
	}
	return nil
}

// readings puts what was read into the result.
func readings(one *result.Result, r *load.Reads) {
	if r == nil {
		return
	}
	one.Reads = &result.Reads{Ops: r.Ops, Errors: r.Errors, Stale: r.Stale, Latency: result.NewLatency(r.Latency), Histogram: r.Latency}
	if r.FirstError != nil {
		one.Reads.FirstError = r.FirstError.Error()
	}
	if one.Duration > 0 {
		one.Reads.PerS = float64(r.Ops) / one.Duration
	}
	if r.Ops == 0 && one.Invalid == "" {
		one.Invalid = "no read was answered in the measured time"
	}
}

// stale makes reads that missed an acknowledged put a violation of safety.
func stale(s *result.Safety, r *load.Reads) {
	if r == nil || r.Stale == 0 {
		return
	}
	s.OK = false
	s.Reasons = append(s.Reasons, fmt.Sprintf("stale reads: %d of those that were answered, the first: %s", r.Stale, r.FirstStale))
}
