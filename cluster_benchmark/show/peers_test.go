package show

import (
	"bytes"
	"strings"
	"testing"

	"github.com/millrace/millrace/cluster_benchmark/result"
)

func TestPeers(t *testing.T) {
	at := func(target string, round int, puts, cpu float64, ratios map[string]float64) result.Result {
		r := sample(target, 256, puts)
		r.Round, r.CPU, r.Ratios = round, cpu, ratios
		if target == "etcd" {
			r.WALBackend, r.Library, r.Configuration = "etcd", "go.etcd.io/raft/v3 v3.6.0", "batched"
			r.Safety = &result.Safety{Acknowledged: 1, OK: true}
		}
		return r
	}
	half := map[string]float64{"ceiling-handoff": 0.5}
	var out bytes.Buffer
	Peers(&out, []result.Result{
		at("millrace", 1, 1000, 10, half), at("etcd", 1, 400, 20, half), at("ceiling-handoff", 1, 2000, 10, nil),
		at("millrace", 2, 2000, 10, half), at("etcd", 2, 1000, 20, half), at("ceiling-handoff", 2, 2000, 10, nil),
		at("millrace", 3, 1500, 10, half), at("etcd", 3, 900, 20, half), at("ceiling-handoff", 3, 2000, 10, nil),
	}, Absences{LeftOut: []string{"openraft: no program: no cargo"}, Failed: []string{"dragonboat: panic"}})
	text := out.String()
	for first, want := range map[string]string{
		"target":          "target put/s spread p50 p99 p99.9 cpu/put of millrace of handoff",
		"millrace":        "millrace 1,500 67 % 200 µs 1.23 ms 54.3 ms 667 µs 1.00 0.50",
		"etcd":            "etcd 900 67 % 200 µs 1.23 ms 54.3 ms 2.22 ms 0.50 0.50",
		"ceiling-handoff": "ceiling-handoff 2,000 0 % 200 µs 1.23 ms 54.3 ms 500 µs",
		"etcd:":           "etcd: go.etcd.io/raft/v3 v3.6.0; batched",
		"quick:":          "quick: 3 nodes, store wal, net tcp, 256 clients, 1 in flight each, batch 1, payload 128 B",
		"Medians":         "Medians over 3 rounds.",
	} {
		if got := fields(t, text, first); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	for _, want := range []string{"\n1 left out:\n    openraft: no program: no cargo\n", "\n1 failed:\n    dragonboat: panic\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

// TestPeersOfSeveralScenarios: a target is compared with the engine in the same scenario and round alone.
func TestPeersOfSeveralScenarios(t *testing.T) {
	var out bytes.Buffer
	Peers(&out, []result.Result{sample("millrace", 1, 100), sample("etcd", 1, 50), sample("millrace", 64, 1000), sample("etcd", 64, 900), sample("etcd", 256, 900)},
		Absences{})
	got := map[string]string{}
	for line := range strings.Lines(out.String()) {
		if f := strings.Fields(line); len(f) > 2 && f[0] == "etcd" {
			got[f[1]] = strings.Join(f[len(f)-3:], " ")
		}
	}
	for clients, want := range map[string]string{"1": "30.0 ms 0.50", "64": "1.67 ms 0.90", "256": "ms 1.67 ms"} {
		if !strings.HasSuffix(got[clients], want) {
			t.Errorf("%s clients: %q, want %q at its end", clients, got[clients], want)
		}
	}
	if strings.Contains(out.String(), "left out") || strings.Contains(out.String(), "failed") {
		t.Errorf("something is missing in\n%s", out.String())
	}
}
