package profiles

import (
	"embed"
	"fmt"
	"path"
	"strings"
)

//go:embed *.yaml
var files embed.FS

// order is how profiles are listed: the one to begin with first.
var order = []string{
	"quick", "minimized", "durable", "latency", "pipelined", "batch", "sweep-clients", "sweep-payload", "open-loop",
	"read-mix", "snapshot-under-load", "slow-follower", "leader-kill",
}

// Names returns the names of all profiles, the one to begin with first.
func Names() []string { return append([]string(nil), order...) }

// Read returns a profile's YAML. The error names the profiles there are.
func Read(name string) ([]byte, error) {
	data, err := files.ReadFile(path.Base(name) + ".yaml")
	if err != nil || strings.ContainsAny(name, "/\\") {
		return nil, fmt.Errorf("unknown profile %q, known: %s", name, strings.Join(order, ", "))
	}
	return data, nil
}
