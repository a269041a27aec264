package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/millrace/millrace/cluster_benchmark/peer"
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
	etcd := absence{"etcd", setting.Scenario{Clients: 8}, 2, errors.New("port in use")}
	none := absence{target: "openraft", err: errNoProgram}
	cannot := absence{"hashicorp", setting.Scenario{Clients: 8}, 1, fmt.Errorf("%w: no such store", peer.ErrUnsupported)}
	for _, c := range []struct {
		results     []result.Result
		absent      []absence
		interrupted bool
		failure     error
		code        int
		says        []string
	}{
		{[]result.Result{fine}, nil, false, nil, exitOK, nil},
		{[]result.Result{fine}, nil, true, nil, exitInterrupted, []string{"interrupted"}},
		{nil, nil, true, nil, exitInterrupted, nil},
		{[]result.Result{fine}, nil, true, broken, exitFailed, []string{"no space left"}},
		{[]result.Result{fine, bad}, nil, false, nil, exitFailed, []string{"SAFETY CHECK FAILED: millrace", "put 7 of client 3", out.file.Name()}},
		{[]result.Result{bad}, nil, true, nil, exitFailed, []string{"put 7 of client 3"}},
		{[]result.Result{bad}, nil, true, broken, exitFailed, []string{"put 7 of client 3", "no space left"}},
		// Who is not there does not count as failed; who failed outranks an early end.
		{[]result.Result{fine}, []absence{none, cannot}, false, nil, exitOK, nil},
		{[]result.Result{fine}, []absence{none, etcd, etcd}, true, nil, exitFailed, []string{"2 measurements failed, the first: etcd, 8 clients, round 2: port in use; results: " + out.file.Name()}},
		{nil, []absence{etcd}, false, broken, exitFailed, []string{"1 measurement failed", "no space left"}},
	} {
		r := &runner{out: out, results: c.results, absent: c.absent, interrupted: c.interrupted}
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
