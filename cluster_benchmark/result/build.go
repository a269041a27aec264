package result

import (
	"runtime"
	"runtime/debug"
)

// ThisBuild says what this binary is made of, as far as the Go toolchain wrote it into it; "unknown" for the rest.
func ThisBuild() Build {
	b := Build{Version: unknown, Commit: unknown, Go: runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if info.Main.Version != "" {
		b.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.modified":
			b.Dirty = s.Value == "true"
		}
	}
	return b
}
