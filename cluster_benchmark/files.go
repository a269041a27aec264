package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/millrace/millrace/cluster_benchmark/result"
	"github.com/millrace/millrace/cluster_benchmark/setting"
)

// files are those of a flag that writes one for each result, as --hgrm: one, or with several results one for each.
type files struct {
	flag      string
	path      string // as given; empty without
	put       func(io.Writer, *result.Result) error
	single    bool
	scenarios []setting.Scenario
	made      map[string]bool // files that were not there before and hold nothing yet
	written   []string
}

// openFiles makes sure that every file can be written. It does not touch what those that exist hold.
func openFiles(flag, path string, put func(io.Writer, *result.Result) error, plan *setting.Plan, scenarios []setting.Scenario) (*files, error) {
	f := &files{
		flag: flag, path: path, put: put, scenarios: scenarios,
		single: len(scenarios)*plan.Rounds*len(plan.Targets) == 1, made: map[string]bool{},
	}
	if path == "" {
		return f, nil
	}
	for _, s := range scenarios {
		for round := 1; round <= plan.Rounds; round++ {
			for _, target := range plan.Targets {
				if err := f.probe(f.name(target, s, round)); err != nil {
					return nil, errors.Join(err, f.removeUnwritten())
				}
			}
		}
	}
	return f, nil
}

func (f *files) name(target string, s setting.Scenario, round int) string {
	if f.single {
		return f.path
	}
	ext := filepath.Ext(f.path)
	return fmt.Sprintf("%s.%s-%dn-%dc-%di-%db-%dB%s-r%d%s", strings.TrimSuffix(f.path, ext), target,
		s.Nodes, s.Clients, s.Inflight, s.Batch, s.Payload, f.more(s), round, ext)
}

// more names the other settings of a scenario that the run sweeps, so that no two have the same file.
func (f *files) more(s setting.Scenario) string {
	named := []string{"Nodes", "Clients", "Inflight", "Batch", "Payload"}
	text, v := "", reflect.ValueOf(s)
	for i := range v.NumField() {
		field := v.Type().Field(i)
		sweeps := false
		for _, other := range f.scenarios {
			sweeps = sweeps || reflect.ValueOf(other).Field(i).Interface() != v.Field(i).Interface()
		}
		for _, n := range named {
			sweeps = sweeps && n != field.Name
		}
		if sweeps {
			text += fmt.Sprintf("-%s%v", strings.ToLower(field.Name), v.Field(i).Interface())
		}
	}
	return text
}

func (f *files) probe(name string) error {
	_, missing := os.Lstat(name)
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o644)
	if err == nil {
		if errors.Is(missing, fs.ErrNotExist) {
			f.made[name] = true
		}
		err = file.Close()
	}
	if err != nil {
		return usagef("%s %s: %v, want a file that can be written", f.flag, quoted(name), cause(err))
	}
	return nil
}

// write writes the file of a result.
func (f *files) write(s setting.Scenario, r *result.Result) error {
	if f.path == "" {
		return nil
	}
	name := f.name(r.Target, s, r.Round)
	file, err := os.Create(name)
	if err == nil {
		delete(f.made, name)
		err = f.put(file, r)
		if closeErr := file.Close(); err == nil {
			err = closeErr
		}
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", f.flag, quoted(name), cause(err))
	}
	f.written = append(f.written, name)
	return nil
}

// removeUnwritten removes the files that a run made and had nothing to write to.
func (f *files) removeUnwritten() error {
	var errs []error
	for name := range f.made {
		errs = append(errs, os.Remove(name))
	}
	clear(f.made)
	return errors.Join(errs...)
}
