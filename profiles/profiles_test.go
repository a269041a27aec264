package profiles

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestEveryFileIsListed(t *testing.T) {
	found, err := filepath.Glob("*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range found {
		names = append(names, strings.TrimSuffix(f, ".yaml"))
	}
	listed := Names()
	slices.Sort(listed)
	if !slices.Equal(names, listed) {
		t.Errorf("files are %v, listed are %v", names, listed)
	}
	for _, n := range listed {
		if data, err := Read(n); err != nil || len(data) == 0 {
			t.Errorf("read %s: %d bytes, %v", n, len(data), err)
		}
	}
}

func TestUnknownProfile(t *testing.T) {
	for _, name := range []string{"slow", "", "../quick", "quick.yaml", "a/quick"} {
		if _, err := Read(name); err == nil || !strings.Contains(err.Error(), "known: quick, minimized, durable, latency") {
			t.Errorf("read %q: %v, want an error that names the profiles", name, err)
		}
	}
}
