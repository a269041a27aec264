package main

import (
	"runtime"
	"runtime/debug"

	"github.com/millrace/millrace/cluster_benchmark/result"
)

// Set by the linker where the build knows better than the Go toolchain (-X main.version=...); empty otherwise.
var (
	version string
	commit  string
	dirty   string // "true" or "false"
)

const unknown = "unknown"

// build says what this binary is made of.
func build() result.Build {
	b := result.Build{Version: version, Commit: commit, Dirty: dirty == "true", Go: runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if ok && b.Version == "" {
		b.Version = info.Main.Version
	}
	if ok && b.Commit == "" {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				b.Commit = s.Value
			case "vcs.modified":
				b.Dirty = s.Value == "true"
			}
		}
	}
	if b.Version == "" {
		b.Version = unknown
	}
	if b.Commit == "" {
		b.Commit = unknown
	}
	return b
}
