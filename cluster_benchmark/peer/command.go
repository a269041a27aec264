package peer

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/millrace/millrace/cluster_benchmark/measure"
	"github.com/millrace/millrace/cluster_benchmark/result"
	"github.com/millrace/millrace/cluster_benchmark/show"
)

// Command is a program that measures.
type Command struct {
	Path string
	Args []string
}

// Bounds of how long a process may take beside the time that it measures.
const (
	extraTime = 3 * time.Minute   // to open, drain, settle and close; then it is interrupted
	endTime   = 150 * time.Second // to end when it was interrupted; then it is killed
)

// Measure runs the program with a request. say is told each line of its progress. Errors: [ErrUnsupported], or why there
// is no result. When ctx ends the program is interrupted: what it measured until then is returned, and when that is
// nothing neither a result nor an error.
func (c Command) Measure(ctx context.Context, q Request, say func(string)) (*result.Result, error) {
	return c.measure(ctx, q, say, extraTime, endTime)
}

func (c Command) measure(ctx context.Context, q Request, say func(string), extra, end time.Duration) (*result.Result, error) {
	request, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	bound := seconds(q.Warmup) + seconds(q.Duration) + extra
	bounded, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	var answer bytes.Buffer
	words := &words{say: say}
	process := exec.CommandContext(bounded, c.Path, c.Args...)
	process.Stdin, process.Stdout, process.Stderr = bytes.NewReader(request), &answer, words
	process.Cancel = func() error { return process.Process.Signal(os.Interrupt) }
	process.WaitDelay = end
	err = process.Run()
	words.flush()
	if err != nil && process.ProcessState == nil {
		if ctx.Err() != nil {
			return nil, nil // before it was started
		}
		return nil, &failure{"can't be started: " + err.Error()}
	}
	if ctx.Err() == nil && bounded.Err() != nil {
		return nil, &failure{fmt.Sprintf("did not end within %v", bound)}
	}
	return c.outcome(ctx.Err() != nil, q, process.ProcessState.ExitCode(), err, answer.Bytes(), words)
}

// outcome says what a process that has ended means.
func (c Command) outcome(interrupted bool, q Request, code int, err error, answer []byte, w *words) (*result.Result, error) {
	if line := bytes.TrimSpace(answer); len(line) > 0 {
		return c.read(line, q)
	}
	switch {
	case code == exitRefused && w.panic == "": // the Go runtime exits with the same code
		return nil, &unsupportedError{w.last()}
	case code == exitInterrupted, code < 0 && interrupted: // -1: a signal ended it
		return nil, nil
	case code == exitOK:
		return nil, &failure{"ended without a result"}
	}
	problem := w.last()
	if problem == "" {
		problem = err.Error()
	}
	return nil, &failure{problem}
}

// read returns the result in an answer, if it is one to this request.
func (c Command) read(line []byte, q Request) (*result.Result, error) {
	var one result.Result
	if err := json.Unmarshal(line, &one); err != nil {
		return nil, &failure{fmt.Sprintf("no result but %q: %v", shortened(string(line)), err)}
	}
	if one.Schema != result.Schema {
		return nil, &failure{fmt.Sprintf("result of schema %d, want %d", one.Schema, result.Schema)}
	}
	if want := measure.Key(q.Target, q.Scenario, one.WALBackend); one.Key != want || one.Profile != q.Profile || one.Round != q.Round {
		return nil, &failure{fmt.Sprintf("result of %s, round %d, %+v, want %s, round %d, %+v", one.Profile, one.Round, one.Key, q.Profile, q.Round, want)}
	}
	return &one, nil
}

// lineMax is how much of a line of a process is kept, in bytes.
const lineMax = 300

func shortened(text string) string {
	if len(text) <= lineMax {
		return text
	}
	return strings.ToValidUTF8(text[:lineMax], "") + "..."
}

// words reads what a process says on standard error: progress, and what went wrong.
//
// Owner: the goroutine that copies for the process, until it has ended.
type words struct {
	say   func(string)
	part  []byte // of a line whose end is yet to come
	panic string // the line in which the Go runtime says why it ended the process
	final string // the last line that is no progress
}

// Write takes what the process wrote.
func (w *words) Write(data []byte) (int, error) {
	w.part = append(w.part, data...)
	for {
		line, rest, found := bytes.Cut(w.part, []byte("\n"))
		if !found {
			if len(w.part) > 1<<20 { // no end of a line in a megabyte: it is not text
				w.part = w.part[:0]
			}
			return len(data), nil
		}
		w.line(string(line))
		w.part = append(w.part[:0], rest...)
	}
}

func (w *words) line(text string) {
	text = strings.TrimSpace(text)
	switch {
	case text == "":
	case strings.HasPrefix(text, show.LinePrefix):
		w.say(strings.TrimPrefix(text, show.LinePrefix))
	default:
		w.final = shortened(text)
		if w.panic == "" && (strings.HasPrefix(text, "panic: ") || strings.HasPrefix(text, "fatal error: ")) {
			w.panic = w.final
		}
	}
}

// flush takes a last line without an end.
func (w *words) flush() {
	w.line(string(w.part))
	w.part = nil
}

// last returns the line that says most about why a process ended.
func (w *words) last() string {
	if w.panic != "" {
		return w.panic
	}
	return w.final
}
