package main

import (
	"context"

	"github.com/millrace/millrace/cluster_benchmark/peer"
	"github.com/millrace/millrace/cluster_benchmark/setting"
	"github.com/millrace/millrace/cluster_benchmark/target"
)

func main() {
	quieten()
	peer.Main(peer.Peer{Targets: []peer.Target{with(tanLog), with(pebbleLog)}})
}

// with returns the library with one of its log engines as a target.
func with(l logEngine) peer.Target {
	libraries := []string{"github.com/lni/dragonboat/v4"}
	if l == pebbleLog {
		libraries = append(libraries, "github.com/cockroachdb/pebble")
	}
	return peer.Target{
		Name:    "dragonboat-" + string(l),
		Library: peer.Library(libraries...),
		Configuration: "log in " + string(l) + ", in memory on the library's MemFS; NoOP session, concurrent state machine, a worker per stage, " +
			"own TCP transport or its channels, ticks of 10 ms, ErrSystemBusy waited out",
		WALBackend: string(l),
		Open: func(ctx context.Context, s setting.Scenario, dir string) (target.Target, error) {
			return open(ctx, l, s, dir)
		},
	}
}
