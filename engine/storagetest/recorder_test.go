package storagetest

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// recorder is a [testing.TB] that lets a case fail without the test around it failing.
type recorder struct {
	testing.TB
	problems []string
	cleanups []func()
	temps    []string
}

// stop is the panic with which a recorder ends a case.
type stop struct{}

func (r *recorder) Helper() {}

func (r *recorder) Errorf(format string, args ...any) {
	r.problems = append(r.problems, fmt.Sprintf(format, args...))
}
func (r *recorder) Error(args ...any)                 { r.Errorf("%s", fmt.Sprintln(args...)) }
func (r *recorder) Fatalf(format string, args ...any) { r.Errorf(format, args...); panic(stop{}) }
func (r *recorder) Fatal(args ...any)                 { r.Error(args...); panic(stop{}) }
func (r *recorder) Cleanup(f func())                  { r.cleanups = append(r.cleanups, f) }

func (r *recorder) TempDir() string {
	dir, err := os.MkdirTemp("", "storagetest")
	if err != nil {
		panic(err)
	}
	r.temps = append(r.temps, dir)
	return dir
}

// attempt runs a case and returns what was wrong; a panic of what is tested is wrong too. skipped says why it did not apply.
func attempt(t *testing.T, run func(t testing.TB) string) (problems, skipped string) {
	r := &recorder{TB: t}
	func() {
		defer func() {
			if p := recover(); p != nil && p != (stop{}) {
				r.problems = append(r.problems, fmt.Sprint("panic: ", p))
			}
		}()
		skipped = run(r)
	}()
	for i := len(r.cleanups) - 1; i >= 0; i-- {
		r.cleanups[i]()
	}
	for _, dir := range r.temps {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	}
	return strings.Join(r.problems, "\n"), skipped
}

// shortPatience is for what reports at once or never.
const shortPatience = 3 * time.Millisecond
