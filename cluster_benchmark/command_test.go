package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// try runs a command line.
func try(args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	code = execute(args, &out, &err)
	return code, out.String(), err.String()
}

func TestBadArguments(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	profile, nodeFile := filepath.Join(dir, "own.yaml"), filepath.Join(dir, "node.yaml")
	for name, content := range map[string]string{file: "", profile: "nodes: 3\ncleints: 1\n", nodeFile: "node: 1\ncleints: 1\n"} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	flags := "--target, --nodes, --clients, --inflight, --batch, --payload, --rate, --arrivals, --read-ratio, --read, --event, --duration, --warmup, --store, --net, --processes, --stages, --rounds, --connect, --out, --json, --hgrm, --hlog, --benchfmt, --quiet, --save-baseline, --help"
	peersFlags := strings.Replace(strings.Replace(flags, "--processes, ", "", 1), "--connect", "--peer", 1)
	peersFlags = strings.Replace(peersFlags, "--save-baseline, ", "", 1)
	aTime := "with its unit, as 500ms, 10s or 1m30s"
	for _, c := range []struct {
		args string
		want string
	}{
		{"bench", `unknown command "bench", want list, run, peers, compare, report or node`},
		{"list all", `list: argument "all", want none`},
		{"list --clients 1", `--clients: unknown flag of "list", want one of --help`},
		{"run", "run: 0 profiles given, want 1: quick, minimized, durable, latency, pipelined, batch, sweep-clients, sweep-payload, open-loop, read-mix, snapshot-under-load, slow-follower, leader-kill, or a path to a YAML file"},
		{"run quick durable", "run: 2 profiles given, want 1: quick, minimized, durable, latency, pipelined, batch, sweep-clients, sweep-payload, open-loop, read-mix, snapshot-under-load, slow-follower, leader-kill, or a path to a YAML file"},
		{"run slow", `unknown profile "slow", known: quick, minimized, durable, latency, pipelined, batch, sweep-clients, sweep-payload, open-loop, read-mix, snapshot-under-load, slow-follower, leader-kill, or a path to a YAML file`},
		{"run ./no.yaml", "profile ./no.yaml: no such file or directory, want a YAML file or one of quick, minimized, durable, latency, pipelined, batch, sweep-clients, sweep-payload, open-loop, read-mix, snapshot-under-load, slow-follower, leader-kill"},
		{"run " + profile, profile + `:2: unknown key "cleints", known: target, nodes, clients, inflight, batch, payload, rate, arrivals, read_ratio, read, event, duration, warmup, ceiling_duration, ceiling_warmup, store, net, processes, stages, rounds, about`},
		{"run quick --rate 0.5", "--rate 0.5: want different integers from 0 to 10000000, separated by commas"},
		{"run quick --arrivals constant", "--arrivals constant: want a rate beside it, which is 0"},
		{"run quick --arrivals uniform", "--arrivals uniform: want poisson or constant"},
		{"run quick --rate 5000 --clients 1000 --inflight 100", "--inflight 100: want at most 65 beside clients 1000 and a rate, since each put outstanding then has a goroutine"},
		{"run quick --read-ratio 1", "--read-ratio 1: want different numbers from 0 to 0.999, separated by commas"},
		{"run quick --read stale", "--read stale: want different names out of linearizable, lease, follower, separated by commas"},
		{"run quick --read lease", "--read lease: want a read-ratio beside it, which is 0"},
		{"run quick --event fire", "--event fire: want different names out of none, snapshot, slow-follower, leader-kill, separated by commas"},
		{"run quick --event leader-kill --store memory", "--store memory: want wal beside event leader-kill, since a node that forgets its log can't come back"},
		{"run quick --event leader-kill --duration 2s", "--duration 2s: want at least 6s beside event leader-kill, which takes its time"},
		{"run quick --event snapshot --processes", "--event snapshot: want none beside processes: what happens to a node is done to it within its process"},
		{"run leader-kill --connect 10.0.0.1:1,10.0.0.2:1,10.0.0.3:1", "--event leader-kill: want none beside connect: what happens to a node is done to it within its process"},
		{"run quick --read-ratio 0.5 --inflight 4", "--inflight 4: want 1 beside read-ratio 0.5, since a client then reads or puts, one at a time"},
		{"run quick --read-ratio 0.5 --read follower --nodes 1", "--read follower: want nodes 2 or more beside it: one alone has no follower"},
		{"run quick --groups=5", `--groups: unknown flag of "run", want one of ` + flags},
		{"run quick -c 5", `-c: unknown flag of "run", want one of ` + flags},
		{"run quick --clients", "--clients: no value, want different integers from 1 to 65536, separated by commas"},
		{"run quick --clients 0", "--clients 0: want different integers from 1 to 65536, separated by commas"},
		{"run quick --clients 1,x", "--clients 1,x: want different integers from 1 to 65536, separated by commas"},
		{"run quick --clients=", `--clients "": want different integers from 1 to 65536, separated by commas`},
		{"run quick --nodes 16", "--nodes 16: want different integers from 1 to 15, separated by commas"},
		{"run quick --inflight -1", "--inflight -1: want different integers from 1 to 4096, separated by commas"},
		{"run quick --batch 5000", "--batch 5000: want different integers from 1 to 4096, separated by commas"},
		{"run quick --batch 4 --inflight 4", "--batch 4: want 1 beside inflight 4, since a batch is one call that waits"},
		{"run quick --payload 128B", "--payload 128B: want different integers from 0 to 16777216, separated by commas"},
		{"run quick --duration 10", "--duration 10: want a time from 100ms to 24h0m0s " + aTime},
		{"run quick --warmup -1s", "--warmup -1s: want a time from 0s to 24h0m0s " + aTime},
		{"run quick --store floppy", "--store floppy: want memory or wal"},
		{"run quick --net udp", "--net udp: want inproc or tcp"},
		{"run quick --rounds 0", "--rounds 0: want an integer from 1 to 1000"},
		{"run quick --target raft", "--target raft: want different names out of millrace, ceiling-handoff, ceiling-disk, ceiling-net, separated by commas"},
		{"run quick --quiet=perhaps", "--quiet perhaps: want true or false"},
		{"run quick --out " + file, "--out " + file + ": not a directory, want a directory that can be written to"},
		{"run quick --out " + dir + "/out --json " + dir + "/no/such.json", "--json " + dir + "/no/such.json: no such file or directory, want a file that can be written, or - for standard output"},
		{"run quick --out " + dir + "/out --hgrm " + dir + "/no/x.hgrm", "--hgrm " + dir + "/no/x.millrace-3n-256c-1i-1b-128B-r1.hgrm: no such file or directory, want a file that can be written"},
		{"run quick --json=", `--json "": want a file that can be written, or - for standard output`},
		{"run quick --hgrm=", `--hgrm "": want a file that can be written`},
		{"run quick --out=", `--out "": want a directory that can be written to`},
		{"peers quick durable", "peers: 2 profiles given, want 1: quick, minimized, durable, latency, pipelined, batch, sweep-clients, sweep-payload, open-loop, read-mix, snapshot-under-load, slow-follower, leader-kill, or a path to a YAML file"},
		{"peers slow", `unknown profile "slow", known: quick, minimized, durable, latency, pipelined, batch, sweep-clients, sweep-payload, open-loop, read-mix, snapshot-under-load, slow-follower, leader-kill, or a path to a YAML file`},
		{"peers --peer raft", "--peer raft: want different names out of etcd, etcd-new, hashicorp, dragonboat-tan, dragonboat-pebble, openraft, separated by commas"},
		{"peers --clients 0", "--clients 0: want different integers from 1 to 65536, separated by commas"},
		{"peers --out " + file, "--out " + file + ": not a directory, want a directory that can be written to"},
		{"run quick --processes=perhaps", "--processes perhaps: want true or false"},
		{"run minimized --processes", "--net inproc: want tcp beside processes: nodes of different processes talk over sockets"},
		{"run quick --processes --read-ratio 0.5", "--read-ratio 0.5: want 0 beside processes: the protocol of clients in another process carries puts alone"},
		{"run quick --connect 10.0.0.1", "--connect 10.0.0.1: want different HOST:PORT, one for each node of the cluster, separated by commas"},
		{"run quick --connect a:1,a:1", "--connect a:1,a:1: want different HOST:PORT, one for each node of the cluster, separated by commas"},
		{"peers --connect a:1", `--connect: unknown flag of "peers", want one of ` + peersFlags},
		{"peers --processes", `--processes: unknown flag of "peers", want one of ` + peersFlags},
		{"node", "node: no --config, want a YAML file"},
		{"node x", `node: argument "x", want none`},
		{"node --config " + dir + "/none.yaml", "--config " + dir + "/none.yaml: no such file or directory, want a YAML file"},
		{"node --config=", `--config "": want a YAML file`},
		{"node --config " + nodeFile, nodeFile + `:2: unknown field "cleints", known: cluster, node, peers, clients, store, dir, members, insecure, stages`},
		{"run quick --peer etcd", `--peer: unknown flag of "run", want one of ` + flags},
	} {
		code, stdout, stderr := try(strings.Split(c.args, " ")...)
		if code != exitUsage || stderr != c.want+"\n" || stdout != "" {
			t.Errorf("%s: exit code %d, standard output %q, error\n got %swant %s", c.args, code, stdout, stderr, c.want)
		}
	}
	if left, err := os.ReadDir(filepath.Join(dir, "out")); err == nil && len(left) > 0 {
		t.Errorf("refused runs left %v", left)
	}
}

