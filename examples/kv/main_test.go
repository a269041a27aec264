package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const snapshotEntries = 50

// cluster is processes of this program on loopback, as README.md starts them.
type cluster struct {
	*testing.T
	binary, dir  string
	peers, nodes map[int]string // addresses by id: for the other nodes, for clients
	running      map[int]*exec.Cmd
}

// build builds the program and chooses addresses for nodes 1 to 4; nothing runs yet.
func build(t *testing.T) *cluster {
	t.Helper()
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Skipf("no go tool to build the program with: %v", err)
	}
	c := &cluster{
		T: t, dir: t.TempDir(), peers: map[int]string{}, nodes: map[int]string{}, running: map[int]*exec.Cmd{},
	}
	c.binary = filepath.Join(c.dir, "kv")
	if out, err := exec.Command(goTool, "build", "-o", c.binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	for id := 1; id <= 4; id++ {
		c.peers[id], c.nodes[id] = freeAddress(t), freeAddress(t)
	}
	t.Cleanup(func() {
		for id := range c.running {
			_ = c.end(id, syscall.SIGKILL) // it is killed: that is an error
		}
	})
	return c
}

// start starts a node and returns when it says where it listens.
func (c *cluster) start(id int, more ...string) {
	c.Helper()
	args := append([]string{"serve", "-id", fmt.Sprint(id), "-dir", c.data(id), "-listen", c.peers[id],
		"-http", c.nodes[id], "-snapshot-entries", fmt.Sprint(snapshotEntries)}, more...)
	cmd := exec.Command(c.binary, args...)
	log, err := os.OpenFile(c.data(id)+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		c.Fatal(err)
	}
	defer log.Close()
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		c.Fatal(err)
	}
	c.running[id] = cmd
	want := fmt.Sprintf("node %d: peers at %s, clients at http://%s\n", id, c.peers[id], c.nodes[id])
	if line, err := bufio.NewReader(out).ReadString('\n'); line != want {
		c.Fatalf("node %d says %q (%v), want %q", id, line, err, want)
	}
}

func (c *cluster) data(id int) string { return filepath.Join(c.dir, fmt.Sprint(id)) }

// end sends a node a signal and returns how it ended.
func (c *cluster) end(id int, signal os.Signal) error {
	c.Helper()
	cmd := c.running[id]
	delete(c.running, id)
	if err := cmd.Process.Signal(signal); err != nil {
		c.Fatal(err)
	}
	return cmd.Wait()
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// addresses returns where the nodes answer clients.
func (c *cluster) addresses(nodes []int) []string {
	var list []string
	for _, id := range nodes {
		list = append(list, c.nodes[id])
	}
	return list
}

// kv runs a client's command that asks the given nodes and returns what it prints.
func (c *cluster) kv(command string, nodes []int, args ...string) (string, error) {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.Context(), time.Minute)
	defer cancel()
	flags := []string{command, "-nodes", strings.Join(c.addresses(nodes), ",")}
	if command != "status" {
		flags = append(flags, "-timeout", "30s")
	}
	out, err := exec.CommandContext(ctx, c.binary, append(flags, args...)...).CombinedOutput()
	return strings.TrimSuffix(string(out), "\n"), err
}

// want fails the test unless a command succeeds and prints that.
func (c *cluster) want(printed, command string, nodes []int, args ...string) {
	c.Helper()
	if out, err := c.kv(command, nodes, args...); err != nil || out != printed {
		c.Fatalf("kv %s %q at nodes %v prints %q (%v), want %q\n%s", command, args, nodes, out, err, printed, c.logs())
	}
}

// refused fails the test unless a command fails and prints that.
func (c *cluster) refused(printed, command string, nodes []int, args ...string) {
	c.Helper()
	if out, err := c.kv(command, nodes, args...); err == nil || !strings.Contains(out, printed) {
		c.Fatalf("kv %s %q at nodes %v prints %q (%v), want an error that says %q", command, args, nodes, out, err, printed)
	}
}

func (c *cluster) logs() string {
	var all strings.Builder
	for id := range c.nodes {
		log, err := os.ReadFile(c.data(id) + ".log")
		fmt.Fprintf(&all, "node %d: %v\n%s\n", id, err, log)
	}
	return all.String()
}

// statuses returns what the nodes say of themselves, by id.
func (c *cluster) statuses(nodes []int) map[int]string {
	c.Helper()
	out, err := c.kv("status", nodes)
	lines := strings.Split(out, "\n")
	if err != nil || len(lines) != len(nodes) {
		c.Fatalf("status: %v\n%s", err, out)
	}
	all := map[int]string{}
	for i, id := range nodes {
		all[id] = lines[i]
	}
	return all
}

// leader returns the node that leads.
func (c *cluster) leader(nodes []int) int {
	c.Helper()
	for id, status := range c.statuses(nodes) {
		if strings.Contains(status, ", leader, ") {
			return id
		}
	}
	c.Fatalf("nobody leads: %v", c.statuses(nodes))
	return 0
}

// exactlyOnce asks for a swap twice, as a client does that got no answer to the first: the second one is not another swap.
func (c *cluster) exactlyOnce(nodes []int) {
	c.Helper()
	client := client{c.addresses(nodes), time.Minute}
	ask := func(r request) (string, error) { return client.ask(c.Context(), r) }
	id, err := ask(request{method: "POST", path: "/sessions"})
	if err != nil {
		c.Fatal(err)
	}
	swap := func(serial int, old, value string) error {
		_, err := ask(request{method: "PUT", path: keyPath("once") + "&old=" + old, body: value, session: fmt.Sprint(id, " ", serial)})
		return err
	}
	c.want("ok", "put", nodes, "once", "1")
	for range 2 {
		if err := swap(1, "1", "2"); err != nil {
			c.Errorf("a swap that is asked for again: %v", err)
		}
	}
	c.want("2", "get", nodes, "once")
	if err := swap(2, "1", "3"); err == nil {
		c.Error("another swap of the same is taken for the first one")
	}
	if _, err := ask(request{method: "DELETE", path: "/sessions/" + id}); err != nil {
		c.Error(err)
	}
	if err := swap(3, "2", "3"); err == nil || !strings.Contains(err.Error(), id) {
		c.Errorf("a swap in a session that has ended: %v, want an error that names session %s", err, id)
	}
}

