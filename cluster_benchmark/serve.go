package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/cluster_benchmark/peer"
	"github.com/millrace/millrace/cluster_benchmark/setting"
	"github.com/millrace/millrace/cluster_benchmark/target"
)

// measureCommand makes one measurement for another process of the suite. It is no command for people.
func measureCommand(stdout, stderr io.Writer) *cobra.Command {
	return &cobra.Command{
		Use:    "measure",
		Short:  "Make one measurement: a request on standard input, a result on standard output",
		Hidden: true,
		Args:   noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			if err := ownTargets().Serve(ctx, c.InOrStdin(), stdout, stderr); err != nil {
				return &servedError{err}
			}
			return nil
		},
	}
}

// ownTargets is what this binary itself can measure.
func ownTargets() peer.Peer {
	p := peer.Peer{Build: build()}
	for _, t := range setting.Targets() {
		p.Targets = append(p.Targets, peer.Target{
			Name: t.Name, WALBackend: target.WALBackend(t.Name),
			Open: func(ctx context.Context, s setting.Scenario, dir string) (target.Target, error) {
				return target.Open(ctx, t.Name, s, dir)
			},
		})
	}
	return p
}
