package main

import "github.com/millrace/millrace/cluster_benchmark/result"

// Set by the linker where the build knows better than the Go toolchain (-X main.version=...); empty otherwise.
var (
	version string
	commit  string
	dirty   string // "true" or "false"
)

// build says what this binary is made of.
func build() result.Build {
	b := result.ThisBuild()
	if version != "" {
		b.Version = version
	}
	if commit != "" {
		b.Commit, b.Dirty = commit, dirty == "true"
	}
	return b
}
