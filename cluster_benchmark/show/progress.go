package show

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Load is load being made, as [Progress] looks at it.
type Load interface {
	Elapsed() time.Duration
	Answered() uint64
}

// Progress is the live line. The zero value shows nothing.
type Progress struct {
	w io.Writer
}

// NewProgress returns a line on a terminal.
func NewProgress(w io.Writer) *Progress { return &Progress{w: w} }

// redraw is how often the line is drawn anew.
const redraw = 200 * time.Millisecond

// Say shows a text until the next one.
func (p *Progress) Say(text string) {
	if p.w != nil {
		fmt.Fprintf(p.w, "\r\x1b[K%s", text)
	}
}

// Clear takes the line away.
func (p *Progress) Clear() { p.Say("") }

// Watch shows the load until the function that it returns is called.
func (p *Progress) Watch(label string, l Load, warmup, duration time.Duration) (stop func()) {
	if p.w == nil {
		return func() {}
	}
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(redraw)
		defer ticker.Stop()
		last, at := uint64(0), time.Duration(0)
		for {
			select {
			case <-ticker.C:
			case <-quit:
				p.Clear()
				return
			}
			answered, elapsed := l.Answered(), l.Elapsed()
			rate := float64(answered-last) / (elapsed - at).Seconds()
			last, at = answered, elapsed
			p.Say(progressLine(label, elapsed, warmup, duration, rate))
		}
	}()
	return func() {
		close(quit)
		<-done
	}
}

const barWidth = 24

// progressLine draws where a run stands.
func progressLine(label string, elapsed, warmup, duration time.Duration, rate float64) string {
	phase, part, whole := "warm-up", elapsed, warmup
	if elapsed >= warmup {
		phase, part, whole = "measure", elapsed-warmup, duration
	}
	part = min(part, whole)
	filled := barWidth
	if whole > 0 {
		filled = int(int64(barWidth) * int64(part) / int64(whole))
	}
	return fmt.Sprintf("%s  %s [%s%s] %4.1f of %.1f s  %s put/s", label, phase,
		strings.Repeat("=", filled), strings.Repeat(" ", barWidth-filled), part.Seconds(), whole.Seconds(), count(rate))
}
