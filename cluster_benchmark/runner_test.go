package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/millrace/millrace/cluster_benchmark/result"
	"github.com/millrace/millrace/cluster_benchmark/setting"
)

// TestUnusableOutranksInterrupted: ctrl-C does not hide that something was lost.
func TestUnusableOutranksInterrupted(t *testing.T) {
	out := &output{dir: t.TempDir()}
	plan := setting.Defaults()
	plan.Profile = "quick"
	if err := out.open(&plan, nil); err != nil {
		t.Fatal(err)
	}
	defer out.close()
	fine := result.Result{Key: result.Key{Target: "millrace"}, Safety: &result.Safety{OK: true}}
	bad := fine
	bad.Safety = &result.Safety{Reasons: []string{"node 2: put 7 of client 3 was acknowledged and is not applied"}}
	broken := errors.New("no space left on device")
	for _, c := range []struct {
		results     []result.Result
		interrupted bool
		failure     error
		code        int
		says        []string
	}{
		{[]result.Result{fine}, false, nil, exitOK, nil},
		{[]result.Result{fine}, true, nil, exitInterrupted, []string{"interrupted"}},
		{nil, true, nil, exitInterrupted, nil},
		{[]result.Result{fine}, true, broken, exitFailed, []string{"no space left"}},
		{[]result.Result{fine, bad}, false, nil, exitFailed, []string{"SAFETY CHECK FAILED: millrace", "put 7 of client 3", out.file.Name()}},
		{[]result.Result{bad}, true, nil, exitFailed, []string{"put 7 of client 3"}},
		{[]result.Result{bad}, true, broken, exitFailed, []string{"put 7 of client 3", "no space left"}},
	} {
		r := &runner{out: out, results: c.results, interrupted: c.interrupted}
		err := r.outcome(c.failure)
		if got := exitCode(err); got != c.code {
			t.Errorf("%+v: exit code %d, want %d", c, got, c.code)
		}
		for _, words := range c.says {
			if !strings.Contains(err.Error(), words) {
				t.Errorf("%+v: %q says nothing of %q", c, err, words)
			}
		}
	}
}
