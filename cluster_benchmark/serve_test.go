package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/millrace/millrace/cluster_benchmark/result"
)

// serve gives the command measure a request.
func serve(request string) (code int, stdout, stderr string) {
	var out, words bytes.Buffer
	root := rootCommand(&out, &words)
	root.SetIn(strings.NewReader(request))
	root.SetArgs([]string{"measure"})
	err := root.Execute()
	if err != nil {
		fmt.Fprint(&words, err)
	}
	return exitCode(err), out.String(), words.String()
}

// TestMeasureCommand: this binary answers a request for each of its own targets, as a program around a library does.
func TestMeasureCommand(t *testing.T) {
	for target, backend := range map[string]string{"millrace": "tidwall", "ceiling-disk": ""} {
		code, stdout, stderr := serve(fmt.Sprintf(`{"schema": 1, "profile": "durable", "target": %q, "round": 3, "scenario": {"nodes": 3, "clients": 4,
			"inflight": 1, "batch": 1, "payload_bytes": 16, "store": "wal", "net": "inproc"}, "warmup_s": 0, "duration_s": 0.2, "dir": %q, "gogc": 400}`,
			target, t.TempDir()))
		var r result.Result
		if err := json.Unmarshal([]byte(stdout), &r); err != nil || code != exitOK {
			t.Fatalf("%s: exit code %d, %v, %q\n%s", target, code, err, stdout, stderr)
		}
		if r.Target != target || r.Profile != "durable" || r.Round != 3 || r.WALBackend != backend || r.WALSyncs == 0 || r.Ops == 0 || !r.OK() ||
			r.Version != build().Version || r.Histogram == nil || len(r.Series) != 2 {
			t.Errorf("%s: %+v", target, r)
		}
		if !strings.Contains(stderr, "> "+target+"  4 clients  round 3  checking\n") {
			t.Errorf("%s: no progress in %q", target, stderr)
		}
	}
	if code, stdout, stderr := serve(`{"schema": 3}`); code != exitUsage || stdout != "" || !strings.HasSuffix(stderr, "request: schema 3, want 1") {
		t.Errorf("bad request: exit code %d, %q, %q", code, stdout, stderr)
	}
	if code, _, stderr := try("measure", "quick"); code != exitUsage || stderr != "measure: argument \"quick\", want none\n" {
		t.Errorf("an argument: exit code %d, %q", code, stderr)
	}
}