func TestList(t *testing.T) {
	code, stdout, stderr := try("list")
	if code != exitOK || stderr != "" {
		t.Fatalf("exit code %d, %q", code, stderr)
	}
	for _, want := range []string{
		"  quick ", "  minimized ", "  durable ", "  millrace ", "  ceiling-handoff ", "  ceiling-disk ", "  ceiling-net ",
		"  memory ", "  wal ", "  inproc ", "  tcp ", "  etcd ", "  etcd-new ", "  hashicorp ", "  dragonboat-tan ", "  dragonboat-pebble ", "  openraft ",
	} {
		line := ""
		for l := range strings.Lines(stdout) {
			if strings.HasPrefix(l, want) {
				line = l
			}
		}
		if len(strings.Fields(line)) < 5 {
			t.Errorf("nothing is said of %s in\n%s", want, stdout)
		}
	}
}

func TestHelp(t *testing.T) {
	for _, c := range []struct {
		args string
		want []string
	}{
		{"--help", []string{"list", "run", "peers", "compare", "node"}},
		{"node --help", []string{"--config FILE", "--insecure", "members:", "10.0.0.2:7001", "run durable --connect", "nothing is encrypted", "Ctrl-C or SIGTERM closes it"}},
		{"", []string{"list", "run", "peers", "compare"}},
		{"run --help", []string{"--clients LIST", "different integers from 1 to 65536", "memory or wal", "GOGC=400", "130 when ctrl-C or SIGTERM", "run PROFILE",
			"  defaults             --target millrace --nodes 3 --clients 256", "  minimized            --clients 1,64,256,1024,4096 --payload 0", "--rate LIST", "--arrivals VALUE", "--read-ratio LIST", "--event LIST", "connections with TLS.\n", "Not there yet: several groups"}},
		{"run -h", []string{"--hgrm"}},
		{"list --help", []string{"profiles, targets, stores, networks, events and other libraries"}},
		{"peers --help", []string{"--peer LIST", "--clients LIST", "--rounds", "by default minimized", "--hgrm FILE", "fresh process"}},
		{"compare --help", []string{"OLD NEW", "ratio"}},
		{"--version", []string{"commit", "go1."}},
	} {
		code, stdout, stderr := try(strings.Fields(c.args)...)
		if code != exitOK || stderr != "" {
			t.Errorf("%q: exit code %d, %q", c.args, code, stderr)
		}
		for _, w := range c.want {
			if !strings.Contains(stdout, w) {
				t.Errorf("%q says nothing of %q:\n%s", c.args, w, stdout)
			}
		}
		for _, absent := range []string{"--groups", "--wal-backend", "chaos", "completion", "  measure ", "node-process"} {
			if strings.Contains(stdout, absent) {
				t.Errorf("%q offers %s, which does not exist", c.args, absent)
			}
		}
	}
}

func TestBuild(t *testing.T) {
	defer func(v, c, d string) { version, commit, dirty = v, c, d }(version, commit, dirty)
	version, commit, dirty = "v1.2.3", "abcdef", "true"
	if b := build(); b.Version != "v1.2.3" || b.Commit != "abcdef" || !b.Dirty || !strings.HasPrefix(b.Go, "go1.") {
		t.Errorf("build is %+v", b)
	}
	version, commit, dirty = "", "", ""
	if b := build(); b.Version == "" || b.Commit == "" {
		t.Errorf("build without the linker's help is %+v, want something in every field", b)
	}
}
