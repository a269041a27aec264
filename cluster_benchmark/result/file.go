package result

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// WriteLine writes one result as a line.
func WriteLine(w io.Writer, r *Result) error {
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("result of %s: %w", r.Target, err)
	}
	_, err = w.Write(append(line, '\n'))
	return err
}

// Create makes a new file for the results of a run in dir, which is made too where it is missing. The name holds the
// time and the profile; a file that exists is never touched.
func Create(dir, profile string, now time.Time) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	stem := filepath.Join(dir, now.UTC().Format("20060102T150405Z")+"-"+profile)
	for n := 1; ; n++ {
		name := stem + ".jsonl"
		if n > 1 {
			name = fmt.Sprintf("%s-%d.jsonl", stem, n)
		}
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if !errors.Is(err, fs.ErrExist) {
			return f, err
		}
	}
}

// ReadFile reads a file of results. Errors: a [FormatError], or why the file can't be read.
func ReadFile(name string) ([]Result, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var results []Result
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, len(data)+1)
	for n := 1; lines.Scan(); n++ {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		var r Result
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return nil, &FormatError{name, n, "not a result: " + err.Error()}
		}
		if r.Schema != Schema {
			return nil, &FormatError{name, n, fmt.Sprintf("schema %d, want %d", r.Schema, Schema)}
		}
		results = append(results, r)
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(results) == 0 {
		return nil, &FormatError{name, 0, "no results in it, want one JSON object a line"}
	}
	return results, nil
}
