package node

import (
	"strings"
	"testing"
)

func TestExampleIsTaken(t *testing.T) {
	c, err := ParseConfig("n.yaml", []byte(Example), false)
	if err != nil {
		t.Fatal(err)
	}
	if c.Node != 1 || c.Cluster != "bench" || len(c.Members) != 3 || c.Members[3] != "10.0.0.3:7001" || !c.Insecure || c.Dir == "" || c.Clients != "10.0.0.1:7101" {
		t.Errorf("%+v", c)
	}
}

// TestBadConfigs: each mistake is one line that names the file, the key and what it takes.
func TestBadConfigs(t *testing.T) {
	for _, c := range []struct{ from, to, want string }{
		{"node: 1 ", "nodes: 1 ", `n.yaml:2: unknown field "nodes", known: cluster, node, peers, clients, store, dir, members, insecure, stages`},
		{"node: 1 ", "node: 4 ", `n.yaml: node "4": want one of the members, 1 to 3`},
		{"node: 1 ", "node: 0 ", `n.yaml: node "0": want this node's number, from 1`},
		{"node: 1 ", "node: x ", `n.yaml:2: `},
		{"cluster: bench ", "cluster: '' ", `n.yaml: cluster "": want a name of 1 to 64 bytes`},
		{"store: wal ", "store: disk ", `n.yaml: store "disk": want memory or wal`},
		{"store: wal ", "store: memory ", `n.yaml: dir "/var/tmp/millrace-1": want a directory with store wal, none with store memory`},
		{"dir: /var/tmp/millrace-1 ", "", `n.yaml: dir "": want a directory with store wal`},
		{"insecure: true", "insecure: false", `n.yaml: peers "10.0.0.1:7001": want an address of loopback; others need --insecure`},
		{"insecure: true", "", `n.yaml: peers "10.0.0.1:7001": want an address of loopback; others need --insecure`},
		{"peers: 10.0.0.1:7001 ", "peers: 10.0.0.1 ", `n.yaml: peers "10.0.0.1": want host:port to listen on`},
		{"  3: 10.0.0.3:7001", "  4: 10.0.0.3:7001", `n.yaml: members "3 without number 3": want the numbers from 1 on`},
		{"  3: 10.0.0.3:7001", "  3: 10.0.0.3:0", `n.yaml: members "3: 10.0.0.3:0": want host:port at which the other nodes reach it`},
		{"insecure: true", "stages: perhaps\ninsecure: true", `n.yaml: stages "perhaps": want on or off`},
		{Example, "cluster: x\nnode: 1\n", "n.yaml: members: none, want each node's number and address"},
		{Example, "]", "n.yaml:1: "},
	} {
		text := strings.Replace(Example, c.from, c.to, 1)
		_, err := ParseConfig("n.yaml", []byte(text), false)
		if err == nil || !strings.HasPrefix(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q instead of %q: %v\nwant %s", c.to, c.from, err, c.want)
		}
	}
	text := strings.Replace(Example, "insecure: true", "", 1)
	if c, err := ParseConfig("n.yaml", []byte(text), true); err != nil || !c.Insecure {
		t.Errorf("allowed by the flag: %v", err)
	}
	for _, listen := range []string{":7001", "0.0.0.0:7001", "[::]:7001"} {
		text := strings.Replace(text, "peers: 10.0.0.1:7001 ", "peers: '"+listen+"' ", 1)
		if _, err := ParseConfig("n.yaml", []byte(text), false); err == nil || !strings.Contains(err.Error(), "--insecure") {
			t.Errorf("%s: %v, want that it is refused", listen, err)
		}
	}
}
