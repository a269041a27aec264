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

// Watch is the live line of one load.
type Watch struct {
	progress         *Progress
	label            string
	load             Load
	warmup, duration time.Duration

	answered uint64 // at the last look
	elapsed  time.Duration
}

// Watch returns the live line of a load that is warmed up and measured for so long.
func (p *Progress) Watch(label string, l Load, warmup, duration time.Duration) *Watch {
	return &Watch{progress: p, label: label, load: l, warmup: warmup, duration: duration}
}

// Until draws the line until the channel is closed.
func (w *Watch) Until(over <-chan struct{}) {
	if w.progress.w == nil {
		<-over
		return
	}
	ticker := time.NewTicker(redraw)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			w.draw()
		case <-over:
			return
		}
	}
}

func (w *Watch) draw() {
	answered, elapsed := w.load.Answered(), w.load.Elapsed()
	rate := 0.0
	if elapsed > w.elapsed {
		rate = float64(answered-w.answered) / (elapsed - w.elapsed).Seconds()
	}
	w.answered, w.elapsed = answered, elapsed
	w.progress.Say(progressLine(w.label, elapsed, w.warmup, w.duration, rate))
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
