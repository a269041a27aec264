package crash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/millrace/millrace/engine"
)

// journal keeps the newest lines that the nodes log, of all lives, in the order in which they were written: what led to a
// failure.
//
// Owner: none; mu guards everything, since every node writes.
type journal struct {
	mu    sync.Mutex
	lines [][]byte // the oldest is the one at next, once there are journalLines
	next  int
}

// journalLines is enough for some elections of three nodes.
const journalLines = 200

// logger returns one for the numbered life of a node.
func (j *journal) logger(node, life int) *slog.Logger {
	return slog.New(slog.NewTextHandler(j, &slog.HandlerOptions{Level: slog.LevelDebug})).With("node", node, "life", life)
}

func (j *journal) Write(line []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.lines) < journalLines {
		j.lines = append(j.lines, bytes.Clone(line))
	} else {
		j.lines[j.next] = append(j.lines[j.next][:0], line...)
	}
	j.next = (j.next + 1) % journalLines
	return len(line), nil
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	from := 0
	if len(j.lines) == journalLines {
		from = j.next
	}
	return string(bytes.Join(append(append([][]byte(nil), j.lines[from:]...), j.lines[:from]...), nil))
}

// explain tells what each node is and knows, so that a cluster that does not go on says why, and what they logged.
func (g *grid) explain() string {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var b strings.Builder
	for i := range g.seats {
		n := g.seats[i].Load()
		if n == nil {
			fmt.Fprintf(&b, "node %d: none\n", i+1)
			continue
		}
		m := n.Metrics()
		fmt.Fprintf(&b, "node %d: error %v, disk %s; knows %v\n", i+1, n.Err(), g.disks[i].condition(), m.Membership)
		fmt.Fprintf(&b, "  %+v\n  %+v\n  %+v\n  %+v\n  %+v\n", m.Office, m.LogPointers, m.Queues, m.Lags, m.Counts)
		for _, p := range m.Peers {
			fmt.Fprintf(&b, "  %+v\n", p)
		}
		if m.Transport != nil {
			fmt.Fprintf(&b, "  %+v\n", *m.Transport)
		}
		if m.WAL != nil {
			fmt.Fprintf(&b, "  %+v\n", *m.WAL)
		}
		if err := n.Inspect(ctx, func(v *engine.View) { fmt.Fprintf(&b, "  %+v\n", v.Status()) }); err != nil {
			fmt.Fprintf(&b, "  not to be inspected: %v\n", err)
		}
	}
	acked, inFlight := g.book.counts()
	fmt.Fprintf(&b, "%d puts acknowledged, %d in flight; the last the nodes logged:\n%s", acked, inFlight, &g.journal)
	return b.String()
}

// end closes the nodes, and explains how a test has ended that failed.
func (g *grid) end(err error) error {
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, g.explain())
	}
	return errors.Join(err, g.seats.close())
}
