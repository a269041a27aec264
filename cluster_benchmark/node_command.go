package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/cluster_benchmark/measure"
	"github.com/millrace/millrace/cluster_benchmark/node"
	"github.com/millrace/millrace/cluster_benchmark/setting"
	"github.com/millrace/millrace/codec"
)

// nodeProcessName is the hidden command that a run with --processes starts for each node.
const nodeProcessName = "node-process"

// nodeProcessCommand runs a node for the process that started this one. It is no command for people.
func nodeProcessCommand(stdout io.Writer) *cobra.Command {
	return &cobra.Command{
		Use:    nodeProcessName,
		Short:  "Run a node for a run with --processes: its configuration on standard input, which it ends with",
		Hidden: true,
		Args:   noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			debug.SetGCPercent(measure.GCPercent)
			return node.Child(c.InOrStdin(), stdout, build())
		},
	}
}

// nodeCommand runs a node by hand.
func nodeCommand(stdout io.Writer) *cobra.Command {
	var file string
	var insecure bool
	c := &cobra.Command{
		Use:   "node --config FILE",
		Short: "Run one node of a cluster on this machine, for \"run --connect\" from another",
		Long: `Run one node of a cluster on this machine, for "run --connect" from another: start one on each machine, each with a
file of its own, and then, on the machine where the clients are to be,

  cluster_benchmark run PROFILE --connect HOST:PORT,HOST:PORT,HOST:PORT

with the "clients" address of every node. Several runs may follow one another; two at a time are refused. What was measured
is checked at the end of each run as always: every node is asked what it has applied.

FILE is YAML:

` + indent(node.Example) + `
Further key: stages, on or off: whether the engine measures where the time of puts goes, by default on.

Neither peers nor clients are authenticated, and nothing is encrypted: anyone who reaches the ports can destroy the cluster.
Addresses beyond loopback are therefore refused, unless --insecure or the key allows them.

The log is kept for as long as the directory: a node that is started again with it goes on, after it has applied all of it
again. To begin anew, remove the directories of all nodes. All machines need the same build.

A node says when it is ready, and whenever another leader is known. Ctrl-C or SIGTERM closes it: exit code 0. Exit code 1: it
failed; 2: the configuration can't be used.`,
		Example: `  cluster_benchmark node --config node-1.yaml --insecure
  cluster_benchmark run durable --connect 10.0.0.1:7101,10.0.0.2:7101,10.0.0.3:7101`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			cfg, err := readNodeConfig(file, insecure)
			if err != nil {
				return err
			}
			return runNode(ctx, cfg, stdout)
		},
	}
	c.Flags().SortFlags = false
	c.Flags().Var(&pathFlag{&file, "FILE", "a YAML file"}, "config", "the node's configuration, a YAML file")
	c.Flags().BoolVar(&insecure, "insecure", false, "allow addresses beyond loopback, as the key does")
	return c
}

func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n  ") + "\n"
}

func readNodeConfig(file string, insecure bool) (node.Config, error) {
	if file == "" {
		return node.Config{}, usagef("node: no --config, want a YAML file")
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return node.Config{}, usagef("--config %s: %v, want a YAML file", quoted(file), cause(err))
	}
	cfg, err := node.ParseConfig(file, data, insecure)
	if err != nil {
		return cfg, usagef("%v", err)
	}
	return cfg, nil
}

// runNode runs a node until ctx ends or it fails.
func runNode(ctx context.Context, cfg node.Config, stdout io.Writer) error {
	debug.SetGCPercent(measure.GCPercent)
	n, err := node.Open(cfg, build())
	if err != nil {
		return fmt.Errorf("node %d: %w", cfg.Node, err)
	}
	place := "memory"
	if cfg.Store == setting.StoreWAL {
		place = cfg.Dir
	}
	fmt.Fprintf(stdout, "node %d of %d of cluster %s is ready: peers %s, clients %s, log in %s\n",
		cfg.Node, len(cfg.Members), cfg.Cluster, n.About().Peers, n.Addr(), place)
	err = n.OnLeader(func(leader codec.NodeID) {
		switch {
		case ctx.Err() != nil: // it is closing, and says that
		case leader == 0:
			fmt.Fprintf(stdout, "node %d knows of no leader\n", cfg.Node)
		default:
			fmt.Fprintf(stdout, "node %d: node %d leads\n", cfg.Node, leader)
		}
	})
	if err == nil {
		select {
		case <-ctx.Done():
			fmt.Fprintf(stdout, "node %d is closing\n", cfg.Node)
		case <-n.Done():
			err = n.Err()
		}
	}
	if closeErr := n.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("node %d: %w", cfg.Node, err)
	}
	fmt.Fprintf(stdout, "node %d is closed\n", cfg.Node)
	return nil
}

// describeTimeout bounds how long nodes may take to say what they are.
const describeTimeout = 10 * time.Second

// connect makes the plan that of nodes which run already: they say how many they are and where their logs are kept. What a flag
// says must be so.
func connect(ctx context.Context, plan *setting.Plan, given func(name string) bool) error {
	ctx, cancel := context.WithTimeout(ctx, describeTimeout)
	defer cancel()
	d, err := node.Describe(ctx, plan.Connect)
	if err != nil {
		line := fmt.Sprintf("--connect %s: %s", strings.Join(plan.Connect, ","), strings.Join(strings.Fields(err.Error()), " "))
		var wrong *node.ClusterError
		if errors.As(err, &wrong) {
			return usagef("%s", line)
		}
		return errors.New(line)
	}
	nodes := fmt.Sprint(d.Nodes)
	for _, rule := range setting.Rules() {
		is, ok := map[string]string{"target": setting.Millrace, "nodes": nodes, "store": d.Store, "net": setting.NetTCP, setting.ProcessesName: "false"}[rule.Name]
		if !ok {
			continue
		}
		if said := rule.Text(plan); given(rule.Name) && said != is {
			return usagef("--%s %s: want %s beside --connect, which is what the nodes are", rule.Name, quoted(said), is)
		}
		if err := rule.SetText(plan, is); err != nil {
			return err
		}
	}
	return nil
}
