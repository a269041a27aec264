package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine"
)

const usage = `usage:
  kv serve -id N [flags]       run a node; kv serve -h lists the flags
  kv get KEY                   print a value, the newest one
  kv put KEY VALUE             set it
  kv cas KEY OLD VALUE         set it if it is OLD
  kv del KEY                   delete it
  kv status                    what each node says of itself
  kv add ID ADDRESS            make the node that listens there a voter
  kv remove ID                 take a node out of the cluster
All but serve take -nodes with the HTTP addresses to ask, before their arguments.`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "kv:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 0:
		return fmt.Errorf("no command given, want one of these\n%s", usage)
	case args[0] == "serve":
		return serve(ctx, args[1:])
	}
	return call(ctx, args[0], args[1:])
}

// serve runs a node until ctx ends or the node stops itself.
func serve(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("kv serve", flag.ContinueOnError)
	id := flags.Uint64("id", 0, "node `id`, above 0; never one that another data directory has used")
	dir := flags.String("dir", "", "data `directory` (default kv-data/ID)")
	listen := flags.String("listen", "", "`address` for the other nodes (default 127.0.0.1:7000+ID)")
	httpAddress := flags.String("http", "", "`address` for clients (default 127.0.0.1:8000+ID)")
	first := flags.String("init", "", "`nodes` of a new cluster, ID=ADDRESS,...; on one of them, no harm later")
	every := flags.Uint64("snapshot-entries", 10000, "`entries` from one snapshot to the next, and kept behind one for nodes that were away")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 || *id == 0 {
		return fmt.Errorf("-id %d and arguments %q, want an id above 0 and no arguments", *id, flags.Args())
	}
	byDefault(dir, fmt.Sprint("kv-data/", *id))
	byDefault(listen, fmt.Sprint("127.0.0.1:", 7000+*id))
	byDefault(httpAddress, fmt.Sprint("127.0.0.1:", 8000+*id))
	members, err := parseNodes(*first)
	if err != nil {
		return err
	}

	store := &store{values: map[string]string{}}
	node, err := engine.Open(engine.Config{
		NodeID: codec.NodeID(*id), ClusterID: "kv", Dir: *dir, Listen: *listen,
		Snapshot: engine.SnapshotPolicy{Entries: *every}, Keep: engine.LogKeep{Entries: int64(*every)},
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}, store)
	if err != nil {
		return err
	}
	if len(members) > 0 {
		err = node.Initialize(ctx, codec.NewMembership(codec.SeveralLeadersPerTerm, members...))
	}
	if err == nil || errors.Is(err, engine.ErrInitialized) {
		err = answerClients(ctx, *httpAddress, &server{node, store})
	}
	return errors.Join(err, node.Close())
}

func byDefault(value *string, text string) {
	if *value == "" {
		*value = text
	}
}

// parseID reads the id of a node or a session.
func parseID(text string) (uint64, error) {
	id, err := strconv.ParseUint(text, 10, 64)
	if err != nil || id == 0 {
		return 0, fmt.Errorf("id %q, want a number above 0", text)
	}
	return id, nil
}

// parseNodes reads "1=127.0.0.1:7001,2=127.0.0.1:7002".
func parseNodes(text string) (nodes []codec.Node, err error) {
	if text == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		id, address, _ := strings.Cut(part, "=")
		number, err := strconv.ParseUint(id, 10, 64)
		if err != nil || address == "" {
			return nil, fmt.Errorf("-init has %q, want ID=ADDRESS", part)
		}
		nodes = append(nodes, codec.Node{ID: codec.NodeID(number), Address: address})
	}
	return nodes, nil
}

// answerClients serves HTTP until ctx ends or the node stops itself; requests that have begun are answered then.
func answerClients(ctx context.Context, address string, s *server) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	fmt.Printf("node %d: peers at %s, clients at http://%s\n", s.node.NodeID(), s.node.Addr(), listener.Addr())
	web := &http.Server{Handler: s.handler(), ReadHeaderTimeout: requestTimeout}
	served := make(chan error, 1)
	go func() { served <- web.Serve(listener) }()
	select {
	case err = <-served:
	case <-s.node.Done():
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	return errors.Join(err, web.Shutdown(end))
}
