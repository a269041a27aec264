package engine

import (
	"context"
	"log/slog"
	"maps"
	"slices"
)

// Component is a part of a node that logs with a level of its own; see [Config.LogLevels]. Each line carries its name in
// the attribute "component".
type Component string

// The components.
const (
	ComponentConsensus    Component = "consensus"     // elections, leaders, the membership, how peers behave
	ComponentLog          Component = "log"           // the write-ahead log
	ComponentNetwork      Component = "network"       // connections to peers
	ComponentSnapshots    Component = "snapshots"     // taking, sending, receiving and restoring them, purging
	ComponentStateMachine Component = "state-machine" // what is applied
	ComponentAPI          Component = "api"           // what the program asks the node to do, proposals and reads excepted
)

// components lists them all.
var components = []Component{
	ComponentConsensus, ComponentLog, ComponentNetwork, ComponentSnapshots, ComponentStateMachine, ComponentAPI,
}

// checkLogLevels says which entry of [Config.LogLevels] can't be used.
func checkLogLevels(levels map[Component]slog.Leveler) error {
	for _, c := range slices.Sorted(maps.Keys(levels)) {
		if !slices.Contains(components, c) {
			return &ConfigError{"LogLevels", string(c), "the name of a component: consensus, log, network, snapshots, state-machine or api"}
		}
		if levels[c] == nil {
			return &ConfigError{"LogLevels", string(c) + " with a nil level", "a level, or no entry"}
		}
	}
	return nil
}

// logger returns a component's logger.
func (c *Config) logger(component Component) *slog.Logger {
	log := c.Logger
	if least := c.LogLevels[component]; least != nil {
		log = slog.New(levelHandler{log.Handler(), least})
	}
	return log.With("component", string(component))
}

// noted logs what the program has asked for and how that ended, and returns the error.
func (r *Raft) noted(call string, err error, args ...any) error {
	if err != nil {
		args = append(args, "err", err)
	}
	r.loop.logs.api.Info(call, args...)
	return err
}

// levelHandler lets through what both its own level and the handler behind it let through.
type levelHandler struct {
	slog.Handler
	least slog.Leveler
}

func (h levelHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= h.least.Level() && h.Handler.Enabled(ctx, level)
}

func (h levelHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return levelHandler{h.Handler.WithAttrs(attrs), h.least}
}

func (h levelHandler) WithGroup(name string) slog.Handler {
	return levelHandler{h.Handler.WithGroup(name), h.least}
}

// loggers are those that the loop uses itself.
type loggers struct{ consensus, snapshots, stateMachine, api *slog.Logger }

func (c *Config) loggers() loggers {
	return loggers{
		c.logger(ComponentConsensus), c.logger(ComponentSnapshots), c.logger(ComponentStateMachine), c.logger(ComponentAPI),
	}
}
