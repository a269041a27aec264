package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/millrace/millrace/cluster_benchmark/result"
	"github.com/millrace/millrace/cluster_benchmark/setting"
)

// histograms are the files of --hgrm: one, or with several results one for each.
type histograms struct {
	path    string // as given; empty without
	single  bool
	made    map[string]bool // files that were not there before and hold nothing yet
	written []string
}

// openHistograms makes sure that every file can be written. It does not touch what those that exist hold.
func openHistograms(path string, plan *setting.Plan, scenarios []setting.Scenario) (*histograms, error) {
	h := &histograms{path: path, single: len(scenarios)*plan.Rounds*len(plan.Targets) == 1, made: map[string]bool{}}
	if path == "" {
		return h, nil
	}
	for _, s := range scenarios {
		for round := 1; round <= plan.Rounds; round++ {
			for _, target := range plan.Targets {
				if err := h.probe(h.name(target, s, round)); err != nil {
					return nil, errors.Join(err, h.removeUnwritten())
				}
			}
		}
	}
	return h, nil
}

func (h *histograms) name(target string, s setting.Scenario, round int) string {
	if h.single {
		return h.path
	}
	ext := filepath.Ext(h.path)
	rate := ""
	if s.Rate > 0 {
		rate = fmt.Sprintf("-%dps", s.Rate)
	}
	return fmt.Sprintf("%s.%s-%dn-%dc-%di-%db-%dB%s-r%d%s", strings.TrimSuffix(h.path, ext), target,
		s.Nodes, s.Clients, s.Inflight, s.Batch, s.Payload, rate, round, ext)
}

func (h *histograms) probe(name string) error {
	_, missing := os.Lstat(name)
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o644)
	if err == nil {
		if errors.Is(missing, fs.ErrNotExist) {
			h.made[name] = true
		}
		err = f.Close()
	}
	if err != nil {
		return usagef("--hgrm %s: %v, want a file that can be written", quoted(name), cause(err))
	}
	return nil
}

// write writes the histogram of a result.
func (h *histograms) write(r *result.Result) error {
	if h.path == "" {
		return nil
	}
	s := setting.Scenario{Nodes: r.Nodes, Clients: r.Clients, Inflight: r.Inflight, Batch: r.Batch, Payload: r.Payload, Rate: int(r.Rate)}
	name := h.name(r.Target, s, r.Round)
	f, err := os.Create(name)
	if err == nil {
		delete(h.made, name)
		err = result.WriteHGRM(f, r.Histogram)
		if closeErr := f.Close(); err == nil {
			err = closeErr
		}
	}
	if err != nil {
		return fmt.Errorf("--hgrm %s: %w", quoted(name), cause(err))
	}
	h.written = append(h.written, name)
	return nil
}

// removeUnwritten removes the files that a run made and had nothing to write to.
func (h *histograms) removeUnwritten() error {
	var errs []error
	for name := range h.made {
		errs = append(errs, os.Remove(name))
	}
	clear(h.made)
	return errors.Join(errs...)
}
