package node

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/millrace/millrace/cluster_benchmark/load"
	"github.com/millrace/millrace/cluster_benchmark/result"
	"github.com/millrace/millrace/cluster_benchmark/safety"
	"github.com/millrace/millrace/cluster_benchmark/setting"
	"github.com/millrace/millrace/cluster_benchmark/target"
	"github.com/millrace/millrace/codec"
)

// Words by which this binary is told what to be.
const (
	beChild  = "be-a-node"
	beParent = "be-who-starts-nodes"
)

// TestMain makes this binary a node's process, or one that starts some and waits to be killed.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == beChild {
		if err := Child(os.Stdin, os.Stdout, result.Build{}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) > 2 && os.Args[1] == beParent {
		startAndWait(os.Args[2])
	}
	goleak.VerifyTestMain(m, goleak.IgnoreCurrent()) // gnet's worker pool starts with the program and stays
}

// await waits until something holds that gives no event.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if poll(ctx, func() error {
		if holds() {
			return nil
		}
		return fmt.Errorf("not yet")
	}) != nil {
		t.Fatalf("not within 30 s: %s", what)
	}
}

// freeAddresses returns addresses of loopback that nobody listens on.
func freeAddresses(t *testing.T, n int) []string {
	t.Helper()
	var all []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		all = append(all, l.Addr().String())
	}
	return all
}

// startNodes starts a cluster by hand, all nodes in this process, and returns where they listen for clients.
func startNodes(t *testing.T, n int, store string) ([]*Node, []string) {
	t.Helper()
	peers := freeAddresses(t, n)
	members := map[codec.NodeID]string{}
	for i, a := range peers {
		members[codec.NodeID(i+1)] = a
	}
	var nodes []*Node
	var addresses []string
	for i, a := range peers {
		cfg := Config{Cluster: "by-hand", Node: codec.NodeID(i + 1), Peers: a, Clients: "127.0.0.1:0", Store: store, Members: members}
		if store == setting.StoreWAL {
			cfg.Dir = filepath.Join(t.TempDir(), "node")
		}
		node, err := Open(cfg, result.Build{Version: "v1", Commit: "abc"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = node.Close() }) // some are closed before
		nodes = append(nodes, node)
		addresses = append(addresses, node.Addr())
	}
	return nodes, addresses
}

func scenario(nodes, clients, payload int, store string) setting.Scenario {
	return setting.Scenario{Nodes: nodes, Clients: clients, Inflight: 1, Batch: 1, Payload: payload, Store: store, Net: setting.NetTCP}
}

func connectTo(t *testing.T, s setting.Scenario, addresses []string) target.Target {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	s.Connect = true
	c, err := Connect(ctx, s, addresses)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// run is load on a target, whose end a test decides.
type run struct {
	t      *testing.T
	target target.Target
	*load.Run
}

// startLoad puts until it is told to stop.
func startLoad(t *testing.T, target target.Target, s setting.Scenario) *run {
	t.Helper()
	return &run{t, target, load.Start(load.Config{
		Clients: s.Clients, Inflight: s.Inflight, Batch: s.Batch, Payload: s.Payload, Duration: time.Hour,
	}, target)}
}

// more waits until a thousand more puts were answered.
func (r *run) more() {
	r.t.Helper()
	from := r.Answered()
	await(r.t, "a thousand more puts are answered", func() bool { return r.Answered() >= from+1000 })
}

// finish ends the load as a measurement does, and returns the verdict on it and what failed.
func (r *run) finish() (safety.Verdict, load.Measurement, error) {
	r.t.Helper()
	r.Stop()
	ctx, cancel := context.WithTimeout(r.t.Context(), 40*time.Second)
	defer cancel()
	if !r.Drain(ctx) {
		r.t.Error("puts were not answered")
	}
	settled := r.target.Settle(ctx)
	closed := r.target.Close()
	if !r.Drain(ctx) {
		r.t.Fatal("puts were not answered by Close")
	}
	var unfinished []string
	for _, err := range []error{closed, settled} {
		if err != nil {
			unfinished = append(unfinished, err.Error())
		}
	}
	m := r.Measurement()
	v := safety.Check(m.Books, r.target.Replicas(), unfinished)
	if len(unfinished) > 0 {
		return v, m, fmt.Errorf("%s", strings.Join(unfinished, "\n"))
	}
	return v, m, nil
}

// proven fails the test unless everything was looked at and is well.
func proven(t *testing.T, v safety.Verdict, err error) {
	t.Helper()
	if !v.OK || err != nil || v.Acknowledged < 1000 {
		t.Errorf("%+v, %v, want it proven", v, err)
	}
}

// propose puts once from each of some goroutines at the same moment, and returns the errors.
func propose(t *testing.T, p load.Proposer, n int, payload []byte) []error {
	t.Helper()
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { _, errs[i] = p.Propose(t.Context(), payload) })
	}
	all.Wait()
	return errs
}
