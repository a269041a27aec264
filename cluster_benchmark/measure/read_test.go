package measure

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/cluster_benchmark/load"
	"github.com/millrace/millrace/cluster_benchmark/setting"
	"github.com/millrace/millrace/cluster_benchmark/target"
	"github.com/millrace/millrace/codec"
)

// readTarget answers reads at once, behind by some entries, and forgets how to put when it is never read.
type readTarget struct {
	*fakeTarget
	lag codec.Index
}

func (r readTarget) Reader(int) (load.Reader, error) { return r, nil }

func (r readTarget) Read(context.Context) (codec.Index, error) {
	timer := time.NewTimer(time.Millisecond)
	defer timer.Stop()
	<-timer.C
	last := r.machine.Last()
	return last - min(r.lag, last), nil
}

func readJob(t target.Target, f *fakeTarget) *Job {
	j := job(f)
	j.Scenario.ReadRatio, j.Scenario.Read = 0.5, setting.ReadLease
	j.Open = func(context.Context, setting.Scenario, string) (target.Target, error) { return t, nil }
	return j
}

func TestReads(t *testing.T) {
	for lag, want := range map[codec.Index]string{0: "", 1: "stale reads: "} {
		synctest.Test(t, func(t *testing.T) {
			f := newFakeTarget(10 * time.Millisecond)
			one, err := readJob(readTarget{f, lag}, f).Run(t.Context())
			if err != nil || one.Read != "lease" || one.ReadRatio != 0.5 || one.Reads == nil || one.Reads.Ops < 60 || one.Reads.PerS != float64(one.Reads.Ops) ||
				one.Reads.Latency.P50 < 999 || one.Reads.Latency.P50 > 1001 || one.Reads.Histogram == nil || one.Ops < 60 {
				t.Fatalf("%v, %+v", err, one)
			}
			if bad := strings.Join(one.Safety.Reasons, "; "); one.OK() != (want == "") || one.Safety.OK != one.OK() || !strings.HasPrefix(bad, want) || one.Reads.Stale > 0 != (want != "") {
				t.Errorf("behind by %d: %+v, %+v, want %q", lag, one.Safety, one.Reads, want)
			}
		})
	}
}

// TestNothingRead: a target that answers puts alone in the measured time has no figures of reads.
func TestNothingRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeTarget(10 * time.Millisecond)
		j := readJob(readTarget{f, 0}, f)
		j.Scenario.ReadRatio = 1e-9
		if one, err := j.Run(t.Context()); err != nil || one.OK() || one.Invalid != "no read was answered in the measured time" {
			t.Errorf("%v, %+v", err, one)
		}
	})
}

// TestTargetWithoutReads is closed and left out.
func TestTargetWithoutReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeTarget(10 * time.Millisecond)
		one, err := readJob(f, f).Run(t.Context())
		if one != nil || !errors.Is(err, target.ErrUnsupported) || err.Error() != "50 % lease reads: not supported" {
			t.Errorf("%+v, %v", one, err)
		}
		<-f.closed
	})
}