// fill puts that many values.
func (c *cluster) fill(nodes []int, values int) {
	c.Helper()
	client := client{c.addresses(nodes), time.Minute}
	for i := range values {
		if _, err := client.ask(c.Context(), request{method: "PUT", path: keyPath(fmt.Sprint("fill-", i)), body: "x"}); err != nil {
			c.Fatalf("%v\n%s", err, c.logs())
		}
	}
}

// untilPurged returns when no node's log begins with the first entry any more.
func (c *cluster) untilPurged(nodes []int) {
	c.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range 1000 {
		purged := true
		for _, status := range c.statuses(nodes) {
			purged = purged && !strings.Contains(status, "log from 1,")
		}
		if purged {
			return
		}
		<-tick.C
	}
	c.Fatalf("no log was purged: %v\n%s", c.statuses(nodes), c.logs())
}

func without(nodes []int, id int) []int {
	return slices.DeleteFunc(slices.Clone(nodes), func(n int) bool { return n == id })
}

// TestThreeProcesses does by program what README.md does by hand, and kills: nodes 1 to 3 start, the leader is killed and
// comes back, another node loses its disk and a fourth takes its place, all end when they are asked to.
func TestThreeProcesses(t *testing.T) {
	c, all := build(t), []int{1, 2, 3}
	first := fmt.Sprintf("1=%s,2=%s,3=%s", c.peers[1], c.peers[2], c.peers[3])
	c.start(1, "-init", first)
	c.start(2)
	c.start(3)
	c.want("ok", "put", all, "kept", "in snapshots")
	c.want("ok", "put", all, "color", "green")
	c.want("green", "get", all, "color")
	c.refused("no such key", "get", all, "colour")
	c.refused("no such key", "cas", all, "colour", "green", "blue")
	c.want("ok", "cas", all, "color", "green", "blue")
	c.refused(`the value is "blue"`, "cas", all, "color", "green", "red")
	c.want("ok", "del", all, "color")
	c.refused("no such key", "get", all, "color")
	c.want("ok", "put", all, "a/b c", "spaces and\nlines")
	c.want("ok", "put", all, ".", "dot")
	c.want("dot", "get", all, ".")
	c.refused("the key is empty", "get", all, "")
	c.refused("id \"x\", want a number above 0", "remove", all, "x")

	lost := c.leader(all)
	c.exactlyOnce(all)
	if err := c.end(lost, syscall.SIGKILL); err == nil {
		t.Error("a killed process ends without an error")
	}
	c.want("spaces and\nlines", "get", all, "a/b c")
	c.want("ok", "put", all, "color", "red")
	c.fill(all, 4*snapshotEntries)
	c.untilPurged(without(all, lost))
	c.start(lost, "-init", first) // as it was started before; what it missed is in snapshots alone
	c.untilPurged([]int{lost})
	c.want("ok", "put", all, "color", "brown")

	lost = without(all, c.leader(all))[0]
	_ = c.end(lost, syscall.SIGKILL)
	if err := os.RemoveAll(c.data(lost)); err != nil {
		t.Fatal(err)
	}
	now := append(without(all, lost), 4)
	c.start(4)
	c.want("ok", "add", all, "4", c.peers[4])
	c.want("ok", "remove", all, fmt.Sprint(lost))
	c.want("brown", "get", now, "color")
	lost = c.leader(now)
	_ = c.end(lost, syscall.SIGKILL)
	c.want("in snapshots", "get", now, "kept")
	c.start(lost)
	c.want("brown", "get", now, "color")
	for id, status := range c.statuses(now) {
		if want := fmt.Sprint("[majority of ", now, "]"); id == c.leader(now) && !strings.Contains(status, want) {
			t.Errorf("node %d: %s; want members %s", id, status, want)
		}
	}
	for _, id := range now {
		if err := c.end(id, syscall.SIGTERM); err != nil {
			t.Errorf("node %d ends with %v\n%s", id, err, c.logs())
		}
	}
}

// What can't be is said, with what would be right.
func TestMistakesAreNamed(t *testing.T) {
	for want, args := range map[string][]string{
		"usage:":                             {},
		"unknown command \"set\"":            {"set", "a", "b"},
		"put with 1 arguments, want 2":       {"put", "a"},
		"-id 0":                              {"serve"},
		"arguments [\"now\"]":                {"serve", "-id", "1", "now"},
		"-init has \"2\", want ID=ADDRESS":   {"serve", "-id", "1", "-init", "1=127.0.0.1:7001,2"},
		"listen address \"0.0.0.0:7001\" is": {"serve", "-id", "1", "-dir", t.TempDir(), "-listen", "0.0.0.0:7001"},
		"no node has answered within 1ns":    {"get", "-timeout", "1ns", "a"},
		"get: the key is empty":              {"get", ""},
		"put: the key is empty":              {"put", "", "a"},
		"remove: id \"..\", want a number":   {"remove", ".."},
		"add: id \"0\", want a number":       {"add", "0", "127.0.0.1:7004"},
	} {
		if err := run(t.Context(), args); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("kv %q: %v, want an error that says %s", args, err, want)
		}
	}
}
