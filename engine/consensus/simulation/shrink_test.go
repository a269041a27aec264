package simulation

import (
	"errors"
	"strings"
	"testing"
)

// TestShrinkFindsASmallerRun: a reader of the trace that panics at the first loss of power stands for a bug which that
// brings out. All that it does not need is left out.
func TestShrinkFindsASmallerRun(t *testing.T) {
	opts := Options{Seed: 2, Trace: func(line string) {
		if strings.Contains(line, "crashes, power true") {
			panic("no power")
		}
	}}
	whole := Run(opts)
	if !errors.Is(whole.Err, ErrViolation) || !strings.Contains(whole.Err.Error(), "panic: no power\n") || !strings.Contains(whole.Err.Error(), "simulation.Run") {
		t.Fatalf("the whole run ends with %v, want the panic and where it came from", whole.Err)
	}
	small, result := Shrink(opts)
	if !errors.Is(result.Err, ErrViolation) || !strings.Contains(result.Err.Error(), "panic: no power\n") {
		t.Fatalf("the smaller run ends with %v", result.Err)
	}
	if small.off(ClassPowerCut) && small.off(ClassAllDown) || len(small.Without) == 0 || small.ClientsMax != 1 {
		t.Errorf("left out are %v, %d clients are left", small.Without, small.ClientsMax)
	}
	command := small.Command()
	for _, part := range []string{" -first 2 ", " -clients 1", " -events ", " -without "} {
		if !strings.Contains(command, part) {
			t.Errorf("%q has no %q", command, part)
		}
	}
	fewer := small
	fewer.EventsMax--
	if r := Run(fewer); r.Err != nil {
		t.Errorf("a run of %d events fails too: %v", fewer.EventsMax, r.Err)
	}
}

// A run that breaks no promise is not shrunk.
func TestShrinkOfASoundRun(t *testing.T) {
	opts := Options{Seed: 3, EventsMax: 500}
	if same, result := Shrink(opts); result.Err != nil || same.EventsMax != 500 || same.Without != nil || same.ClientsMax != 0 {
		t.Errorf("%+v, %v", same, result.Err)
	}
}
