package engine_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine"
)

// lines is a state machine that keeps every entry as a line of text. What it captures is a slice that later entries only
// add to, so that it costs nothing and can be written while they are applied.
type lines struct {
	mu    sync.Mutex
	lines []string
}

func (l *lines) Apply(entries []engine.Entry, _ []engine.Result) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range entries {
		l.lines = append(l.lines, string(e.Data))
	}
	return nil
}

func (l *lines) Snapshot() (engine.SnapshotSource, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return capturedLines(l.lines[:len(l.lines):len(l.lines)]), nil
}

func (l *lines) Restore(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	return nil
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, " ")
}

type capturedLines []string

func (c capturedLines) WriteTo(w io.Writer) (n int64, err error) {
	for _, line := range c {
		m, err := io.WriteString(w, line+"\n")
		n += int64(m)
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

func (c capturedLines) Close() error { return nil }

// openLines opens a cluster of one in a directory.
func openLines(ctx context.Context, dir string) (*engine.Raft, *lines) {
	state := &lines{}
	node, err := engine.Open(engine.Config{NodeID: 1, ClusterID: "lines", Dir: dir, Listen: "127.0.0.1:0", Keep: engine.LogKeep{Entries: -1}}, state)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	err = node.Initialize(ctx, codec.NewMembership(codec.SeveralLeadersPerTerm, codec.Node{ID: 1, Address: node.Addr()}))
	if err != nil && !errors.Is(err, engine.ErrInitialized) {
		panic("BUG: " + err.Error())
	}
	if _, err := node.WaitLeader(ctx); err != nil {
		panic("BUG: " + err.Error())
	}
	return node, state
}

// tempDir returns a directory and a function that removes it.
func tempDir() (dir string, remove func()) {
	dir, err := os.MkdirTemp("", "lines")
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return dir, func() { os.RemoveAll(dir) }
}

// A node takes a snapshot by hand, purges its log behind it, and starts from it when it is opened again.
func ExampleTrigger_Snapshot() {
	ctx := context.Background()
	dir, remove := tempDir()
	defer remove()
	node, _ := openLines(ctx, dir)
	for _, line := range []string{"one", "two"} {
		if _, err := node.Propose(ctx, []byte(line)); err != nil {
			fmt.Println(err)
			return
		}
	}
	at, err := node.Trigger().Snapshot(ctx)
	fmt.Println(err, node.Metrics().Snapshots.Newest == at, node.Metrics().Snapshots.Purged == at)
	node.Close()

	node, state := openLines(ctx, dir)
	defer node.Close()
	_, err = node.Propose(ctx, []byte("three"))
	fmt.Println(err, state)
	// Output:
	// <nil> true true
	// <nil> one two three
}

// Entries are removed from the log by hand, as far as a snapshot holds them.
func ExampleTrigger_Purge() {
	ctx := context.Background()
	dir, remove := tempDir()
	defer remove()
	node, _ := openLines(ctx, dir)
	defer node.Close()
	result, err := node.Propose(ctx, []byte("one"))
	fmt.Println(err)
	fmt.Println(errors.Is(node.Trigger().Purge(ctx, result.LogID.Index), engine.ErrNothingToPurge))
	_, err = node.Trigger().Snapshot(ctx) // Config.Keep keeps nothing: the log is purged by that already
	fmt.Println(err, node.Metrics().Snapshots.Purged.Index >= result.LogID.Index)
	// Output:
	// <nil>
	// true
	// <nil> true
}

// What is committed is read back, until it is purged.
func ExampleRaft_ReadLog() {
	ctx := context.Background()
	dir, remove := tempDir()
	defer remove()
	node, _ := openLines(ctx, dir)
	defer node.Close()
	for _, line := range []string{"one", "two"} {
		if _, err := node.Propose(ctx, []byte(line)); err != nil {
			fmt.Println(err)
			return
		}
	}
	for entry, err := range node.ReadLog(ctx, 1, 0) {
		if err != nil {
			fmt.Println(err)
			return
		}
		if entry.Kind == codec.EntryNormal {
			fmt.Printf("%s\n", entry.Data)
		}
	}
	if _, err := node.Trigger().Snapshot(ctx); err != nil {
		fmt.Println(err)
		return
	}
	for _, err := range node.ReadLog(ctx, 1, 0) {
		fmt.Println(errors.Is(err, engine.ErrPurged))
	}
	// Output:
	// one
	// two
	// true
}

// The state is written into a directory, and read from there as the state machine has written it.
func ExampleRaft_Export() {
	ctx := context.Background()
	dir, remove := tempDir()
	defer remove()
	node, _ := openLines(ctx, filepath.Join(dir, "node"))
	defer node.Close()
	result, err := node.Propose(ctx, []byte("one"))
	if err != nil {
		fmt.Println(err)
		return
	}
	at, err := node.Export(ctx, filepath.Join(dir, "export"))
	fmt.Println(at.Index >= result.LogID.Index, err)
	state, err := engine.OpenExport(filepath.Join(dir, "export"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer state.Close()
	text, err := io.ReadAll(state)
	fmt.Printf("%q %v\n", text, err)
	cluster, _ := state.Cluster()
	fmt.Println(cluster, state.Info().Base.ID == at)
	// Output:
	// true <nil>
	// "one\n" <nil>
	// lines true
}

// The state of a cluster is exported, and becomes the first state of another one.
func ExampleImport() {
	ctx := context.Background()
	dir, remove := tempDir()
	defer remove()
	old, _ := openLines(ctx, filepath.Join(dir, "old"))
	if _, err := old.Propose(ctx, []byte("one")); err != nil {
		fmt.Println(err)
		return
	}
	export := filepath.Join(dir, "export")
	_, err := old.Export(ctx, export)
	fmt.Println(err)
	old.Close()

	cfg := engine.Config{NodeID: 1, ClusterID: "copy", Dir: filepath.Join(dir, "new"), Listen: "127.0.0.1:0"}
	m := codec.NewMembership(codec.OneLeaderPerTerm, codec.Node{ID: 1, Address: "127.0.0.1:7000"})
	fmt.Println(engine.Import(cfg, export, m))

	state := &lines{}
	node, err := engine.Open(cfg, state)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer node.Close()
	if _, err := node.WaitLeader(ctx); err != nil {
		fmt.Println(err)
		return
	}
	_, err = node.Propose(ctx, []byte("two"))
	fmt.Println(err, state)
	// Output:
	// <nil>
	// <nil>
	// <nil> one two
}

// The state of a running cluster is replaced, on all nodes at the same entry.
func ExampleRaft_Restore() {
	ctx := context.Background()
	dir, remove := tempDir()
	defer remove()
	node, state := openLines(ctx, filepath.Join(dir, "node"))
	defer node.Close()
	if _, err := node.Propose(ctx, []byte("good")); err != nil {
		fmt.Println(err)
		return
	}
	export := filepath.Join(dir, "export")
	if _, err := node.Export(ctx, export); err != nil {
		fmt.Println(err)
		return
	}
	if _, err := node.Propose(ctx, []byte("bad")); err != nil {
		fmt.Println(err)
		return
	}
	good, err := engine.OpenExport(export)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer good.Close()
	_, err = node.Restore(ctx, good)
	fmt.Println(err, state)
	// Output: <nil> good
}
