package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
)

// TestLogLevelsOfComponents: each has its own, which can be changed while the node runs; the handler's own stays the least.
func TestLogLevelsOfComponents(t *testing.T) {
	var lines logLines
	var level slog.LevelVar
	level.Set(slog.LevelError)
	cfg := Config{
		Logger:    slog.New(slog.NewTextHandler(&lines, &slog.HandlerOptions{Level: slog.LevelInfo})),
		LogLevels: map[Component]slog.Leveler{ComponentConsensus: &level, ComponentLog: slog.LevelDebug},
	}
	say := func() {
		for _, c := range components {
			log := cfg.logger(c).With("a", 1).WithGroup("g")
			log.Debug("debug " + string(c))
			log.Info("info " + string(c))
			log.Error("error " + string(c))
		}
	}
	say()
	if n := lines.count("msg=\"error "); n != len(components) {
		t.Errorf("%d errors of %d components", n, len(components))
	}
	if lines.count("info consensus") != 0 || lines.count("info network") != 1 || lines.count("debug") != 0 {
		t.Errorf("levels are not kept:\n%s", lines.text.String())
	}
	level.Set(slog.LevelInfo)
	say()
	if lines.count("info consensus") != 1 || lines.count("component=state-machine") != 4 {
		t.Errorf("a level that was changed is not kept:\n%s", lines.text.String())
	}
}

// TestLogsAndErrorsHoldNoValues runs a cluster through what it logs about, with every level on, and looks for what was
// proposed in each line, error and event.
func TestLogsAndErrorsHoldNoValues(t *testing.T) {
	const marker = "s3cret-Value"
	eachKind(t, func(t *testing.T, o clusterOptions) {
		var lines logLines
		o.cables = true
		o.adjust = func(cfg *Config) {
			cfg.Logger = slog.New(slog.NewTextHandler(&lines, &slog.HandlerOptions{Level: slog.LevelDebug - 100}))
			cfg.ProposalBytesMax = 1 << 10
		}
		c := startCluster(t, o)
		said := func(what any) { fmt.Fprintf(&lines, "%v %+v\n", what, what) }
		for _, n := range c.nodes {
			s := events(t, n)
			defer func() {
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				for e := range s.All(ctx) {
					said(e)
				}
			}()
		}
		for n := range 50 {
			c.propose(fmt.Sprint(marker, n))
		}
		c.agree(50)
		leader := c.leader()
		c.cable.part([]codec.NodeID{leader.NodeID()}, c.others(leader.NodeID()))
		_, err := leader.Propose(t.Context(), []byte(marker))
		said(err)
		if !errors.As(err, new(*UnknownError)) {
			t.Errorf("a proposal on a leader that is cut off: %v", err)
		}
		_, err = leader.Propose(t.Context(), []byte(marker))
		said(err)
		c.cable.heal()
		c.propose(marker + "healed")
		leader = c.leader()
		_, err = leader.Propose(t.Context(), []byte(strings.Repeat(marker, 100)))
		said(err)
		c.change(Demote(c.others(leader.NodeID())[0]))
		failing := c.sms[leader.NodeID()]
		failing.mu.Lock()
		failing.fail = errors.New("the machine's own words")
		failing.mu.Unlock()
		_, err = leader.Propose(t.Context(), []byte(marker))
		said(err)
		within(t, "a node whose state machine failed", leader.Done())
		said(leader.Err())
		if !errors.As(leader.Err(), new(*StateMachineError)) {
			t.Errorf("the node stopped because of %v", leader.Err())
		}
		said(leader.Close())
		delete(c.nodes, leader.NodeID())
		for id := range c.nodes {
			c.close(id)
		}
		for _, component := range []Component{ComponentConsensus, ComponentStateMachine, ComponentAPI} {
			if lines.count("component="+string(component)) == 0 {
				t.Errorf("nothing was logged by the component %s", component)
			}
		}
		if o.tcp && lines.count("component=network") == 0 {
			t.Error("nothing was logged by the network")
		}
		if n := lines.count(marker); n > 0 || lines.count("level=DEBUG") == 0 {
			text := lines.text.String()
			at := max(0, strings.Index(text, marker))
			t.Errorf("%d values among the lines, first in: %s", n, text[max(0, at-200):min(len(text), at+200)])
		}
	})
}

// TestSlowInspectIsLogged, since it holds the node up.
func TestSlowInspectIsLogged(t *testing.T) {
	var lines logLines
	r := openAlone(t, newRegister(), func(cfg *Config) { cfg.Logger = slog.New(slog.NewTextHandler(&lines, nil)) })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := r.Inspect(t.Context(), func(*View) { <-ctx.Done() }); err != nil {
		t.Fatal(err)
	}
	if lines.count("held the node up") != 1 {
		t.Error("no line says that the function was slow")
	}
}
