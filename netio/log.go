package netio

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"time"
)

// reporter logs one line per key and interval, so that a peer that fails ten times a second does not flood the log.
// Owner: shared. The lock stands for an owner because every goroutine of the transport reports, rarely.
type reporter struct {
	log  *slog.Logger
	mu   sync.Mutex
	seen map[string]*reported
}

type reported struct {
	at      time.Time
	skipped int
}

const (
	reportInterval = time.Minute
	reportKeysMax  = 256
)

func newReporter(log *slog.Logger) *reporter {
	return &reporter{log: log, seen: make(map[string]*reported)}
}

// report logs the line, unless one with the same key was logged within the interval; the next one tells how many were
// left out.
func (r *reporter) report(level slog.Level, key, message string, args ...any) {
	r.mu.Lock()
	now := time.Now()
	last := r.seen[key]
	if last != nil && now.Sub(last.at) < reportInterval {
		last.skipped++
		r.mu.Unlock()
		return
	}
	if last == nil {
		r.makeRoom(now)
		last = new(reported)
		r.seen[key] = last
	}
	if last.skipped > 0 {
		args = append(args, "repeated", last.skipped)
	}
	last.at, last.skipped = now, 0
	r.mu.Unlock()
	r.log.Log(context.Background(), level, message, args...)
}

// forget makes the next reports whose keys begin so come through: what they are about was mended in between.
func (r *reporter) forget(prefix string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.seen, func(key string, _ *reported) bool { return strings.HasPrefix(key, prefix) })
}

// makeRoom keeps the number of remembered keys bounded: a stranger chooses some of them.
func (r *reporter) makeRoom(now time.Time) {
	if len(r.seen) < reportKeysMax {
		return
	}
	for key, last := range r.seen {
		if now.Sub(last.at) >= reportInterval {
			delete(r.seen, key)
		}
	}
	for key := range r.seen {
		if len(r.seen) < reportKeysMax {
			return
		}
		delete(r.seen, key)
	}
}

// gnetLogger gives gnet's own lines to our logger. They are of interest to somebody who debugs, with one exception:
// what gnet calls an error is a warning here, because this package reports by itself what follows from it.
type gnetLogger struct{ log *slog.Logger }

func (g gnetLogger) Debugf(format string, args ...any) { g.write(slog.LevelDebug, format, args) }
func (g gnetLogger) Infof(format string, args ...any)  { g.write(slog.LevelDebug, format, args) }
func (g gnetLogger) Warnf(format string, args ...any)  { g.write(slog.LevelDebug, format, args) }
func (g gnetLogger) Errorf(format string, args ...any) { g.write(slog.LevelWarn, format, args) }
func (g gnetLogger) Fatalf(format string, args ...any) { g.write(slog.LevelError, format, args) }

func (g gnetLogger) write(level slog.Level, format string, args []any) {
	if g.log.Enabled(context.Background(), level) {
		g.log.Log(context.Background(), level, "gnet: "+fmt.Sprintf(format, args...))
	}
}
