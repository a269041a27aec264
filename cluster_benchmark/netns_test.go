package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/millrace/millrace/cluster_benchmark/result"
)

// ip runs the program of that name.
func ip(args ...string) error {
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// namespaces makes a network namespace for each node, each with an address of its own, joined by a bridge that this namespace
// has an address on. It returns their names and addresses. All of it is removed at the end of the test.
func namespaces(t *testing.T, n int) (names, addresses []string) {
	t.Helper()
	if testing.Short() {
		t.Skip("makes network namespaces")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root, to make network namespaces")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("needs the program ip, to make network namespaces")
	}
	tag := fmt.Sprintf("mb%d", os.Getpid()%100_000)
	subnet := fmt.Sprintf("10.%d.%d", 128+os.Getpid()/256%100, os.Getpid()%256)
	if err := ip("netns", "add", tag+"n0"); err != nil {
		t.Skip("can't make a network namespace: ", err)
	}
	remove := func(args ...string) { t.Cleanup(func() { _ = ip(args...) }) } // some end with others
	remove("netns", "del", tag+"n0")
	must := func(args ...string) {
		t.Helper()
		if err := ip(args...); err != nil {
			t.Fatal(err)
		}
	}
	bridge := tag + "br"
	if err := ip("link", "add", bridge, "type", "bridge"); err != nil {
		t.Skip("can't make a bridge: ", err)
	}
	remove("link", "del", bridge)
	must("addr", "add", subnet+".254/24", "dev", bridge)
	must("link", "set", bridge, "up")
	for i := range n {
		name, veth := fmt.Sprintf("%sn%d", tag, i+1), fmt.Sprintf("%sv%d", tag, i+1)
		must("netns", "add", name)
		remove("netns", "del", name)
		must("link", "add", veth, "type", "veth", "peer", "name", "eth0", "netns", name)
		remove("link", "del", veth)
		must("link", "set", veth, "master", bridge, "up")
		must("-n", name, "addr", "add", fmt.Sprintf("%s.%d/24", subnet, i+1), "dev", "eth0")
		must("-n", name, "link", "set", "eth0", "up")
		must("-n", name, "link", "set", "lo", "up")
		names, addresses = append(names, name), append(addresses, fmt.Sprintf("%s.%d", subnet, i+1))
	}
	return names, addresses
}

// TestManyMachines: three nodes in network namespaces of their own, as on machines of their own, and the clients in a fourth.
func TestManyMachines(t *testing.T) {
	names, addresses := namespaces(t, 3)
	binary := goBuild(t)
	dir := t.TempDir()
	var peers, clients []string
	for _, a := range addresses {
		peers, clients = append(peers, a+":7001"), append(clients, a+":7101")
	}
	var nodes []*started
	for i, name := range names {
		file := nodeConfig(t, dir, i+1, peers, clients[i], "wal")
		code, _, stderr := runBinary(t, binary, "node", "--config", file)
		if code != exitUsage || !strings.Contains(stderr, "others need --insecure") {
			t.Fatalf("without --insecure: exit code %d, %s", code, stderr)
		}
		nodes = append(nodes, start(t, dir, "ip", "netns", "exec", name, binary, "node", "--config", file, "--insecure"))
	}
	for i, n := range nodes {
		n.says("peers " + peers[i] + ", clients " + clients[i])
		n.says(" leads\n")
	}
	code, stdout, stderr := runBinary(t, binary, "run", "durable", "--connect", strings.Join(clients, ","), "--duration", "1s", "--warmup", "200ms", "--clients", "32", "--json", "-")
	if code != exitOK {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	r := oneResult(t, stdout)
	if !r.OK() || r.Ops == 0 || len(r.Places) != 3 || r.Errors != 0 || !strings.Contains(r.Places[2], clients[2]) || r.Machine == (result.Machine{}) {
		t.Errorf("result is %+v", r)
	}
	for i, n := range nodes {
		if code := n.end(os.Interrupt); code != exitOK {
			t.Errorf("node %d: exit code %d, %s", i+1, code, n.words())
		}
	}
}
